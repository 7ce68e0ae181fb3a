"""The Confluent wire format: one zero byte, the schema id as a big-endian 32-bit integer, then Avro."""

import struct

from streams.exceptions import Undecodable

MAGIC = 0
HEADER = struct.Struct(">bI")


def frame(schema_id: int, payload: bytes) -> bytes:
    """Put the header before an Avro payload.

    >>> frame(7, b"x")
    b'\\x00\\x00\\x00\\x00\\x07x'
    """
    return HEADER.pack(MAGIC, schema_id) + payload


def schema_id_of(value: bytes | None) -> int:
    """Schema id of a framed value.

    Raises
    ------
    Undecodable
        If there is no value, or it does not begin with the header.
    """
    if value is None:
        raise Undecodable("the message has no value", "telemetry topics carry events, not tombstones")
    if len(value) < HEADER.size or value[0] != MAGIC:
        raise Undecodable(
            f"{len(value)} bytes that begin with {value[:5].hex() or 'nothing'} are not in the Confluent wire format",
            "send a zero byte, the schema id (4 bytes, big-endian) and the Avro body",
        )
    return int.from_bytes(value[1 : HEADER.size], "big")

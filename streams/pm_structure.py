"""Where things stand in the bytes of a PM report: found by reading one message, true for all that are built alike.

Of a report written with our schema, only the event id, the period end, the counters and the suspect flags change from
one period to the next. The rest is the same for every report of a managed element, byte for byte.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.avro import schema_of
from schemas.telemetry import PmReport
from streams.wire import HEADER

# What read_structure() expects, in order; the reader must be adapted when the model changes.
_LAYOUT = (
    ("network_id", "string"), ("event_id", "string"), ("managed_element", "string"), ("period_end_ms", "long"),
    ("granularity_s", "long"), ("layout", "string"), ("collection", "string"), ("cells", "array"),
    ("element_values", "array"),
)  # fmt: skip
_CELL_LAYOUT = (("cell", "string"), ("values", "array"), ("suspect", "boolean"))
_VARINT_BYTES = 9  # 63 bits; what needs more is read the slow way
_DOUBLE = 8


@dataclass(frozen=True)
class Structure:
    """Byte positions in one form of message, header included.

    ``values`` and ``element`` are (start, number of doubles).
    """

    length: int
    event_id: tuple[int, int]
    period_end: tuple[int, int]
    values: tuple[tuple[int, int], ...]
    suspect: npt.NDArray[np.intp]
    element: tuple[int, int]
    lengths: npt.NDArray[np.intp]  # positions of the bytes that say how long things are
    literal: npt.NDArray[np.intp]  # positions of all bytes that do not change between periods


class _Irregular(Exception):
    """Not the plain form that every common Avro writer produces."""


def check_model() -> None:
    """Raise AssertionError if the model of PM reports is no longer the one that this reader knows."""
    fields = schema_of(PmReport)["fields"]
    cell = next(f["type"]["items"]["fields"] for f in fields if f["name"] == "cells")
    for known, found in ((_LAYOUT, fields), (_CELL_LAYOUT, cell)):
        now = tuple((f["name"], f["type"]["type"] if isinstance(f["type"], dict) else f["type"]) for f in found)
        if now != known:
            raise AssertionError(f"PmReport has the fields {now}, streams.pm_structure reads {known}; adapt it")


def read_structure(message: bytes) -> Structure | None:
    """The structure of a message; None if it is corrupt, or regular Avro in an unusual form (several array blocks)."""
    try:
        return _Reader(message).structure()
    except (_Irregular, IndexError):
        return None


class _Reader:
    def __init__(self, message: bytes) -> None:
        self._bytes = message
        self._at = HEADER.size
        self._lengths: list[int] = []

    def structure(self) -> Structure:
        free = np.zeros(len(self._bytes), dtype=bool)
        self._string()
        event_id = self._string()
        self._string()  # managed element
        start = self._at
        self._varint()
        period_end = (start, self._at)
        self._length()  # granularity: a number that does not change
        self._string()  # layout
        self._string()  # collection
        values = []
        suspect = []
        for _ in range(count := self._count()):
            self._string()
            values.append(self._doubles())
            suspect.append(self._at)
            self._skip(1)
        if count:
            self._end_of_array()
        element = self._doubles()
        if self._at != len(self._bytes):
            raise _Irregular
        for begin, end in (event_id, period_end):
            free[begin:end] = True
        for begin, n in (*values, element):
            free[begin : begin + n * _DOUBLE] = True
        free[suspect] = True
        return Structure(
            len(self._bytes),
            event_id,
            period_end,
            tuple(values),
            np.array(suspect, dtype=np.intp),
            element,
            np.array(self._lengths, dtype=np.intp),
            np.flatnonzero(~free),
        )

    def _varint(self) -> int:
        raw = shift = 0
        for _ in range(_VARINT_BYTES):
            byte = self._bytes[self._at]
            self._at += 1
            raw |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (raw >> 1) ^ -(raw & 1)
            shift += 7
        raise _Irregular

    def _length(self) -> int:
        start = self._at
        n = self._varint()
        self._lengths.extend(range(start, self._at))
        return n

    def _count(self) -> int:
        n = self._length()
        if n < 0:  # a block with its size in bytes: legal, and unusual
            raise _Irregular
        return n

    def _skip(self, n: int) -> None:
        self._at += n
        if self._at > len(self._bytes):
            raise _Irregular

    def _string(self) -> tuple[int, int]:
        n = self._count()
        start = self._at
        self._skip(n)
        return start, self._at

    def _doubles(self) -> tuple[int, int]:
        n = self._count()
        start = self._at
        if n:
            self._skip(n * _DOUBLE)
            self._end_of_array()
        return start, n

    def _end_of_array(self) -> None:
        if self._length() != 0:  # more blocks
            raise _Irregular

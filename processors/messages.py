"""Which messages belong to a network, and messages as JSON for saved states."""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, NamedTuple

from streams.transport import REINJECTED, Message


class Key(NamedTuple):
    """A message key taken apart; ``problem`` says why it could not be."""

    network_id: str | None
    rest: str
    problem: str | None = None


def parse_key(key: bytes | None) -> Key:
    """Take apart a key ``network_id|…``.

    >>> parse_key(b"demo|ManagedElement=g1")
    Key(network_id='demo', rest='ManagedElement=g1', problem=None)
    >>> parse_key(None).problem
    'the message has no key'
    """
    if key is None:
        return Key(None, "", "the message has no key")
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return Key(None, "", f"the key {key[:40].hex()} is no UTF-8 text")
    network, sep, rest = text.partition("|")
    if not network or not sep:
        return Key(None, "", f"the key {text[:80]!r} is not network_id|managed_element")
    return Key(network, rest)


def is_reinjected(message: Message) -> bool:
    """Whether a message is a dead letter sent again."""
    return message.header(REINJECTED) is not None


def canonical(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Each message once, in order of topic, partition, offset: whatever the order in which they arrived."""
    unique = {(m.topic, m.partition, m.offset): m for m in messages}
    return tuple(unique[at] for at in sorted(unique))


def to_json(message: Message) -> list[Any]:
    """A message as a JSON array."""
    return [
        message.topic,
        message.partition,
        message.offset,
        _text(message.key),
        _text(message.value),
        message.timestamp_ms,
        [[name, _text(value)] for name, value in message.headers],
    ]


def from_json(data: list[Any]) -> Message:
    """The message that :func:`to_json` wrote.

    >>> m = Message("t", 0, 7, None, b"v", 1, (("h", b"x"),))
    >>> from_json(to_json(m)) == m
    True
    """
    topic, partition, offset, key, value, timestamp_ms, headers = data
    return Message(
        topic,
        partition,
        offset,
        _bytes(key),
        _bytes(value),
        timestamp_ms,
        tuple((name, _bytes(text) or b"") for name, text in headers),
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode("ascii")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)

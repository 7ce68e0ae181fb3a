"""What can go wrong between a topic and the code that reads or writes it.

::

    StreamError
    ├── TransportError
    │   ├── BrokerUnavailable    nothing answers at the bootstrap address in time
    │   ├── BadProperty          librdkafka refuses a property of the transport
    │   ├── TopicMissing         a topic or partition that the broker does not have
    │   ├── DeliveryFailed       messages that the broker did not acknowledge
    │   ├── OffsetLost           the log no longer holds the offset to read from
    │   ├── CommitFailed         the group did not take the offsets
    │   └── ConsumerMisuse       subscribe without a group, poll after close, …
    ├── SerdeError
    │   ├── BadEvent             bytes that are no event; ``reason`` says which kind
    │   │   ├── Undecodable      not the wire format, unknown schema id, corrupt Avro
    │   │   └── InvalidEvent     decoded, but breaks the model's constraints
    │   ├── EncodingFailed       an event that Avro cannot hold
    │   └── SchemaUnregistered   the registry does not know our schema of a topic
    ├── SnapshotError
    │   ├── CorruptSnapshot      checksum, version or form is wrong
    │   └── NoUsableSnapshot     snapshots exist, and every one of them is corrupt
    ├── RecordingError           a file that is no recording, or cannot be replayed
    └── SimulatedCrash           streams.testing: the process dies here
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from schemas.dead_letters import Reason


class StreamError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    cause
        What went wrong, with the names and numbers a person needs; never a secret.
    remedy
        What the person can do about it.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}\nRemedy: {self.remedy}"


class TransportError(StreamError):
    """The transport failed."""


class BrokerUnavailable(TransportError):
    """No broker answered in time."""


class BadProperty(TransportError):
    """A property of the transport is unknown, or has a value it cannot have."""


class TopicMissing(TransportError):
    """A topic or partition does not exist."""


class UndeliveredMessage(NamedTuple):
    """One message that was not acknowledged, and why."""

    topic: str
    key: str
    error: str


class DeliveryFailed(TransportError):
    """Messages were not acknowledged; ``undelivered`` holds up to 100 of them, ``count`` says how many."""

    def __init__(self, cause: str, remedy: str, undelivered: Sequence[UndeliveredMessage], count: int) -> None:
        super().__init__(cause, remedy)
        self.undelivered = tuple(undelivered)
        self.count = count


class OffsetLost(TransportError):
    """The log was trimmed or replaced below the offset from which to read: events would be skipped silently."""


class CommitFailed(TransportError):
    """The group did not accept the committed offsets, usually because the partitions were given to another member."""


class ConsumerMisuse(TransportError):
    """A consumer or producer was asked for something it cannot do in its present state."""


class SerdeError(StreamError):
    """Bytes and events do not fit."""


class BadEvent(SerdeError):
    """Bytes that cannot become an event. ``reason`` is the reason of the dead letter that they become."""

    reason: ClassVar[Reason]


class Undecodable(BadEvent):
    """Not the Confluent wire format, an unknown schema id, or corrupt Avro."""

    reason = Reason.UNDECODABLE


class InvalidEvent(BadEvent):
    """Decoded, but breaks a constraint of its model."""

    reason = Reason.INVALID


class EncodingFailed(SerdeError):
    """An event holds a value that its Avro schema cannot, such as an integer beyond 64 bits."""


class SchemaUnregistered(SerdeError):
    """Our schema of a topic is not in the registry."""


class SnapshotError(StreamError):
    """A snapshot cannot be saved or loaded."""


class CorruptSnapshot(SnapshotError):
    """A snapshot's checksum, version or form is wrong."""


class NoUsableSnapshot(SnapshotError):
    """Snapshots exist, but none of them can be read."""


class RecordingError(StreamError):
    """A recording cannot be read or replayed."""


class SimulatedCrash(StreamError):
    """streams.testing: the process dies at this point of its input."""

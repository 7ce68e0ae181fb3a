"""What a transport is: topics of partitions, producers that wait for acknowledgement, consumers that seek.

Two implementations, :class:`streams.kafka.KafkaTransport` and :class:`streams.memory.MemoryTransport`, pass one
contract suite (``tests/contracts/test_transport.py``).

What every transport promises:

- Messages of one key keep their order and lie in one partition, the same in every transport (``streams.partitioner``).
- ``flush`` returns only when everything sent before is acknowledged by all replicas, or raises.
- A consumer starts at the offset it was told, or at its group's committed one, or at the beginning; it never skips.
- Offsets are committed by ``commit`` alone, never by themselves.
- When partitions move between members of a group, the old owner is called before the new one reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from streams.deadline import Deadline
from streams.frontier import Frontier, TopicPartition

Headers = tuple[tuple[str, bytes], ...]

# A re-injected dead letter carries this header; its value is the number of the attempt, in decimal digits.
REINJECTED = "twinloop-reinjected"


class Message(NamedTuple):
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers = ()

    def header(self, name: str) -> bytes | None:
        """Value of the last header of that name."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


class TopicLike(Protocol):
    """What creating a topic needs; :class:`schemas.topics.Topic` is one."""

    @property
    def name(self) -> str: ...
    @property
    def partitions(self) -> int: ...


class Producer(Protocol):
    """Writes messages. One thread at a time."""

    def send(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        """Hand over a message; it is safe only after ``flush``.

        Blocks while the local queue is full. ``timestamp_ms`` is event time; None and 0 take the present.
        ``key`` None lets the transport choose a partition.
        """
        ...

    def flush(self, deadline_s: float) -> None:
        """Wait until everything sent is acknowledged.

        Raises
        ------
        DeliveryFailed
            If a message since the last flush was refused, or the deadline passed first.
        """
        ...

    def acked(self) -> Frontier:
        """Next offset after this producer's last acknowledged message, of every partition it has written to."""
        ...

    def close(self) -> None:
        """Give up the connection. What was not flushed may be lost."""
        ...


class RebalanceListener(Protocol):
    """Called from inside ``poll`` (or ``close``) when a group's partitions move."""

    def on_assigned(self, partitions: frozenset[TopicPartition], deadline: Deadline) -> Mapping[TopicPartition, int]:
        """Partitions were added. The returned offsets override the group's committed ones; may be empty."""
        ...

    def on_revoked(self, partitions: frozenset[TopicPartition], deadline: Deadline) -> None:
        """Partitions are about to be taken: finish, flush and commit them, all within the one deadline."""
        ...

    def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        """Partitions are gone already and another member may read them: drop their work, commit nothing."""
        ...


class Consumer(Protocol):
    """Reads messages in batches. One thread at a time."""

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener | None = None) -> None:
        """Share the topics' partitions with the other members of the group."""
        ...

    def assign(self, frontier: Mapping[TopicPartition, int]) -> None:
        """Read exactly these partitions, from these offsets. Replaces what was assigned before."""
        ...

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """Up to that many messages (at least 1); waits for the first one up to the timeout, then returns what is there.

        Returns nothing before the timeout when it finds the end of the last partition (see ``at_end``).

        Raises
        ------
        OffsetLost
            If the log no longer has the offset to read from.
        TopicMissing
            If a topic was deleted.
        """
        ...

    def seek(self, frontier: Mapping[TopicPartition, int]) -> None:
        """Go on from these offsets in partitions that are assigned."""
        ...

    def position(self) -> Frontier:
        """Next offset to be returned, of every assigned partition."""
        ...

    def at_end(self) -> bool:
        """Whether every assigned partition was read to the end that it had when last looked at; False if none is."""
        ...

    def commit(self, frontier: Mapping[TopicPartition, int]) -> None:
        """Record in the group that everything below the frontier is done; returns when it is recorded.

        Raises
        ------
        CommitFailed
            If the group refuses, usually because the partitions belong to another member by now.
        """
        ...

    def committed(self, partitions: Iterable[TopicPartition]) -> Frontier:
        """What the group has recorded of these partitions; those without a record are left out."""
        ...

    def close(self) -> None:
        """Leave the group; calls ``on_revoked`` for what is still assigned. Commits nothing by itself."""
        ...


class Transport(Protocol):
    """Where topics live. Usable from several threads."""

    def ensure_topics(self, topics: Iterable[TopicLike]) -> None:
        """Create the topics that are missing. An existing topic keeps the partitions it has."""
        ...

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """Number of partitions of each topic; raises TopicMissing."""
        ...

    def begin_offsets(self, topics: Iterable[str]) -> Frontier:
        """First offset that each partition still has; raises TopicMissing."""
        ...

    def end_offsets(self, topics: Iterable[str]) -> Frontier:
        """Next offset that each partition will give; raises TopicMissing."""
        ...

    def producer(self, name: str) -> Producer:
        """A producer; the name appears in the broker's logs and metrics."""
        ...

    def consumer(self, name: str, group: str | None = None) -> Consumer:
        """A consumer; without a group it can ``assign`` and neither ``subscribe`` nor ``commit``."""
        ...

    def close(self) -> None:
        """Close every producer and consumer that is still open."""
        ...

"""A transport in this process's memory, with the semantics of the Kafka one: for tests, and for runs without a broker.

Partitions, keys, consumer groups, cooperative rebalances and committed offsets behave as on Kafka. What differs: a
message is acknowledged as soon as it is sent, and nothing survives the process.
"""

import itertools
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from streams.clock import Clock, SystemClock
from streams.deadline import Deadline
from streams.exceptions import (
    CommitFailed,
    ConsumerMisuse,
    DeliveryFailed,
    OffsetLost,
    TopicMissing,
    UndeliveredMessage,
)
from streams.frontier import Frontier, TopicPartition, advance
from streams.partitioner import partition_of
from streams.transport import Message, RebalanceListener, TopicLike

# Memory needs none, but a listener written against it must not get used to unlimited time.
_REBALANCE_S = 30.0


class _Group:
    """Members of one consumer group and what they own."""

    def __init__(self) -> None:
        self.members: list[MemoryConsumer] = []
        self.owner: dict[TopicPartition, MemoryConsumer] = {}
        self.committed: Frontier = {}


class MemoryTransport:
    """Topics in memory.

    Parameters
    ----------
    clock
        Stamps messages that bring no event time.

    Examples
    --------
    >>> from schemas.topics import topic
    >>> transport = MemoryTransport()
    >>> transport.ensure_topics([topic("telemetry.pm")])
    >>> producer = transport.producer("doc")
    >>> producer.send("telemetry.pm", "demo|ManagedElement=1", b"value", timestamp_ms=0)
    >>> producer.flush(1)
    >>> consumer = transport.consumer("doc")
    >>> consumer.assign(transport.begin_offsets(["telemetry.pm"]))
    >>> [m.value for m in consumer.poll(10, timeout_s=1)]
    [b'value']
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._changed = threading.Condition(threading.RLock())
        self._logs: dict[TopicPartition, list[Message]] = {}
        self._begin: Frontier = {}
        self._counts: dict[str, int] = {}
        self._groups: dict[str, _Group] = {}
        self._refusals: dict[str, int] = {}
        self._open: list[MemoryProducer | MemoryConsumer] = []

    def ensure_topics(self, topics: Iterable[TopicLike]) -> None:
        with self._changed:
            for topic in topics:
                if topic.name not in self._counts:
                    self._counts[topic.name] = topic.partitions
                    for p in range(topic.partitions):
                        self._logs[topic.name, p] = []
                        self._begin[topic.name, p] = 0
            self._changed.notify_all()

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        with self._changed:
            return {name: self._count(name) for name in topics}

    def begin_offsets(self, topics: Iterable[str]) -> Frontier:
        with self._changed:
            return {tp: self._begin[tp] for tp in self._partitions_of(topics)}

    def end_offsets(self, topics: Iterable[str]) -> Frontier:
        with self._changed:
            return {tp: self._end(tp) for tp in self._partitions_of(topics)}

    def producer(self, name: str) -> "MemoryProducer":
        producer = MemoryProducer(self, name)
        self._open.append(producer)
        return producer

    def consumer(self, name: str, group: str | None = None) -> "MemoryConsumer":
        consumer = MemoryConsumer(self, name, group)
        self._open.append(consumer)
        return consumer

    def close(self) -> None:
        for client in list(self._open):
            client.close()

    def trim(self, frontier: Mapping[TopicPartition, int]) -> None:
        """Forget everything below these offsets, as retention does on a broker."""
        with self._changed:
            for tp, offset in frontier.items():
                drop = min(offset, self._end(tp)) - self._begin[tp]
                if drop > 0:
                    del self._logs[tp][:drop]
                    self._begin[tp] += drop

    def refuse(self, topic: str, messages: int) -> None:
        """Refuse the next so many messages sent to a topic, as a broker in trouble does."""
        with self._changed:
            self._refusals[topic] = self._refusals.get(topic, 0) + messages

    def expel(self, consumer: "MemoryConsumer") -> None:
        """Take a member's partitions without asking it, as a broker does with one that stopped polling."""
        with self._changed:
            if consumer.group is not None:
                consumer.expelled = True
                self._leave(consumer)

    # What follows is called by producers and consumers of this module, under the lock.

    def _count(self, topic: str) -> int:
        try:
            return self._counts[topic]
        except KeyError:
            known = ", ".join(sorted(self._counts)) or "none"
            raise TopicMissing(
                f"topic {topic!r} does not exist (topics: {known})", "create it with ensure_topics"
            ) from None

    def _partitions_of(self, topics: Iterable[str]) -> list[TopicPartition]:
        return [(name, p) for name in topics for p in range(self._count(name))]

    def _end(self, tp: TopicPartition) -> int:
        return self._begin[tp] + len(self._logs[tp])

    def _append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        timestamp_ms: int | None,
        spread: int,
    ) -> Message | None:
        with self._changed:
            count = self._count(topic)
            if self._refusals.get(topic, 0) > 0:
                self._refusals[topic] -= 1
                return None
            p = spread % count if key is None else partition_of(key, count)
            at = timestamp_ms or self._clock.now_ms()
            message = Message(topic, p, self._end((topic, p)), key, value, at, tuple(headers))
            self._logs[topic, p].append(message)
            self._changed.notify_all()
            return message

    def _read(self, tp: TopicPartition, offset: int, limit: int) -> list[Message]:
        begin = self._begin[tp]
        if not begin <= offset <= self._end(tp):
            raise OffsetLost(
                f"{tp[0]}/{tp[1]} holds offsets {begin} to {self._end(tp)}, not {offset}",
                "start from a snapshot whose frontier the log still holds, or keep the log longer (retention)",
            )
        return self._logs[tp][offset - begin : offset - begin + limit]

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())

    def _join(self, consumer: "MemoryConsumer") -> None:
        members = self._group(consumer.group or "").members
        if consumer not in members:
            members.append(consumer)
        self._changed.notify_all()

    def _leave(self, consumer: "MemoryConsumer") -> None:
        group = self._group(consumer.group or "")
        if consumer in group.members:
            group.members.remove(consumer)
        group.owner = {tp: owner for tp, owner in group.owner.items() if owner is not consumer}
        self._changed.notify_all()

    def _target(self, consumer: "MemoryConsumer") -> set[TopicPartition]:
        """What a member should own: partitions in order, dealt round among the members that want them."""
        group = self._group(consumer.group or "")
        out = set()
        topics = sorted({t for m in group.members for t in m.topics if t in self._counts})
        for i, tp in enumerate(self._partitions_of(topics)):
            takers = [m for m in group.members if tp[0] in m.topics]
            if takers and takers[i % len(takers)] is consumer:
                out.add(tp)
        return out

    def _forget(self, client: "MemoryProducer | MemoryConsumer") -> None:
        if client in self._open:
            self._open.remove(client)


class MemoryProducer:
    """Producer of a :class:`MemoryTransport`."""

    def __init__(self, transport: MemoryTransport, name: str) -> None:
        self._transport = transport
        self.name = name
        self._acked: Frontier = {}
        self._failed: list[UndeliveredMessage] = []
        self._spread = itertools.count()
        self._closed = False

    def send(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        if self._closed:
            raise ConsumerMisuse(f"producer {self.name!r} is closed", "make a new one")
        raw = key.encode() if isinstance(key, str) else key
        sent = self._transport._append(topic, raw, value, headers, timestamp_ms, next(self._spread))
        if sent is None:
            self._failed.append(UndeliveredMessage(topic, (raw or b"").decode(errors="replace"), "refused"))
        else:
            self._acked = advance(self._acked, [sent])

    def flush(self, deadline_s: float) -> None:
        failed, self._failed = self._failed, []
        if failed:
            raise DeliveryFailed(
                f"{len(failed)} messages were not acknowledged; the first: {failed[0].topic} {failed[0].key!r}: "
                f"{failed[0].error}",
                "send them again; consumers drop what they have seen",
                failed[:100],
                len(failed),
            )

    def acked(self) -> Frontier:
        return dict(self._acked)

    def close(self) -> None:
        self._closed = True
        self._transport._forget(self)


class MemoryConsumer:
    """Consumer of a :class:`MemoryTransport`."""

    def __init__(self, transport: MemoryTransport, name: str, group: str | None) -> None:
        self._transport = transport
        self.name = name
        self.group = group
        self.topics: tuple[str, ...] = ()
        self.expelled = False
        self._listener: RebalanceListener | None = None
        self._position: Frontier = {}
        self._at_end: set[TopicPartition] = set()
        self._turn = 0
        self._closed = False

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener | None = None) -> None:
        self._check_open()
        if self.group is None:
            raise ConsumerMisuse(f"consumer {self.name!r} has no group to subscribe in", "name a group, or use assign")
        self._transport.partitions(topics)
        self.topics = tuple(topics)
        self._listener = listener
        with self._transport._changed:
            self._transport._join(self)

    def assign(self, frontier: Mapping[TopicPartition, int]) -> None:
        self._check_open()
        if self.topics:
            raise ConsumerMisuse(f"consumer {self.name!r} is subscribed", "use another consumer to assign partitions")
        self._check_exist(frontier)
        self._position = dict(frontier)
        self._at_end.clear()

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        self._check_open()
        deadline = time.monotonic() + timeout_s
        while True:
            if self.topics:
                self._rebalance()
            with self._transport._changed:
                ended = self.at_end()
                batch = self._take(max_messages)
                left = deadline - time.monotonic()
                if batch or left <= 0 or (self.at_end() and not ended):
                    return batch
                # Wakes for new messages, new topics and for members that come and go.
                self._transport._changed.wait(min(left, 0.05))

    def seek(self, frontier: Mapping[TopicPartition, int]) -> None:
        self._check_open()
        stray = [tp for tp in frontier if tp not in self._position]
        if stray:
            raise ConsumerMisuse(f"consumer {self.name!r} does not own {stray[0]}", "assign it before seeking")
        self._position.update(frontier)
        self._at_end.difference_update(frontier)

    def position(self) -> Frontier:
        return dict(self._position)

    def at_end(self) -> bool:
        return bool(self._position) and self._at_end >= self._position.keys()

    def commit(self, frontier: Mapping[TopicPartition, int]) -> None:
        self._check_open()
        if self.group is None:
            raise ConsumerMisuse(f"consumer {self.name!r} has no group to commit in", "name a group")
        self._check_exist(frontier)
        with self._transport._changed:
            group = self._transport._group(self.group)
            stolen = [tp for tp in frontier if group.owner.get(tp, self) is not self]
            if stolen or self.expelled:
                raise CommitFailed(
                    f"group {self.group!r} refuses the offsets of {self.name!r}: {sorted(stolen or frontier)} moved on",
                    "drop the work on these partitions; their new owner does it again",
                )
            group.committed.update(frontier)

    def committed(self, partitions: Iterable[TopicPartition]) -> Frontier:
        if self.group is None:
            raise ConsumerMisuse(f"consumer {self.name!r} has no group that could commit", "name a group")
        with self._transport._changed:
            done = self._transport._group(self.group).committed
            return {tp: done[tp] for tp in partitions if tp in done}

    def close(self) -> None:
        if self._closed:
            return
        try:
            if self.topics and self._position and not self.expelled:
                self._revoke(frozenset(self._position))
        finally:
            self._closed = True
            with self._transport._changed:
                if self.group is not None:
                    self._transport._leave(self)
                self._transport._forget(self)

    def _check_open(self) -> None:
        if self._closed:
            raise ConsumerMisuse(f"consumer {self.name!r} is closed", "make a new one")

    def _check_exist(self, frontier: Mapping[TopicPartition, int]) -> None:
        for topic, partition in frontier:
            if partition >= self._transport._count(topic):
                raise TopicMissing(
                    f"topic {topic!r} has no partition {partition}",
                    "create it with ensure_topics, with enough partitions",
                )

    def _take(self, max_messages: int) -> list[Message]:
        """The next messages, starting with another partition each time so that none starves."""
        batch: list[Message] = []
        owned = sorted(self._position)
        self._turn += 1
        for i in range(len(owned)):
            tp = owned[(i + self._turn) % len(owned)]
            part = self._transport._read(tp, self._position[tp], max_messages - len(batch))
            batch += part
            self._position[tp] += len(part)
            if self._position[tp] >= self._transport._end(tp):
                self._at_end.add(tp)
            else:
                self._at_end.discard(tp)
        return batch

    def _rebalance(self) -> None:
        """Give up what others should have; take what is free. Cooperative: the rest is read on."""
        if self.expelled:
            lost, self._position = frozenset(self._position), {}
            self._at_end.clear()
            self.expelled = False
            if self._listener and lost:
                self._listener.on_lost(lost)
            with self._transport._changed:
                self._transport._join(self)
        with self._transport._changed:
            target = self._transport._target(self)
        surplus = frozenset(self._position.keys() - target)
        if surplus:
            self._revoke(surplus)
        with self._transport._changed:
            owner = self._transport._group(self.group or "").owner
            gained = frozenset(tp for tp in target - self._position.keys() if tp not in owner)
            owner.update(dict.fromkeys(gained, self))
            begin = {tp: self._transport._begin[tp] for tp in gained}
        if gained:
            start = begin | self.committed(gained)
            if self._listener:
                start |= self._listener.on_assigned(gained, Deadline(_REBALANCE_S))
            self._position.update({tp: start[tp] for tp in gained})

    def _revoke(self, partitions: frozenset[TopicPartition]) -> None:
        try:
            if self._listener:
                self._listener.on_revoked(partitions, Deadline(_REBALANCE_S))
        finally:
            with self._transport._changed:
                owner = self._transport._group(self.group or "").owner
                for tp in partitions:
                    self._position.pop(tp, None)
                    self._at_end.discard(tp)
                    owner.pop(tp, None)
                self._transport._changed.notify_all()

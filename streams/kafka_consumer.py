"""The Kafka consumer: batches, explicit offsets, manual commits, cooperative rebalances under one deadline."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer as RawConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.deadline import Deadline
from streams.exceptions import CommitFailed, ConsumerMisuse, OffsetLost, TopicMissing
from streams.frontier import Frontier
from streams.frontier import TopicPartition as Place
from streams.kafka_properties import KafkaProperties
from streams.transport import Message, RebalanceListener

_LOG = logging.getLogger(__name__)
# All that a listener does when partitions move. The broker waits ten times as long (max.poll.interval.ms).
_REBALANCE_S = 30.0
_REQUEST_S = 30.0
_CONSUME_LIMIT = 1_000_000  # of the C client
_GONE = (
    KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID, KafkaError._ASSIGNMENT_LOST, KafkaError.STALE_MEMBER_EPOCH,
)  # fmt: skip


class KafkaConsumer:
    """Consumer of a :class:`streams.kafka.KafkaTransport`.

    Parameters
    ----------
    partitions
        Counts of partitions; raises TopicMissing.
    """

    def __init__(
        self,
        partitions: Callable[[Iterable[str]], dict[str, int]],
        properties: KafkaProperties,
        name: str,
        group: str | None,
    ) -> None:
        self.name = name
        self.group = group
        self._partitions = partitions
        self._properties = properties
        self._listener: RebalanceListener | None = None
        self._subscribed = False
        self._position: Frontier = {}
        self._ended: set[Place] = set()
        self._trouble: Exception | None = None  # raised by the next poll: what was read before it comes first
        self._closed = False
        try:
            self._raw = RawConsumer(properties.consumer(name, group))
        except (KafkaException, ValueError, TypeError) as error:
            raise properties.refused(error) from None  # its traceback would show the properties

    def __repr__(self) -> str:
        return f"KafkaConsumer({self.name!r}, group={self.group!r}, {self._properties!r})"

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener | None = None) -> None:
        self._check_open()
        if self.group is None:
            raise ConsumerMisuse(f"consumer {self.name!r} has no group to subscribe in", "name a group, or use assign")
        self._partitions(topics)
        self._listener = listener
        self._subscribed = True
        self._raw.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def assign(self, frontier: Mapping[Place, int]) -> None:
        self._check_open()
        if self._subscribed:
            raise ConsumerMisuse(f"consumer {self.name!r} is subscribed", "use another consumer to assign partitions")
        counts = self._partitions({topic for topic, _ in frontier})
        for topic, partition in frontier:
            if partition >= counts[topic]:
                cause = f"topic {topic!r} has no partition {partition}"
                raise TopicMissing(cause, "create it with ensure_topics, with enough partitions")
        self._raw.assign(_raw_offsets(frontier))
        self._position = dict(frontier)
        self._ended.clear()

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        self._check_open()
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self.at_end()
            # One message with the time that is left, then what else is there: consume() alone would wait for all.
            first = self._raw.poll(max(deadline - time.monotonic(), 0))
            batch = self._keep([first] if first is not None else [])
            if first is not None and len(batch) < max_messages and self._trouble is None:
                batch += self._keep(self._raw.consume(min(max_messages - len(batch), _CONSUME_LIMIT), 0))
            if not batch:
                self._raise_trouble()
            if batch or time.monotonic() >= deadline or (self.at_end() and not ended):
                return batch

    def seek(self, frontier: Mapping[Place, int]) -> None:
        self._check_open()
        stray = [place for place in frontier if place not in self._position]
        if stray:
            raise ConsumerMisuse(f"consumer {self.name!r} does not own {stray[0]}", "assign it before seeking")
        target = {**self._position, **frontier}
        if self._subscribed:
            moved = _raw_offsets(frontier)
            self._raw.incremental_unassign(moved)
            self._raw.incremental_assign(moved)
        else:
            self._raw.assign(_raw_offsets(target))
        self._position = target
        self._ended.difference_update(frontier)

    def position(self) -> Frontier:
        return dict(self._position)

    def at_end(self) -> bool:
        return bool(self._position) and self._ended >= self._position.keys()

    def commit(self, frontier: Mapping[Place, int]) -> None:
        self._check_open()
        if self.group is None:
            raise ConsumerMisuse(f"consumer {self.name!r} has no group to commit in", "name a group")
        if not frontier:
            return
        stolen = sorted(frontier.keys() - self._position.keys()) if self._subscribed else []
        if stolen:  # the broker knows members, not who owns what: it would take these
            raise self._moved_on(f"{stolen} moved on")
        try:
            done = self._raw.commit(offsets=_raw_offsets(frontier), asynchronous=False)
        except KafkaException as error:
            raise self._commit_error(error.args[0]) from error
        for tp in done or ():
            if tp.error is not None:
                raise self._commit_error(tp.error)

    def committed(self, partitions: Iterable[Place]) -> Frontier:
        if self.group is None:
            raise ConsumerMisuse(f"consumer {self.name!r} has no group that could commit", "name a group")
        return self._committed(list(partitions), _REQUEST_S)

    def close(self) -> None:
        if self._closed:
            return
        try:
            self._raw.close()  # calls on_revoked, which may still commit
        except KafkaException as error:
            raise self._properties.failed(f"closing consumer {self.name!r}", error) from error
        finally:
            self._closed = True
            self._position.clear()
        self._raise_trouble()

    def _check_open(self) -> None:
        if self._closed:
            raise ConsumerMisuse(f"consumer {self.name!r} is closed", "make a new one")

    def _raise_trouble(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise trouble

    def _keep(self, raw: Iterable[Any]) -> list[Message]:
        """Messages of ours; ends of partitions and errors are noted."""
        out = []
        for m in raw:
            error = m.error()
            if error is not None:
                self._note(m, error)
                continue
            place = (m.topic(), m.partition())
            # A batch may hold messages of a partition that moved on, or was moved, while it was being filled.
            if m.offset() < self._position.get(place, m.offset() + 1):
                continue
            self._position[place] = m.offset() + 1
            self._ended.discard(place)
            headers = tuple((name, value or b"") for name, value in m.headers() or ())
            out.append(Message(*place, m.offset(), m.key(), m.value(), m.timestamp()[1], headers))
        return out

    def _note(self, m: Any, error: KafkaError) -> None:
        place = (m.topic(), m.partition())
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            if place in self._position:
                self._position[place] = max(self._position[place], m.offset())
                self._ended.add(place)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            why = self._properties.scrub(error)
            self._trouble = self._trouble or OffsetLost(
                f"{place[0]}/{place[1]} does not hold offset {self._position.get(place)}: {why}",
                "start from a snapshot whose frontier the log still holds, or keep the log longer (retention)",
            )
        elif code == KafkaError._MAX_POLL_EXCEEDED or error.retriable():
            _LOG.warning("consumer %s: %s", self.name, self._properties.scrub(error))
        else:
            self._trouble = self._trouble or self._properties.failed(f"consumer {self.name!r} reads", error)

    def _on_assign(self, _raw: RawConsumer, partitions: list[TopicPartition]) -> None:
        deadline = Deadline(_REBALANCE_S)
        places = frozenset((tp.topic, tp.partition) for tp in partitions)
        try:
            start = self._committed(sorted(places), deadline.remaining)
            for place in places - start.keys():
                low, _ = self._raw.get_watermark_offsets(TopicPartition(*place), timeout=deadline.remaining)
                start[place] = low
            if self._listener and places:
                start |= {p: o for p, o in self._listener.on_assigned(places, deadline).items() if p in places}
            self._raw.incremental_assign(_raw_offsets(start))
            self._position.update(start)
            self._ended.difference_update(places)
        except KafkaException as error:
            self._trouble = self._trouble or self._properties.failed(f"consumer {self.name!r} takes partitions", error)
        except Exception as error:  # it would be lost in the C client's callback
            self._trouble = self._trouble or error

    def _on_revoke(self, _raw: RawConsumer, partitions: list[TopicPartition]) -> None:
        places = frozenset((tp.topic, tp.partition) for tp in partitions)
        try:
            if self._listener and places:
                self._listener.on_revoked(places, Deadline(_REBALANCE_S))
        except Exception as error:  # it would be lost in the C client's callback
            self._trouble = self._trouble or error
        finally:
            self._drop(places)

    def _on_lost(self, _raw: RawConsumer, partitions: list[TopicPartition]) -> None:
        places = frozenset((tp.topic, tp.partition) for tp in partitions)
        try:
            if self._listener and places:
                self._listener.on_lost(places)
        except Exception as error:  # it would be lost in the C client's callback
            self._trouble = self._trouble or error
        finally:
            self._drop(places)

    def _drop(self, places: frozenset[Place]) -> None:
        for place in places:
            self._position.pop(place, None)
            self._ended.discard(place)

    def _committed(self, places: Sequence[Place], timeout_s: float) -> Frontier:
        if not places:
            return {}
        try:
            found = self._raw.committed([TopicPartition(*place) for place in places], timeout=timeout_s)
        except KafkaException as error:
            raise self._properties.failed(f"asking what group {self.group!r} committed", error) from error
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def _commit_error(self, error: Any) -> Exception:
        if error.code() in _GONE:
            return self._moved_on(self._properties.scrub(error))
        return self._properties.failed(f"group {self.group!r} commits", error)

    def _moved_on(self, why: str) -> CommitFailed:
        return CommitFailed(
            f"group {self.group!r} refuses the offsets of {self.name!r}: {why}",
            "drop the work on these partitions; their new owner does it again",
        )


def _raw_offsets(frontier: Mapping[Place, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in sorted(frontier.items())]

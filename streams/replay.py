"""Replay: send a recording again, through any transport, at any speed, so that it means what it meant.

Keys, values, headers, event times and the order within every key are those of the recording. Three things must be
translated, because they are particular to the cluster that was recorded: offsets, schema ids, and the barriers
(``telemetry.periods``) that hold offsets. A barrier is sent when exactly the events that lay below it then have been
sent and acknowledged now, so every epoch holds the same events as before.
"""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import starmap
from typing import NamedTuple

from schemas.avro import topic_schemas
from schemas.exceptions import IncompatibleSchema, UnknownTopic
from schemas.telemetry import PeriodEnd
from schemas.topics import PERIODS, topic
from streams.clock import Clock, SystemClock
from streams.exceptions import BadEvent
from streams.frontier import Frontier, TopicPartition, from_records, merge, to_records
from streams.recording import Recording
from streams.serde import Serde
from streams.transport import Message, Producer, Transport
from streams.wire import HEADER, frame, schema_id_of

# So that a stop is obeyed in a second, however long the pause between two events is.
_NAP_S = 0.5


@dataclass(frozen=True)
class Replayed:
    """What a replay has sent: number of messages by topic, the event times covered, and the offsets reached."""

    sent: dict[str, int]
    first_ms: int
    last_ms: int
    end: Frontier


def replay(
    recording: Recording,
    transport: Transport,
    serde: Serde,
    *,
    speed: float | None = None,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
    flush_s: float = 60,
) -> Replayed:
    """Send every message of a recording; its topics must exist.

    Parameters
    ----------
    serde
        Of the registry that readers will use. A schema that it lacks is registered.
    speed
        Event time against the clock: 1 replays as it was, 60 makes a minute a second; as fast as possible unless
        given.
    stop
        Ends the replay early when set.
    flush_s
        How long acknowledgements may take.

    Raises
    ------
    DeliveryFailed
        If messages were not acknowledged.
    RecordingError
        If the recording is damaged.
    ValueError
        If the speed is not positive.
    """
    if speed is not None and not speed > 0:
        raise ValueError(f"speed must be positive, not {speed:g}; leave it out to go as fast as possible")
    base = transport.end_offsets(recording.topics())
    producer = transport.producer("replay")
    sender = _Sender(producer, serde, base, flush_s)
    pace = _Pace(speed, clock or SystemClock(), stop)
    try:
        for step in _in_epochs(recording, _Translator(serde, recording)):
            if not pace.wait_for(step.arrival_ms):
                break
            sender.send(step)
        producer.flush(flush_s)
        return Replayed(sender.sent, pace.first_ms or 0, sender.last_ms, merge(base, producer.acked()))
    finally:
        producer.close()


@dataclass
class _Pace:
    """Holds messages back until their time has come."""

    speed: float | None
    clock: Clock
    stop: threading.Event | None
    first_ms: int | None = None
    _began_ms: int = 0

    def wait_for(self, event_ms: int) -> bool:
        """Wait until the event's time; False if the replay was stopped."""
        if self.first_ms is None:
            self.first_ms = event_ms
            self._began_ms = self.clock.now_ms()
        while not (self.stop and self.stop.is_set()):
            if self.speed is None:
                return True
            due_ms = self._began_ms + (event_ms - self.first_ms) / self.speed
            left_s = (due_ms - self.clock.now_ms()) / 1000
            if left_s <= 0:
                return True
            self.clock.sleep(min(left_s, _NAP_S))
        return False


class _Step(NamedTuple):
    """One message to send: when it can have arrived, its translated value, and what it says if it is a barrier."""

    arrival_ms: int
    message: Message
    value: bytes | None
    barrier: PeriodEnd | None = None


@dataclass
class _Sender:
    """Sends, and gives barriers the offsets that their events have now."""

    producer: Producer
    serde: Serde
    base: Frontier
    flush_s: float
    sent: dict[str, int] = field(default_factory=dict)
    last_ms: int = 0

    def send(self, step: _Step) -> None:
        topic, value = step.message.topic, step.value
        if step.barrier is not None:
            self.producer.flush(self.flush_s)
            named = {o.topic for o in step.barrier.offsets}
            reached = merge(self.base, self.producer.acked())
            offsets = to_records({tp: offset for tp, offset in reached.items() if tp[0] in named})
            value = self.serde.encode(PERIODS, step.barrier.model_copy(update={"offsets": offsets}))
        self.producer.send(topic, step.message.key, value, step.message.headers, step.message.timestamp_ms)
        self.sent[topic] = self.sent.get(topic, 0) + 1
        self.last_ms = max(self.last_ms, step.arrival_ms)


class _Translator:
    """Puts values under the ids that their schemas have in the registry of now."""

    def __init__(self, serde: Serde, recording: Recording) -> None:
        self._serde = serde
        self._schemas = recording.schemas
        self._ours = topic_schemas()
        self._ids: dict[tuple[str, int], int | None] = {}

    def step(self, arrival_ms: int, message: Message) -> _Step:
        return _Step(arrival_ms, message, self._value(message))

    def barrier(self, message: Message) -> _Step:
        """A message of ``telemetry.periods``; its ``barrier`` is None if it is poison."""
        value = self._value(message)
        try:
            return _Step(message.timestamp_ms, message, value, self._serde.decode_as(PERIODS, value, PeriodEnd))
        except BadEvent:
            return _Step(message.timestamp_ms, message, value)

    def _value(self, message: Message) -> bytes | None:
        value = message.value
        try:
            old = schema_id_of(value)
        except BadEvent:
            return value  # poison stays as it is
        if (message.topic, old) not in self._ids:
            self._ids[message.topic, old] = self._id_here(message.topic, old)
        new = self._ids[message.topic, old]
        return value if new is None or value is None else frame(new, value[HEADER.size :])

    def _id_here(self, name: str, old: int) -> int | None:
        text = self._schemas.get(old)
        if text is None:
            return None
        # A schema of ours belongs to its own subject, also where it was sent on another topic by mistake.
        owners = sorted((t for t, ours in self._ours.items() if ours == text), key=lambda t: t.name != name)
        try:
            return self._serde.ids.id_for(owners[0] if owners else topic(name), text)
        except (UnknownTopic, IncompatibleSchema):
            return None  # an event on a topic to which it does not belong


def _in_epochs(recording: Recording, translator: _Translator) -> Iterator[_Step]:
    """Messages in event order, except that each barrier stands exactly after the events below it."""
    barriers = [translator.barrier(m) for _, m in recording.messages([PERIODS.name])]
    queues = _Queues(recording, {step.barrier.network_id for step in barriers if step.barrier})
    for step in barriers:
        epoch = queues.take_below(step.barrier) if step.barrier else []
        for waiting in epoch:
            yield translator.step(*waiting)
        yield step._replace(arrival_ms=max([step.arrival_ms, *(w.arrival_ms for w in epoch)]))
    for waiting in queues.take_rest():
        yield translator.step(*waiting)


class _Waiting(NamedTuple):
    """A message that waits for its barrier."""

    arrival_ms: int
    message: Message

    @property
    def order(self) -> tuple[int, str, int, int]:
        return self.arrival_ms, self.message.topic, self.message.partition, self.message.offset


class _Queues:
    """Messages by partition and network, in offset order, until a barrier of their network releases them.

    Messages of networks that have no barriers, and such without a readable key, go with whoever's barrier covers
    them first.
    """

    def __init__(self, recording: Recording, networks: set[str]) -> None:
        self._networks = networks
        partitions = [tp for tp in sorted(recording.begin) if tp[0] != PERIODS.name]
        self._streams = {tp: starmap(_Waiting, recording.arrivals(tp)) for tp in partitions}
        self._ahead: dict[TopicPartition, _Waiting | None] = {tp: next(s, None) for tp, s in self._streams.items()}
        self._queues: dict[tuple[TopicPartition, str], deque[_Waiting]] = {}

    def take_below(self, barrier: PeriodEnd) -> list[_Waiting]:
        """What the barrier covers, in event order."""
        below = from_records(barrier.offsets)
        out: list[_Waiting] = []
        for tp in self._streams:
            limit = below.get(tp)
            while (ahead := self._ahead[tp]) is not None and _covered(ahead, limit, barrier.period_end_ms):
                self._queues.setdefault((tp, self._network(ahead.message)), deque()).append(ahead)
                self._ahead[tp] = next(self._streams[tp], None)
            for network in (barrier.network_id, ""):
                queue = self._queues.get((tp, network), deque())
                while queue and _covered(queue[0], limit, barrier.period_end_ms):
                    out.append(queue.popleft())
        return sorted(out, key=lambda w: w.order)

    def take_rest(self) -> list[_Waiting]:
        """What no barrier covers."""
        left = [w for queue in self._queues.values() for w in queue]
        for tp, stream in self._streams.items():
            left += [w for w in (self._ahead[tp],) if w is not None]
            left += stream
        return sorted(left, key=lambda w: w.order)

    def _network(self, message: Message) -> str:
        network = (message.key or b"").partition(b"|")[0].decode(errors="replace")
        return network if network in self._networks else ""


def _covered(waiting: _Waiting, limit: int | None, period_end_ms: int) -> bool:
    """Below the barrier's offset; in topics of which barriers say nothing, not after its time."""
    return waiting.arrival_ms <= period_end_ms if limit is None else waiting.message.offset < limit

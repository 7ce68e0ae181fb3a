"""Messages to epochs: collects what arrives, in whatever order, until a barrier's offsets are covered.

An *epoch* is what lies between two consecutive barriers (``schemas.telemetry.PeriodEnd``) of a network: offset ranges
of the telemetry partitions. It is complete when everything below the barrier has been seen, and then its content is
fixed: polls, reconnects and redeliveries change nothing.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Never

from processors.encoding import pack, unpack
from processors.messages import from_json, parse_key, to_json
from processors.operator import Step
from schemas.telemetry import PeriodEnd
from schemas.topics import PERIODS, TELEMETRY
from streams.exceptions import BadEvent
from streams.frontier import Frontier, TopicPartition, covers, from_keys, from_records, merge, to_keys
from streams.transport import Message

TELEMETRY_NAMES = frozenset(t.name for t in TELEMETRY)


class Epoch(NamedTuple):
    """The messages of one network between two barriers.

    ``messages`` are in canonical order; ``unreadable`` are barrier records before this one that could not be decoded;
    ``frontier`` is where the next epoch begins.
    """

    barrier: PeriodEnd
    messages: tuple[Message, ...]
    unreadable: tuple[Message, ...]
    frontier: Frontier


class Polled(NamedTuple):
    """What a poll gave: messages, and the consumer's positions (they tell of offsets that hold no message)."""

    messages: Sequence[Message]
    position: Mapping[TopicPartition, int] = MappingProxyType({})


class CollectorState(NamedTuple):
    """``frontier``: below it lie past epochs. ``position``: seen up to here. ``pending``: seen, not yet in an epoch."""

    frontier: Frontier
    position: Frontier
    closed_ms: int | None
    pending: tuple[Message, ...]

    @property
    def awaits_barrier(self) -> bool:
        """Whether nothing seen so far says where the next epoch ends."""
        return all(m.topic != PERIODS.name for m in self.pending)


@dataclass(frozen=True, slots=True)
class EpochCollector:
    """Cuts one network's telemetry into epochs.

    Parameters
    ----------
    network_id
        Messages of other networks are skipped by their key.
    decode
        Decodes the value of a ``telemetry.periods`` record; raises BadEvent.
    adopt_unkeyed
        Whether messages whose key names no network belong to this one. One network of an installation should.
    partition
        Cut the epochs of this partition of the telemetry topics alone; None: of all. The topics have their keys in
        common, so that a managed element's events lie in the same partition of each.
    """

    network_id: str
    decode: Callable[[bytes | None], PeriodEnd]
    adopt_unkeyed: bool = True
    partition: int | None = None
    name: str = "epochs"
    _ours: dict[bytes | None, bool] = field(default_factory=dict, repr=False, compare=False)

    def initial(self) -> CollectorState:
        """Nothing seen, from the beginning of every partition."""
        return CollectorState({}, {}, None, ())

    def resume(self, frontier: Frontier, closed_ms: int | None) -> CollectorState:
        """The state in which everything below a frontier, and every period up to ``closed_ms``, is done."""
        return CollectorState(dict(frontier), dict(frontier), closed_ms, ())

    def process(self, state: CollectorState, batch: Polled) -> Step[CollectorState, Epoch, Never]:
        """Add polled messages; give the epochs that they complete."""
        if not batch.messages and covers(state.position, batch.position):
            return Step(state)
        frontier, position = state.frontier, merge(state.position, batch.position)
        logs: dict[TopicPartition, dict[int, Message]] = {}
        for m in state.pending:
            logs.setdefault((m.topic, m.partition), {})[m.offset] = m
        for m in batch.messages:
            at = (m.topic, m.partition)
            if m.offset >= position.get(at, 0):
                position[at] = m.offset + 1
            if m.offset >= frontier.get(at, 0) and self._belongs(m):
                logs.setdefault(at, {})[m.offset] = m
        pending = _Pending({at: [log[o] for o in sorted(log)] for at, log in logs.items()})
        epochs: list[Epoch] = []
        closed_ms, frontier = self._cut(pending, frontier, position, state.closed_ms, epochs)
        return Step(CollectorState(frontier, position, closed_ms, pending.rest()), tuple(epochs))

    def _cut(
        self,
        pending: "_Pending",
        frontier: Frontier,
        position: Frontier,
        closed_ms: int | None,
        epochs: list[Epoch],
    ) -> tuple[int | None, Frontier]:
        unreadable: list[Message] = []
        for record in pending.of(PERIODS.name):
            try:
                barrier = self.decode(record.value)
            except BadEvent:
                unreadable.append(record)
                continue
            if barrier.network_id != self.network_id:
                unreadable.append(record)
                continue
            if closed_ms is not None and barrier.period_end_ms <= closed_ms:
                continue  # a barrier written twice: the first one counts
            bounds = {tp: o for tp, o in from_records(barrier.offsets).items() if self._reads(tp)}
            if not covers(position, bounds):
                break
            frontier = merge(frontier, bounds, {(record.topic, record.partition): record.offset + 1})
            inside = [m for m in pending.take(frontier) if m.topic != PERIODS.name]
            epochs.append(Epoch(barrier, tuple(inside), tuple(unreadable), frontier))
            unreadable, closed_ms = [], barrier.period_end_ms
        return closed_ms, frontier

    def _reads(self, at: TopicPartition) -> bool:
        return at[0] in TELEMETRY_NAMES and self.partition in (None, at[1])

    def _belongs(self, message: Message) -> bool:
        ours = self._ours.get(message.key)
        if ours is None:
            # Keys of barriers are a bare network_id.
            key = parse_key(message.key + b"|" if message.topic == PERIODS.name and message.key else message.key)
            ours = key.network_id == self.network_id or (key.network_id is None and self.adopt_unkeyed)
            if len(self._ours) < 100_000:  # keys are managed elements; a flood of nonsense keys must not fill memory
                self._ours[message.key] = ours
        return ours

    def dump(self, state: CollectorState) -> bytes:
        """Frontier, position and pending messages as JSON."""
        header = {
            "frontier": to_keys(state.frontier),
            "position": to_keys(state.position),
            "closed_ms": state.closed_ms,
            "pending": [to_json(m) for m in state.pending],
        }
        return pack(self.name, 1, header, {})

    def load(self, data: bytes) -> CollectorState:
        """The state from its bytes; raises WrongState if they are no collector state."""
        header, _ = unpack(self.name, 1, data)
        return CollectorState(
            from_keys(header["frontier"]),
            from_keys(header["position"]),
            header["closed_ms"],
            tuple(from_json(m) for m in header["pending"]),
        )


class _Pending:
    """Messages by partition, in order of offset, cut off from the front."""

    def __init__(self, logs: dict[TopicPartition, list[Message]]) -> None:
        self._logs = {at: logs[at] for at in sorted(logs)}
        self._from = dict.fromkeys(self._logs, 0)

    def of(self, topic: str) -> list[Message]:
        return [m for at, log in self._logs.items() if at[0] == topic for m in log]

    def take(self, frontier: Frontier) -> list[Message]:
        """What lies below the frontier, in canonical order; it is no longer pending."""
        taken: list[Message] = []
        for at, log in self._logs.items():
            start = self._from[at]
            stop = bisect_left(log, frontier.get(at, 0), lo=start, key=lambda m: m.offset)
            taken += log[start:stop]
            self._from[at] = stop
        return taken

    def rest(self) -> tuple[Message, ...]:
        return tuple(m for at, log in self._logs.items() for m in log[self._from[at] :])

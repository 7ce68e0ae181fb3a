"""Decides the barriers of a network whose producers know of none.

A period is over when the managed elements have all sent its PM report and no partition of measurement reports is
behind; or, for networks whose elements fall silent, when every partition that still moves has gone past the period by
the allowed lateness. Only event time counts. The decision is written down (``telemetry.periods``), so that every reader
and every replay cuts the log at the same offsets, whatever arrived when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Never

from processors.encoding import pack, unpack
from processors.messages import parse_key
from processors.operator import Step
from schemas.base import Event
from schemas.telemetry import PeriodEnd, PmReport
from schemas.topics import TELEMETRY, Topic, topic
from schemas.topology import Topology
from streams.exceptions import BadEvent
from streams.frontier import Frontier, TopicPartition, from_keys, to_keys, to_records
from streams.transport import Message

# Alarms and configuration come when something happens; their silence says nothing about how far a period has come.
_STEADY = frozenset({"telemetry.pm", "telemetry.mr"})


class SequencerState(NamedTuple):
    """Next offsets seen; the latest period of each partition; who sent PM, by period; the last period closed."""

    offsets: Frontier
    watermark_ms: dict[TopicPartition, int]
    reported: dict[int, frozenset[str]]
    closed_ms: int | None


def period_of(time_ms: int, granularity_ms: int) -> int:
    """End of the period (start, end] that holds a time; periods are aligned to the hour (TS 28.550).

    >>> period_of(60_000, 60_000), period_of(60_001, 60_000)
    (60000, 120000)
    """
    return -(-time_ms // granularity_ms) * granularity_ms


@dataclass(frozen=True, slots=True)
class Sequencer:
    """Telemetry in, barriers out.

    Parameters
    ----------
    topology
        Whose managed elements must report.
    partitions
        Number of partitions of every telemetry topic: a barrier names them all.
    decode
        Decodes a message; raises BadEvent.
    lateness_ms
        How far the slowest moving partition must be past a period when some elements did not report.
    idle_ms
        A partition that lags the furthest one by more than this does not move and holds nobody up.
    """

    topology: Topology
    partitions: dict[str, int]
    decode: Callable[[Topic, bytes | None], Event]
    lateness_ms: int = 60_000
    idle_ms: int = 300_000
    name: str = "sequencer"

    def initial(self) -> SequencerState:
        """Nothing seen."""
        every = {(t.name, p): 0 for t in TELEMETRY for p in range(self.partitions[t.name])}
        return SequencerState(every, {}, {}, None)

    def resume(self, frontier: Frontier, closed_ms: int | None) -> SequencerState:
        """Go on from the last barrier that was written."""
        return self.initial()._replace(offsets=self.initial().offsets | frontier, closed_ms=closed_ms)

    def process(self, state: SequencerState, batch: Sequence[Message]) -> Step[SequencerState, PeriodEnd, Never]:
        """Look at messages in order of arrival; give the barriers of the periods that are over."""
        if not batch:
            return Step(state)
        now = SequencerState(dict(state.offsets), dict(state.watermark_ms), dict(state.reported), state.closed_ms)
        barriers: list[PeriodEnd] = []
        for message in batch:
            now = self._see(now, message)
            while (over := self._over(now)) is not None:
                barriers.append(self._barrier(now, over))
                rest = {end: who for end, who in now.reported.items() if end > over}
                now = now._replace(closed_ms=over, reported=rest)
        return Step(now, tuple(barriers))

    def _see(self, state: SequencerState, message: Message) -> SequencerState:
        at = (message.topic, message.partition)
        if at not in state.offsets:
            return state  # no telemetry
        state.offsets[at] = max(message.offset + 1, state.offsets[at])
        if parse_key(message.key).network_id != self.topology.network_id or message.topic not in _STEADY:
            return state
        try:
            event = self.decode(topic(message.topic), message.value)
        except BadEvent:
            return state  # the twin dead-letters it; here it only moves the offsets
        end = period_of(int(getattr(event, "time_ms")), self.topology.granularity_s * 1000)  # noqa: B009
        if isinstance(event, PmReport) and (state.closed_ms is None or end > state.closed_ms):
            state.reported[end] = state.reported.get(end, frozenset()) | {event.managed_element}
        if self._believable(state, end):
            state.watermark_ms[at] = max(end, state.watermark_ms.get(at, 0))
        return state

    def _believable(self, state: SequencerState, end: int) -> bool:
        """One element whose clock runs ahead must not close everybody's periods; a majority that leaps does."""
        known = [state.closed_ms] if state.closed_ms is not None else list(state.reported)
        near = not known or end <= min(known) + self.idle_ms
        return near or 2 * len(state.reported.get(end, ())) > len(self.topology.managed_elements)

    def _over(self, state: SequencerState) -> int | None:
        """The next period, if it is over."""
        if not state.reported or not state.watermark_ms:
            return None
        end = min(state.reported)
        newest = max(state.watermark_ms.values())
        moving = {at: w for at, w in state.watermark_ms.items() if w >= newest - self.idle_ms}
        complete = state.reported[end] >= frozenset(self.topology.managed_elements)
        measured = all(w >= end for at, w in moving.items() if at[0] == "telemetry.mr")
        if (complete and measured) or min(moving.values()) >= end + self.lateness_ms:
            return end
        return None

    def _barrier(self, state: SequencerState, end: int) -> PeriodEnd:
        network = self.topology.network_id
        return PeriodEnd(
            network_id=network,
            event_id=f"period/{end}",
            period_end_ms=end,
            granularity_s=self.topology.granularity_s,
            offsets=to_records(state.offsets),
        )

    def dump(self, state: SequencerState) -> bytes:
        """Offsets, watermarks and who has reported, as JSON."""
        header = {
            "offsets": to_keys(state.offsets),
            "watermark_ms": to_keys(state.watermark_ms),
            "reported": [[end, sorted(who)] for end, who in sorted(state.reported.items())],
            "closed_ms": state.closed_ms,
        }
        return pack(self.name, 1, header, {})

    def load(self, data: bytes) -> SequencerState:
        """The state from its bytes; raises WrongState if they are no sequencer state."""
        header, _ = unpack(self.name, 1, data)
        return SequencerState(
            from_keys(header["offsets"]),
            from_keys(header["watermark_ms"]),
            {end: frozenset(who) for end, who in header["reported"]},
            header["closed_ms"],
        )

"""Governance of one epoch: from the messages between two barriers to one clean table of the network.

Pure: the same state and epoch give the same result, and neither the order in which messages arrived nor how they were
polled is visible here (``processors.collector``). Offsets decide only which of several copies of an event counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from processors.collector import Epoch
from processors.governance.accounting import REGISTERED, Fate, Placed, account, add, count
from processors.governance.events import EventInspector
from processors.governance.grid import Grid
from processors.governance.measurements import Measurements, measurements_of
from processors.governance.network import NetworkIndex
from processors.governance.pm import PmInspector, PmReports
from processors.governance.registers import (
    ConfigKey,
    apply_alarms,
    apply_configuration,
    cells_out_of_service,
    forget_cleared,
)
from processors.governance.scope import Scope
from processors.governance.settings import GovernanceSettings
from processors.governance.state import GovernanceState, dump, load
from processors.governance.tables import PeriodTable, Quality, Stragglers, Tabulator, stragglers_of
from processors.governance.verdict import Good, Refusal
from processors.messages import canonical
from processors.operator import Step
from schemas.base import Event
from schemas.dead_letters import DeadLetter, LateEvent, Reason
from schemas.telemetry import Alarm, ConfigurationReport, MeasurementReport
from schemas.topology import Topology
from schemas.twin import EventCounts
from streams.dead_letters import dead_letter, is_reinjected, late_event
from streams.frontier import Frontier
from streams.serde import Serde
from streams.transport import Message

_PM = "telemetry.pm"


@dataclass(frozen=True, slots=True)
class GovernedEpoch:
    """What an epoch says about the network.

    Attributes
    ----------
    period_end_ms, granularity_s, frontier
        The period that it closes, and where the next epoch begins.
    now
        PM of the closed period.
    tables
        PM of every period in the epoch, in order; several only after barriers were missed.
    measurements
        Measurement reports as columns.
    configuration
        What changed.
    out_of_service
        [C] cells that an active alarm says are out of service.
    counts, epoch_counts
        Since the beginning, and of this epoch.
    quality
        What was wrong with the PM without making it unusable.
    stragglers
        PM that came after its period was closed: nothing for the twin, which has gone on, but windows may still wait.
    """

    period_end_ms: int
    granularity_s: int
    frontier: Frontier
    now: PeriodTable
    tables: tuple[PeriodTable, ...]
    measurements: Measurements
    configuration: dict[ConfigKey, float | str]
    out_of_service: NDArray[np.bool_]
    counts: EventCounts
    epoch_counts: EventCounts
    quality: Quality
    stragglers: Stragglers


class _Judged(NamedTuple):
    """What the inspectors found, by position in the epoch's messages."""

    placed: dict[int, Placed]
    refusals: dict[int, Refusal]
    reports: PmReports
    events: dict[int, Good[Event]]


class EpochGovernance:
    """Decodes, checks, accounts for and tabulates the epochs of one network.

    Parameters
    ----------
    topology
        Its network, managed elements and cells; what it lacks is dead-lettered.
    serde
        Decodes messages.
    settings
        What counts as possible.
    scope
        Of a region, where the topology is a part of the network; None: everything.
    """

    name = "governance"

    def __init__(
        self,
        topology: Topology,
        serde: Serde,
        settings: GovernanceSettings | None = None,
        scope: Scope | None = None,
    ) -> None:
        self.topology, self._scope = topology, scope
        self.settings = settings or GovernanceSettings()
        self._network = network = NetworkIndex(topology, scope.cells_elsewhere if scope else frozenset())
        self._elements = topology.managed_elements
        self._pm = PmInspector(network, serde, self.settings)
        self._events = EventInspector(network, serde, self.settings)
        self._tabulator = Tabulator(len(topology.cells), len(self._elements), self.settings)

    def initial(self) -> GovernanceState:
        """Nothing seen, no period closed."""
        return GovernanceState(*self._tabulator.empty_baselines())

    def process(
        self, state: GovernanceState, batch: Sequence[Epoch]
    ) -> Step[GovernanceState, GovernedEpoch, LateEvent]:
        """Govern epochs, one after the other."""
        outputs: list[GovernedEpoch] = []
        late: list[LateEvent] = []
        dead: list[DeadLetter] = []
        for epoch in batch:
            step = self._govern(state, epoch)
            state = step.state
            outputs += step.outputs
            late += step.late
            dead += step.dead_letters
        return Step(state, tuple(outputs), tuple(late), tuple(dead))

    def dump(self, state: GovernanceState) -> bytes:
        """The state as safetensors with a JSON header."""
        return dump(state, self.topology)

    def load(self, data: bytes) -> GovernanceState:
        """The state from its bytes; raises WrongState if it belongs to other cells."""
        return load(data, self.topology)

    def _govern(self, state: GovernanceState, epoch: Epoch) -> Step[GovernanceState, GovernedEpoch, LateEvent]:
        grid = Grid(epoch.barrier.period_end_ms, epoch.barrier.granularity_s * 1000)
        scope = self._scope
        fresh = canonical(m for m in (*epoch.messages, *epoch.unreadable) if scope is None or scope.hears(m))
        messages = canonical((*state.in_flight, *fresh))
        judged = self._judge(messages, frozenset(epoch.unreadable), grid)
        fates, refusals = account(messages, judged.placed, judged.refusals, grid, state.closed_ms, state.seen)
        own = [scope is None or scope.answers_for(m) for m in messages]
        counted = {(m.topic, m.partition, m.offset) for m, mine in zip(messages, own, strict=True) if mine}
        new = [m for m in fresh if (m.topic, m.partition, m.offset) in counted]
        held = sum((m.topic, m.partition, m.offset) in counted for m in state.in_flight)
        epoch_counts = count(list(compress(fates, own)), len(new), sum(map(is_reinjected, new)), held)

        applied = np.array([fate is Fate.APPLIED for fate in fates], dtype=bool)
        tables = self._tabulator.tabulate(
            judged.reports, applied[judged.reports.message], state.cells, state.elements, grid
        )
        events = _in_event_order(judged.events, fates)
        late_reports = np.array([fate is Fate.LATE for fate in fates], dtype=bool)[judged.reports.message]
        alarms = apply_alarms(state.alarms, (e for e in events if isinstance(e, Alarm)))
        configuration, changed = apply_configuration(
            state.configuration, (e for e in events if isinstance(e, ConfigurationReport))
        )
        remember_ms = self.settings.remember_periods * grid.granularity_ms
        alarms = forget_cleared(alarms, grid.end_ms - remember_ms)
        after = GovernanceState(
            cells=tables.cells,
            elements=tables.elements,
            closed_ms=grid.end_ms,
            counts=add(state.counts, epoch_counts),
            in_flight=tuple(m for m, fate in zip(messages, fates, strict=True) if fate is Fate.IN_FLIGHT),
            seen=_remember(state.seen, messages, fates, judged.placed, grid.end_ms, remember_ms),
            alarms=alarms,
            configuration=configuration,
        )
        governed = GovernedEpoch(
            period_end_ms=grid.end_ms,
            granularity_s=epoch.barrier.granularity_s,
            frontier=epoch.frontier,
            now=next((t for t in tables.tables if t.period_end_ms == grid.end_ms), None)
            or self._tabulator.blank(grid.end_ms),
            tables=tables.tables,
            measurements=measurements_of(
                [e for e in events if isinstance(e, MeasurementReport)], self._network.cell, len(self.topology.cells)
            ),
            configuration=changed,
            out_of_service=cells_out_of_service(alarms, self._network),
            counts=after.counts,
            epoch_counts=epoch_counts,
            quality=tables.quality,
            stragglers=stragglers_of(judged.reports, late_reports),
        )
        late = [
            self._late(messages[i], judged.placed[i], state.closed_ms)
            for i, fate in enumerate(fates)
            if fate is Fate.LATE and own[i]
        ]
        dead = [
            self._dead(messages[i], refusals[i], grid) for i, fate in enumerate(fates) if fate is Fate.DEAD and own[i]
        ]
        return Step(after, (governed,), tuple(late), tuple(dead))

    def _judge(self, messages: Sequence[Message], unreadable: frozenset[Message], grid: Grid) -> _Judged:
        placed: dict[int, Placed] = {}
        refusals: dict[int, Refusal] = {}
        events: dict[int, Good[Event]] = {}
        pm_at = [i for i, m in enumerate(messages) if m.topic == _PM]
        reports, refused = self._pm.inspect([messages[i] for i in pm_at], grid)
        at = np.array(pm_at, dtype=np.int64)
        reports = replace(reports, message=at[reports.message])
        refusals.update((pm_at[i], refusal) for i, refusal in refused.items())
        for i, event_id, element, end in zip(
            reports.message.tolist(),
            reports.event_id,
            reports.element.tolist(),
            reports.period_end_ms.tolist(),
            strict=True,
        ):
            placed[i] = Placed(event_id, self._elements[element], end)
        for i, message in enumerate(messages):
            if message.topic == _PM:
                continue
            if message in unreadable:
                refusals[i] = Refusal(Reason.UNDECODABLE, "no barrier of this network can be read here")
                continue
            verdict = self._events.inspect(message, grid)
            if isinstance(verdict, Refusal):
                refusals[i] = verdict
            else:
                events[i] = verdict
                placed[i] = Placed(verdict.event_id, verdict.managed_element, verdict.period_end_ms)
        return _Judged(placed, refusals, reports, events)

    def _late(self, message: Message, event: Placed, closed_ms: int | None) -> LateEvent:
        return late_event(
            message,
            network_id=self.topology.network_id,
            managed_element=event.managed_element,
            period_end_ms=event.period_end_ms,
            closed_ms=closed_ms or 0,
        )

    def _dead(self, message: Message, refusal: Refusal, grid: Grid) -> DeadLetter:
        return dead_letter(
            message,
            refusal.reason,
            refusal.detail,
            stage=self.name,
            network_id=self.topology.network_id,
            time_ms=grid.end_ms,
        )


def _in_event_order(events: dict[int, Good[Event]], fates: Sequence[Fate]) -> list[Event]:
    """Applied events by time and managed element.

    Positions break ties only within one managed element (a topic's events of it lie in one partition), so that it does
    not matter how the elements' events interleave.
    """
    applied = [(good.time_ms, good.managed_element, i) for i, good in events.items() if fates[i] is Fate.APPLIED]
    return [events[i].event for _, _, i in sorted(applied)]


def _remember(
    seen: dict[tuple[str, str], int],
    messages: Sequence[Message],
    fates: Sequence[Fate],
    placed: dict[int, Placed],
    end_ms: int,
    remember_ms: int,
) -> dict[tuple[str, str], int]:
    """Ids of applied alarms and configuration, as long as they are remembered."""
    now = {
        (m.topic, placed[i].event_id): end_ms + remember_ms
        for i, m in enumerate(messages)
        if m.topic in REGISTERED and fates[i] is Fate.APPLIED
    }
    return {key: until for key, until in seen.items() if until > end_ms} | now

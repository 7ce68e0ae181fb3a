"""Faults that can be injected: what they are, when they hold, whom they hit."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from infra.network.arrays import Flags, Index
from infra.network.layout import Sites
from infra.network.world import Surge
from schemas.exceptions import InvalidName
from schemas.names import canonical, cell_of, managed_element_of


class FaultKind(StrEnum):
    """Names of faults in the ``inject`` message."""

    CELL_OUTAGE = "cell_outage"  # off the air, with an alarm raised and cleared
    TRAFFIC_SURGE = "traffic_surge"  # `factor` times the requests around a cell, within `radius_m`, or everywhere
    STUCK_COUNTERS = "stuck_counters"  # the counters of a cell or element repeat their last values
    COUNTER_RESET = "counter_reset"  # its cumulative counters start again from zero
    OUT_OF_RANGE = "out_of_range"  # a cell reports an impossible PRB use
    LATE_EVENTS = "late_events"  # PM and MR of an element come `periods` later
    DUPLICATE_EVENTS = "duplicate_events"  # events of an element are sent twice
    POISON = "poison"  # `lines` lines that are no JSON
    REFUSE_COMMAND = "refuse_command"  # commands to an element are rejected
    LOSE_COMMAND = "lose_command"  # they have no effect and get no answer


_OF_A_CELL = {FaultKind.CELL_OUTAGE, FaultKind.OUT_OF_RANGE}
_DEFAULTS: dict[FaultKind, dict[str, float]] = {
    FaultKind.TRAFFIC_SURGE: {"factor": 2.5, "radius_m": 200.0},
    FaultKind.LATE_EVENTS: {"periods": 2},
    FaultKind.POISON: {"lines": 1},
}


@dataclass
class Fault:
    """One injected fault, in force in [start_ms, end_ms)."""

    fault_id: str
    kind: FaultKind
    target: str  # DN of a cell or managed element, or "" for the whole network
    start_ms: int
    end_ms: int
    parameters: dict[str, float] = field(default_factory=dict)
    begun: bool = False  # for what happens once, at the start
    ended: bool = False

    def now(self, time_ms: int) -> bool:
        """Whether it holds at that time."""
        return self.start_ms <= time_ms < self.end_ms

    def within(self, from_ms: int, to_ms: int) -> bool:
        """Whether it held at some time of (from_ms, to_ms]."""
        return self.start_ms < to_ms and self.end_ms > from_ms


class Faults:
    """All injected faults of a run."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._names = sites.topology.cell_names
        self._elements = sites.topology.managed_elements
        self.all: list[Fault] = []

    def problem(self, kind: str, target: str, parameters: dict[str, float]) -> str | None:
        """Why this fault cannot be injected, or None."""
        if kind not in set(FaultKind):
            return f"unknown fault {kind!r}; known: {', '.join(FaultKind)}"
        unknown = set(parameters) - set(_DEFAULTS.get(FaultKind(kind), {}))
        if unknown:
            return f"{kind} has no parameter {', '.join(sorted(unknown))}"
        if target:
            try:
                name = canonical(target)
            except InvalidName as error:
                return str(error)
            if name not in self._names and name not in self._elements:
                return f"unknown target {target!r}: name a cell or a managed element of the topology"
        elif kind not in (FaultKind.TRAFFIC_SURGE, FaultKind.POISON):
            return f"{kind} needs a target: a cell or a managed element"
        if kind in _OF_A_CELL and canonical(target) not in self._names:
            return f"{kind} hits a cell, not {target!r}"
        return None

    def add(
        self, fault_id: str, kind: str, target: str, start_ms: int, duration_s: float, parameters: dict[str, float]
    ) -> None:
        """Add a fault that has no problem."""
        known = FaultKind(kind)
        self.all.append(
            Fault(
                fault_id,
                known,
                canonical(target) if target else "",
                start_ms,
                start_ms + round(1000 * duration_s),
                _DEFAULTS.get(known, {}) | parameters,
            )
        )

    def hits(self, fault: Fault, name: str) -> bool:
        """Whether the fault's target is, or contains, that cell or element."""
        return fault.target in ("", name) or managed_element_of(name) == fault.target

    def within(self, kind: FaultKind, from_ms: int, to_ms: int) -> list[Fault]:
        """Faults of a kind that held at some time of (from_ms, to_ms]."""
        return [f for f in self.all if f.kind == kind and f.within(from_ms, to_ms)]

    def element_hit(self, kind: FaultKind, element: str, time_ms: int) -> bool:
        """Whether a fault of this kind holds now for (a cell of) a managed element."""
        return any(
            f.kind == kind and f.now(time_ms) and (not f.target or managed_element_of(f.target) == element)
            for f in self.all
        )

    def cells_hit(self, fault: Fault) -> Index:
        """Indices of the cells that a fault hits."""
        return np.array([c for c, name in enumerate(self._names) if self.hits(fault, name)], dtype=np.intp)

    def outage(self, time_ms: int) -> Flags:
        """[C] cells off the air by fault."""
        out = np.zeros(len(self._names), bool)
        for f in self.all:
            if f.kind == FaultKind.CELL_OUTAGE and f.now(time_ms):
                out[self._names.index(f.target)] = True
        return out

    def surges(self, time_ms: int) -> tuple[Surge, ...]:
        """Surges of demand in force."""
        return tuple(self._surge(f) for f in self.all if f.kind == FaultKind.TRAFFIC_SURGE and f.now(time_ms))

    def _surge(self, fault: Fault) -> Surge:
        s, factor, radius = self._sites, fault.parameters["factor"], fault.parameters["radius_m"]
        if not fault.target:
            return Surge(0.0, 0.0, np.inf, factor)
        site = self._elements.index(managed_element_of(fault.target))
        if fault.target in self._elements:
            return Surge(float(s.x_m[site]), float(s.y_m[site]), radius, factor)
        # The middle of a sector lies about its reach's half down its boresight.
        bearing = np.radians(s.azimuth_deg[self._names.index(cell_of(fault.target))])
        ahead = 0.65 * radius
        return Surge(
            float(s.x_m[site] + ahead * np.sin(bearing)), float(s.y_m[site] + ahead * np.cos(bearing)), radius, factor
        )

    def forget_before(self, time_ms: int) -> None:
        """Drop faults that are over."""
        self.all = [f for f in self.all if f.end_ms > time_ms or not f.ended]

    def to_json(self) -> list[dict[str, Any]]:
        """For a saved state."""
        return [asdict(f) for f in self.all]

    def from_json(self, saved: list[dict[str, Any]]) -> None:
        """Continue from a saved state."""
        self.all = [Fault(**{**f, "kind": FaultKind(f["kind"])}) for f in saved]

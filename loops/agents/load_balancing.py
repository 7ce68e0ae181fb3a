"""Move users from a loaded cell to a neighbour by the handover bias between the two, step by step."""

from dataclasses import dataclass, field

import numpy as np

from loops.agents.agent import NetworkView, Setting, strategy
from loops.agents.memory import Memory, Pauses
from schemas.levers import quantise_cio
from schemas.names import relation_dn
from schemas.strategies import Direction, Objective, Strategy

PRB, CIO = "RRU.PrbTotDl", "cellIndividualOffset"


@dataclass(frozen=True)
class LoadBalancing:
    """Raises the bias from a loaded cell towards a neighbour, and lowers it on the way back so that users stay.

    Parameters
    ----------
    loaded_above
        PRB use, %, above which a cell gives load away.
    gap
        By how much less, in percent points, the neighbour must be loaded.
    relaxed_below
        PRB use, %, below which a cell takes back what it gave away.
    step_db, largest_db
        Of a change, and of the bias.
    min_gain
        Least relative gain in the mean user's throughput that is worth a change.
    """

    loaded_above: float = 60.0
    gap: float = 20.0
    relaxed_below: float = 30.0
    step_db: float = 2.0
    largest_db: float = 6.0
    min_gain: float = 0.005
    pauses: Pauses = field(default_factory=Pauses)
    name: str = "load-balancing"

    def propose(self, view: NetworkView) -> list[Strategy]:
        """At most one pair of cells at a time, the one with most to gain."""
        memory = Memory(view, self.name, self.pauses)
        if memory.is_busy:
            return []
        load = view.worst(PRB)
        usable = view.active & view.in_service
        pairs = [
            (float(load[i] - load[j]), i, j)
            for i in range(len(view.cells))
            for j in view.neighbours[i]
            if usable[i] and usable[j] and not memory.rests([view.cells[i], view.cells[j]])
        ]
        hot = [
            p
            for p in pairs
            if load[p[1]] > self.loaded_above and p[0] > self.gap and view.cio_db[p[1], p[2]] < self.largest_db
        ]
        if hot:
            gap, i, j = min(hot, key=lambda p: (-p[0], p[1], p[2]))
            return [self._proposal(view, i, j, self.step_db, f"PRB use {load[i]:.0f} % against {gap:.0f} points less")]
        own = memory.in_force()
        idle = [
            p
            for p in pairs
            if load[p[1]] < self.relaxed_below
            and view.cio_db[p[1], p[2]] > 0
            and (relation_dn(view.cells[p[1]], view.cells[p[2]]), CIO) in own
        ]
        if idle:
            _, i, j = min(idle, key=lambda p: (float(load[p[1]]), p[1], p[2]))
            return [self._proposal(view, i, j, -self.step_db, f"PRB use has fallen to {load[i]:.0f} %")]
        return []

    def _proposal(self, view: NetworkView, i: int, j: int, step_db: float, why: str) -> Strategy:
        source, target = view.cells[i], view.cells[j]
        there = quantise_cio(float(np.clip(view.cio_db[i, j] + step_db, -self.largest_db, self.largest_db)))
        back = quantise_cio(float(np.clip(view.cio_db[j, i] - step_db, -self.largest_db, self.largest_db)))
        settings: list[Setting] = [
            (relation_dn(source, target), CIO, there),
            (relation_dn(target, source), CIO, back),
        ]
        gain = self.min_gain if step_db > 0 else 0.0
        return strategy(
            view,
            self.name,
            f"Bias {_pair(source, target)} to {there:+g} dB",
            settings,
            Objective(kpi="DRB.UEThpDl", direction=Direction.UP, min_gain=gain),
            why,
        )


def _pair(source: str, target: str) -> str:
    relation = relation_dn(source, target).rpartition("=")[2]
    element = source.partition(",GNBDUFunction")[0].rpartition("=")[2]
    return f"{element}-{source.rpartition('=')[2]} to {relation}"

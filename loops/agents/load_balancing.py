"""Relieve a cell that is nearly full by handing its border users to emptier neighbours, through the handover bias."""

from dataclasses import dataclass, field

import numpy as np

from loops.agents.agent import Form, NetworkView, Setting
from loops.agents.forms import Trigger, proposal
from loops.agents.memory import Memory, Pauses
from schemas.levers import quantise_cio
from schemas.names import relation_dn, short_name
from schemas.strategies import Direction, Objective, Strategy

PRB, CIO = "RRU.PrbTotDl", "cellIndividualOffset"


@dataclass(frozen=True)
class LoadBalancing:
    """Raises the bias of a full cell towards its emptier neighbours, and lowers it on the way back so that users stay.

    Users at the border hear the neighbour worse than their own cell, so this costs throughput wherever their own cell
    had room; it pays only where demand would find none. Hence only nearly full cells, in small steps.

    Parameters
    ----------
    full_above
        PRB use, %, above which a cell gives load away.
    gap
        By how much less, in percent points, a neighbour must be loaded to take it.
    relaxed_below
        PRB use, %, below which a cell takes back what it gave away.
    step_db, largest_db
        Of a change, and of the bias.
    min_gain
        Least relative decrease of unserved demand that is worth a change.
    """

    full_above: float = 85.0
    gap: float = 25.0
    relaxed_below: float = 50.0
    step_db: float = 1.0
    largest_db: float = 6.0
    min_gain: float = 0.01
    pauses: Pauses = field(default_factory=Pauses)
    form: Form = Form.CHANGE
    name: str = "load-balancing"

    def propose(self, view: NetworkView) -> list[Strategy]:
        """At most one cell at a time: the fullest that can be relieved, else one that no longer needs its bias."""
        memory = Memory(view, self.name, self.pauses)
        if memory.pauses:
            return []
        load = view.worst(PRB)
        usable = view.active & view.in_service
        for c in np.argsort(-load, kind="stable").tolist():
            if usable[c] and load[c] > self.full_above and (to := self._takers(view, memory, c, load)):
                why = f"PRB use {load[c]:.0f} %; neighbours at {', '.join(f'{load[n]:.0f} %' for n in to)}"
                objective = Objective(kpi="TL.UnservedRatio", direction=Direction.DOWN, min_gain=self.min_gain)
                return [self._proposal(view, c, to, self.step_db, objective, why)]
        own = memory.in_force()
        for c in np.argsort(load, kind="stable").tolist():
            biased = [n for n in view.neighbours[c] if view.cio_db[c, n] > 0 and (_relation(view, c, n), CIO) in own]
            if usable[c] and load[c] < self.relaxed_below and biased and not self._rest(view, memory, c, biased):
                objective = Objective(kpi="DRB.UEThpDl", direction=Direction.UP)
                why = f"PRB use has fallen to {load[c]:.0f} %"
                return [self._proposal(view, c, biased, -self.step_db, objective, why)]
        return []

    def _takers(self, view: NetworkView, memory: Memory, c: int, load: np.ndarray) -> list[int]:
        """Neighbours that can take load of a cell, emptiest first."""
        able = [
            n
            for n in view.neighbours[c]
            if view.active[n]
            and view.in_service[n]
            and load[c] - load[n] > self.gap
            and view.cio_db[c, n] < self.largest_db
            and not memory.rests([view.cells[c], view.cells[n]])
        ]
        return sorted(able, key=lambda n: (load[n], n))

    @staticmethod
    def _rest(view: NetworkView, memory: Memory, c: int, others: list[int]) -> bool:
        return memory.rests(view.cells[i] for i in (c, *others))

    def _proposal(
        self, view: NetworkView, c: int, others: list[int], step_db: float, objective: Objective, why: str
    ) -> Strategy:
        step_db /= 1 + Memory(view, self.name, self.pauses).setbacks([view.cells[c]])  # smaller after what went wrong
        pairs = [pair for n in others for pair in ((c, n, step_db), (n, c, -step_db))]
        new: list[Setting] = [(_relation(view, a, b), CIO, self._step(view.cio_db[a, b], step)) for a, b, step in pairs]
        old: list[Setting] = [(_relation(view, a, b), CIO, float(view.cio_db[a, b])) for a, b, _ in pairs]
        names = ", ".join(short_name(view.cells[n]) for n in others)
        title = f"Hand users of {short_name(view.cells[c])} {'to' if step_db > 0 else 'back from'} {names}"
        form = self.form if step_db > 0 else Form.CHANGE
        trigger = Trigger(PRB, [view.cells[c]], above=self.full_above, clear=self.relaxed_below)
        return proposal(view, self.name, form, title, new, old, objective, why, trigger)

    def _step(self, present_db: float, step_db: float) -> float:
        """The present bias and a step, never less than one of the grid."""
        wanted = float(np.clip(present_db + step_db, -self.largest_db, self.largest_db))
        near = quantise_cio(wanted)
        return near if near != present_db else quantise_cio(present_db + float(np.copysign(1.0, step_db)))


def _relation(view: NetworkView, source: int, target: int) -> str:
    return relation_dn(view.cells[source], view.cells[target])

"""Guarantee a slice more of a cell when its delay misses the target there.

What is guaranteed and not used serves the other slices (TS 28.541), so that nothing is gained by taking it back.
"""

from dataclasses import dataclass, field

import numpy as np

from loops.agents.agent import Form, NetworkView, Setting
from loops.agents.forms import Trigger, proposal
from loops.agents.memory import Memory, Pauses
from schemas.counters import URLLC, sliced
from schemas.levers import MINIMUM
from schemas.names import short_name, slice_policy_dn
from schemas.strategies import Direction, Objective, Strategy

DELAY, PRB = "DRB.RlcSduDelayDl", "RRU.PrbTotDl"


@dataclass(frozen=True)
class SliceAssurance:
    """One cell at a time, through the share of its resource blocks that is guaranteed to a slice.

    Parameters
    ----------
    s_nssai
        Which slice it looks after.
    target
        Delay, 0.1 ms, above which a cell is given more.
    busy_above
        PRB use, %, below which a guarantee changes nothing: slices are not in each other's way.
    step, largest
        Of a change, and of the guaranteed share, percent; the step is halved after each setback on the cell.
    min_gain
        Least relative fall of the slice's delay, over the whole network, that is worth a change.
    """

    s_nssai: str = URLLC
    target: float = 12.0
    busy_above: float = 70.0
    step: float = 15.0
    largest: float = 40.0
    min_gain: float = 0.001
    pauses: Pauses = field(default_factory=Pauses)
    form: Form = Form.CHANGE
    name: str = "slice-assurance"

    def propose(self, view: NetworkView) -> list[Strategy]:
        """More for the cell with the longest delay that can be helped."""
        memory = Memory(view, self.name, self.pauses)
        if self.s_nssai not in view.slices or memory.pauses:
            return []
        k = view.slices.index(self.s_nssai)
        kpi = sliced(DELAY, self.s_nssai)
        delay = view.worst(kpi)
        usable = view.active & view.in_service & np.isfinite(delay) & (view.worst(PRB) > self.busy_above)
        for c in np.argsort(-np.where(usable, delay, -np.inf), kind="stable").tolist():
            if not usable[c] or delay[c] <= self.target:
                break
            present = float(view.min_ratio[c, k])
            most = min(self.largest, float(view.max_ratio[c, k]), 100.0 - float(view.min_ratio[c].sum()) + present)
            more = min(round(present + self.step * 2.0 ** -memory.setbacks([view.cells[c]]), 1), most)
            if more > present and not memory.rests([view.cells[c]]):
                why = f"its delay is {delay[c] / 10:.1f} ms, {self.target / 10:.1f} ms are the target"
                objective = Objective(kpi=kpi, direction=Direction.DOWN, min_gain=self.min_gain)
                return [self._proposal(view, c, more, present, objective, why)]
        return []

    def _proposal(
        self, view: NetworkView, c: int, value: float, present: float, objective: Objective, why: str
    ) -> Strategy:
        dn, name = slice_policy_dn(view.cells[c], self.s_nssai), short_name(view.cells[c])
        new: Setting = (dn, MINIMUM, value)
        old: Setting = (dn, MINIMUM, present)
        load = float(np.nan_to_num(view.worst(PRB)[c], nan=50.0))
        trigger = Trigger(PRB, [view.cells[c]], above=max(load - 10.0, 1.0), clear=max(load - 30.0, 0.5))
        title = f"Guarantee {value:g} % of {name} to slice {self.s_nssai}"
        return proposal(view, self.name, self.form, title, [new], [old], objective, why, trigger, priority=6)

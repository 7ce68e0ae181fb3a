"""Tilt down a cell that disturbs its neighbours; tilt up, or give power back to, one whose users hear it weakly."""

from dataclasses import dataclass, field

import numpy as np

from loops.agents.agent import Form, NetworkView, Setting
from loops.agents.forms import Trigger, proposal
from loops.agents.memory import Memory, Pauses
from schemas.names import beam_dn, sector_carrier_dn, short_name
from schemas.strategies import Direction, Objective, Strategy

PRB, THROUGHPUT, UNSERVED = "RRU.PrbTotDl", "DRB.UEThpDl", "TL.UnservedRatio"
TILT, POWER = "digitalTilt", "configuredMaxTxPower"


@dataclass(frozen=True)
class Coverage:
    """One cell at a time, in small steps, within a range about the tilt that it began with.

    Parameters
    ----------
    disturbs_above
        Share of the other cells' traffic that a cell disturbs, above which it may be tilted down.
    weak_above
        Share of a cell's users who hear it weakly, above which it is tilted up.
    step_deg, step_db
        Of a change; halved after each setback on the cell.
    lowest_deg, highest_deg
        Range of electrical down-tilt that it keeps to.
    min_gain
        Least relative gain in mean user throughput that is worth a change.
    """

    disturbs_above: float = 0.04
    weak_above: float = 0.15
    step_deg: float = 1.0
    step_db: float = 1.0
    lowest_deg: float = 2.0
    highest_deg: float = 12.0
    min_gain: float = 0.002
    pauses: Pauses = field(default_factory=Pauses)
    form: Form = Form.CHANGE
    name: str = "coverage"

    def propose(self, view: NetworkView) -> list[Strategy]:
        """The cell with the weakest coverage first, else the one that disturbs most."""
        memory = Memory(view, self.name, self.pauses)
        if memory.pauses:
            return []
        usable = view.active & view.in_service & np.isfinite(view.worst(PRB))
        for c in np.argsort(-view.weak_share, kind="stable").tolist():
            if view.weak_share[c] <= self.weak_above:
                break
            if usable[c] and not memory.rests([view.cells[c]]) and (made := self._reach(view, memory, c)):
                return [made]
        for c in np.argsort(-view.disturbed_share, kind="stable").tolist():
            if view.disturbed_share[c] <= self.disturbs_above:
                break
            if usable[c] and not memory.rests([view.cells[c]]) and (made := self._retreat(view, memory, c)):
                return [made]
        return []

    def _reach(self, view: NetworkView, memory: Memory, c: int) -> Strategy | None:
        """More power where some was taken away, else less tilt."""
        shrink = 2.0 ** -memory.setbacks([view.cells[c]])
        rated_dbm = 10 * np.log10(view.topology.cells[c].max_tx_power_mw)
        name = short_name(view.cells[c])
        if view.tx_power_dbm[c] < rated_dbm - 0.1:
            dbm = min(rated_dbm, view.tx_power_dbm[c] + shrink * self.step_db)
            new: Setting = (sector_carrier_dn(view.cells[c]), POWER, round(float(10 ** (dbm / 10)), 3))
            old: Setting = (new[0], POWER, round(float(10 ** (view.tx_power_dbm[c] / 10)), 3))
            title = f"Give {name} power back"
        elif (tilt := self._tilt(view, c, -shrink)) is not None:
            new, old = tilt
            title = f"Tilt {name} up"
        else:
            return None
        why = f"{view.weak_share[c]:.0%} of its users hear it weakly"
        objective = Objective(kpi=UNSERVED, direction=Direction.DOWN)
        return proposal(view, self.name, self.form, title, [new], [old], objective, why, self._trigger(view, c))

    def _retreat(self, view: NetworkView, memory: Memory, c: int) -> Strategy | None:
        """More tilt, as far as its own users still hear it."""
        tilt = self._tilt(view, c, 2.0 ** -memory.setbacks([view.cells[c]]))
        if tilt is None or view.weak_share[c] > self.weak_above / 2:
            return None
        title = f"Tilt {short_name(view.cells[c])} down"
        why = f"it disturbs {view.disturbed_share[c]:.1%} of its neighbours' traffic"
        objective = Objective(kpi=THROUGHPUT, direction=Direction.UP, min_gain=self.min_gain)
        return proposal(view, self.name, self.form, title, [tilt[0]], [tilt[1]], objective, why, self._trigger(view, c))

    def _tilt(self, view: NetworkView, c: int, steps: float) -> tuple[Setting, Setting] | None:
        """New and present tilt in tenths of a degree; None at the end of the range."""
        present = float(view.tilt_deg[c])
        wanted = round(float(np.clip(present + steps * self.step_deg, self.lowest_deg, self.highest_deg)), 1)
        dn = beam_dn(view.cells[c])
        return None if abs(wanted - present) < 0.05 else ((dn, TILT, 10 * wanted), (dn, TILT, 10 * present))

    def _trigger(self, view: NetworkView, c: int) -> Trigger:
        """As a policy: while its neighbours carry as much as now, or more."""
        near = [view.cells[n] for n in view.neighbours[c]]
        load = float(np.nanmean(view.worst(PRB)[list(view.neighbours[c])]))
        return Trigger(PRB, near, above=max(load - 5.0, 1.0), clear=max(load - 20.0, 0.5))

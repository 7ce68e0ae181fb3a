"""Switch lightly loaded cells off while their neighbours can carry them; switch them on when load comes back."""

from dataclasses import dataclass, field

import numpy as np

from loops.agents.agent import Form, NetworkView, Setting, strategy
from loops.agents.forms import Trigger, proposal
from loops.agents.memory import Memory, Pauses
from schemas.levers import LOCKED, UNLOCKED
from schemas.names import short_name
from schemas.strategies import Direction, Objective, Strategy

PRB, STATE = "RRU.PrbTotDl", "administrativeState"
# Users at the border of the cells that take them over need more airtime there than at home.
_DETOUR = 1.8


@dataclass(frozen=True)
class EnergySaving:
    """Sleeps at most a few cells at a time, and wakes only cells that it has put to sleep itself.

    Parameters
    ----------
    quiet_below
        Mean PRB use, %, of the network below which one cell may sleep at a time; below two thirds of it, ``most``.
    sleep_below
        PRB use, %, below which a cell may sleep.
    carry_below
        PRB use, %, below which its heirs must stay once they carry its load.
    wake_above
        PRB use, %, of an heir at which a sleeping cell is woken. Well above ``carry_below``, so that it does not
        swing.
    most
        Cells of one proposal.
    most_asleep
        Share of all cells that may sleep.
    min_gain
        Least relative saving of the whole network's power, per cell put to sleep, that is worth a change.
    """

    quiet_below: float = 27.0
    sleep_below: float = 20.0
    carry_below: float = 55.0
    wake_above: float = 70.0
    most: int = 2
    most_asleep: float = 0.25
    min_gain: float = 0.005
    pauses: Pauses = field(default_factory=Pauses)
    form: Form = Form.CHANGE
    name: str = "energy-saving"

    def propose(self, view: NetworkView) -> list[Strategy]:
        """Wake what is missed; else, if nothing of its own is under way, let sleep what is not."""
        memory = Memory(view, self.name, self.pauses)
        wake = self._missed(view, memory)
        if wake:
            return [self._proposal(view, wake, UNLOCKED)]
        if memory.pauses:
            return []
        sleep = self._idle(view, memory)
        return [self._proposal(view, sleep, LOCKED)] if sleep else []

    def _missed(self, view: NetworkView, memory: Memory) -> list[int]:
        """Cells that it put to sleep and whose neighbours are loaded."""
        load = view.worst(PRB)
        asleep = [
            c
            for c, dn in enumerate(view.cells)
            if not view.active[c] and memory.in_force().get((dn, STATE), ("", "", ""))[2] == LOCKED
        ]
        return [
            c
            for c in asleep
            if any(load[n] > self.wake_above for n in view.neighbours[c]) and not memory.rests([view.cells[c]])
        ][: self.most]

    def _idle(self, view: NetworkView, memory: Memory) -> list[int]:
        """Cells that may sleep, least loaded first, none an heir of another."""
        load = view.worst(PRB)
        network = float(np.nanmean(load)) if np.isfinite(load).any() else np.inf
        room = int(self.most_asleep * len(view.cells)) - int((~view.active).sum())
        room = min(room, 0 if network > self.quiet_below else 1 if network > 2 / 3 * self.quiet_below else self.most)
        if room > 1 and memory.setbacks(view.cells):
            room = 1  # one at a time after what went wrong
        carried = load.copy()  # what each cell will have to carry
        chosen: list[int] = []
        for c in np.argsort(load, kind="stable").tolist():
            if len(chosen) >= room or not load[c] < self.sleep_below:
                break
            heirs = np.flatnonzero(view.heirs[c] > 0)
            after = carried[heirs] + _DETOUR * view.heirs[c, heirs] * load[c]
            if (
                view.active[c]
                and view.in_service[c]
                and not set(heirs) & set(chosen)
                and not any(view.heirs[other, c] > 0 for other in chosen)
                and bool((after < self.carry_below).all())  # an heir of unknown load is NaN, and not below anything
                and not memory.rests([view.cells[c]])
            ):
                chosen.append(c)
                carried[heirs] = after
        return chosen

    def _trigger(self, view: NetworkView, cells: list[int]) -> Trigger:
        """As a policy: while they and their heirs have no more to do than now, and a little."""
        near = [*cells, *(n for c in cells for n in np.flatnonzero(view.heirs[c] > 0).tolist())]
        busiest = float(np.nanmax(view.worst(PRB)[near]))
        quiet = min(busiest + 5.0, self.carry_below)
        names = [view.cells[n] for n in dict.fromkeys(near)]
        return Trigger(PRB, names, below=quiet, clear=max(self.wake_above, quiet + 10.0), statistic="max")

    def _proposal(self, view: NetworkView, cells: list[int], state: str) -> Strategy:
        load = view.worst(PRB)
        settings: list[Setting] = [(view.cells[c], STATE, state) for c in cells]
        names = ", ".join(short_name(view.cells[c]) for c in cells)
        if state == LOCKED:
            loads = ", ".join(f"{load[c]:.0f} %" for c in cells)
            return proposal(
                view,
                self.name,
                self.form,
                f"Switch off {names}",
                settings,
                [(dn, STATE, UNLOCKED) for dn, _, _ in settings],
                Objective(kpi="PEE.AvgPower", direction=Direction.DOWN, min_gain=self.min_gain * len(cells)),
                f"PRB use of {loads}; their neighbours stay below {self.carry_below:g} % with it",
                self._trigger(view, cells),
            )
        return strategy(
            view,
            self.name,
            f"Switch on {names}",
            settings,
            Objective(kpi="DRB.UEThpDl", direction=Direction.UP),
            f"a neighbour is above {self.wake_above:g} % PRB use",
            priority=7,
        )

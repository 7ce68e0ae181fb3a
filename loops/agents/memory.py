"""What an agent learns from its own past: wait after acting, and do not repeat what was refused or undone lately."""

from collections.abc import Iterable
from dataclasses import dataclass

from loops.agents.agent import Attempt, Fate, NetworkView, Setting


@dataclass(frozen=True)
class Pauses:
    """Periods for which an agent proposes nothing, or leaves a cell alone after an attempt on it.

    Parameters
    ----------
    between
        After any attempt, on any cell: verification is not free.
    done
        After a change came into force: let it show what it does.
    refused
        After verification rejected it: the network must have changed first. Where the diagnosis blames some of its
        cells, the others rest only as after an attempt that came to nothing.
    undecided
        After verification could not tell.
    undone
        After it was rolled back: the twin was wrong about this cell.
    remembered
        How long a setback makes the next steps smaller.
    """

    between: float = 8
    done: float = 10
    refused: float = 20
    undecided: float = 12
    undone: float = 40
    remembered: float = 1440

    def after(self, fate: Fate) -> float:
        """Pause after that fate; endless while it is open."""
        return {
            Fate.OPEN: float("inf"),
            Fate.DONE: self.done,
            Fate.REFUSED: self.refused,
            Fate.UNDECIDED: self.undecided,
            Fate.UNDONE: self.undone,
        }[fate]


class Memory:
    """The past of one agent in a view."""

    def __init__(self, view: NetworkView, agent: str, pauses: Pauses) -> None:
        self._view, self._pauses = view, pauses
        self.own: tuple[Attempt, ...] = tuple(a for a in view.history if a.agent == agent)

    @property
    def pauses(self) -> bool:
        """Whether something of this agent is still being verified or rolled out, or was proposed only just now."""
        return any(
            a.fate is Fate.OPEN or self._view.periods_since(a.period_end_ms) < self._pauses.between for a in self.own
        )

    def rests(self, cells: Iterable[str]) -> bool:
        """Whether any of the cells must be left alone: held by a plan, or touched too lately by this agent."""
        cells = frozenset(cells)
        return bool(cells & self._view.locked) or any(
            self._view.periods_since(a.period_end_ms) < pause
            for a in self.own
            for touched, pause in ((a.blamed, self._pauses.after(a.fate)), (a.cells - a.blamed, self._spared(a)))
            if cells & touched
        )

    def _spared(self, attempt: Attempt) -> float:
        """Pause of cells that a failed attempt touched and that are not to blame."""
        return min(self._pauses.after(attempt.fate), self._pauses.between)

    def setbacks(self, cells: Iterable[str]) -> int:
        """How often an attempt on these cells was refused or undone, as long as that is remembered."""
        cells = frozenset(cells)
        return sum(
            a.fate in (Fate.REFUSED, Fate.UNDONE)
            and bool(cells & a.blamed)
            and self._view.periods_since(a.period_end_ms) < self._pauses.remembered
            for a in self.own
        )

    def in_force(self) -> dict[tuple[str, str], Setting]:
        """What this agent has set last and brought into force, by object and attribute."""
        done = [a for a in self.own if a.fate is Fate.DONE and not a.standing]
        return {(s[0], s[1]): s for a in done for s in sorted(a.settings, key=str)}

"""Where a plan stands: changed cells, the ring that may feel it, and control cells out of its reach."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from loops.outer.comparison import Windows
from loops.outer.history import Series
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, Kind
from schemas.names import managed_element_of


@dataclass(frozen=True)
class Ground:
    """Which cells are changed, which may feel it, which are out of reach.

    Parameters
    ----------
    silenced
        Changed cells that the plan itself switches off: their users are judged where they went.
    """

    treated: frozenset[str]
    ring: frozenset[str]
    controls: frozenset[str]
    silenced: frozenset[str] = frozenset()

    @property
    def area(self) -> frozenset[str]:
        """Changed cells and ring."""
        return self.treated | self.ring


@lru_cache(maxsize=64)  # the same names and ground come with every KPI and guard of a period
def sides(names: tuple[str, ...], ground: Ground) -> tuple[str, ...]:
    """[N] treated, ring, control or outside; a managed element stands where its most affected cell does."""
    side = dict.fromkeys(ground.controls, "control")
    side |= dict.fromkeys(ground.ring, "ring") | dict.fromkeys(ground.treated, "treated")
    order = ("control", "ring", "treated")
    for cell in list(side):
        element = managed_element_of(cell)
        side[element] = max(side[cell], side.get(element, "control"), key=order.index)
    return tuple(side.get(n, "outside") for n in names)


def adds_up(kpi: str) -> bool:
    """Whether a KPI of several cells is their sum, so that a cell that is off contributes nothing.

    >>> adds_up("DRB.PdcpSduVolumeDL"), adds_up("PEE.AvgPower"), adds_up("DRB.UEThpDl")
    (True, True, False)
    """
    counter = CELL_COUNTERS.get(kpi) or ELEMENT_COUNTERS.get(kpi)
    return kpi.startswith("PEE.") or (counter is not None and counter.kind is Kind.CC)


def with_silence(series: Series, kpi: str, ground: Ground, at: Windows) -> Series:
    """The series in which a cell that the plan switched off counts zero, where the KPI is one that adds up."""
    off = [i for i, n in enumerate(series.names) if n in ground.silenced]
    if not off or not adds_up(kpi):
        return series
    values = series.values.copy()
    rows = np.flatnonzero(at.after)[:, None]
    values[rows, off] = np.nan_to_num(values[rows, off])
    return Series(series.names, values)

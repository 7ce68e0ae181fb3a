"""Where the counters of a layout stand in the catalogue, and between which values each must lie."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from processors.governance.settings import GovernanceSettings
from processors.governance.verdict import Refusal
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, Counter, Kind, layout
from schemas.dead_letters import Reason

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELL_COLUMNS: tuple[str, ...] = tuple(CELL_COUNTERS)  # axis K of governed tables
ELEMENT_COLUMNS: tuple[str, ...] = tuple(ELEMENT_COUNTERS)
# A running total is bounded by what a double counts exactly, not by what one period can bring.
_LARGEST_TOTAL = float(2**53)


class Limits(NamedTuple):
    """Counters along one axis of a layout, where each stands in the catalogue, and its range."""

    counters: tuple[Counter, ...]
    at: Ints
    low: Floats
    high: Floats

    @classmethod
    def _of(
        cls, names: tuple[str, ...], catalogue: dict[str, Counter], cumulative: bool, ranges: GovernanceSettings
    ) -> Self:
        order = {name: i for i, name in enumerate(catalogue)}
        counters = tuple(catalogue[n] for n in names)
        bounds = [ranges.range_of(n) for n in names]
        total = [cumulative and c.kind is Kind.CC for c in counters]
        return cls(
            counters,
            np.array([order[n] for n in names], dtype=np.int64),
            np.array([b.low for b in bounds]),
            np.array([_LARGEST_TOTAL if t else b.high for b, t in zip(bounds, total, strict=True)]),
        )

    @classmethod
    def of_cells(cls, name: str, cumulative: bool, settings: GovernanceSettings) -> Self:
        """Limits of a layout's cell counters; running totals have a higher one."""
        return cls._of(layout(name).cell, CELL_COUNTERS, cumulative, settings)

    @classmethod
    def of_elements(cls, name: str, cumulative: bool, settings: GovernanceSettings) -> Self:
        """Limits of a layout's managed-element counters."""
        return cls._of(layout(name).element, ELEMENT_COUNTERS, cumulative, settings)

    def outside(self, block: Floats) -> NDArray[np.bool_]:
        """Which values of [R, len(counters)] are impossible; NaN is missing, not impossible."""
        absurd: NDArray[np.bool_] = (block < self.low) | (block > self.high)
        return absurd

    def refusal(self, k: int, value: float, whose: str) -> Refusal:
        """What to say about the value of counter k."""
        c = self.counters[k]
        return Refusal(
            Reason.OUT_OF_RANGE,
            f"{c.name} of {whose} is {value:g} {c.unit}, outside [{self.low[k]:g}, {self.high[k]:g}]",
        )

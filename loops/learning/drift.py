"""Drift: a cell's demand is lastingly not what the twin expects, and nobody's change of configuration explains it.

River's Page-Hinkley test on each cell's forecast error, in units of its own spread. A change of configuration that
moves the cell's users, ours or anybody's, restarts the cell's test: what we did ourselves is no drift.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import PageHinkley
from river.stats import Mean

from loops.learning.arrays import Arrays

Array = NDArray[np.float64]

_LEAST = 12  # errors before a cell can drift, and before its spread is its own
_TYPICAL, _FORGET = 0.2, 0.97  # spread of an unknown cell's error; memory of squared errors
_OUTSIDE = 2.5
_LARGEST = 4.0  # an error counts for no more: a burst of a minute is no drift
_LASTING = 6  # periods over which the size of a drift is told
_FIELDS = ("_sum_increase", "_sum_decrease", "_min_increase", "_max_decrease")


@dataclass(frozen=True)
class Drift:
    """A cell that has drifted: its demand lies this much, as a logarithm, over (or under) the twin's forecasts."""

    cell: int
    size: float


class DriftWatch:
    """Page-Hinkley tests of all cells.

    Parameters
    ----------
    cells
        C.
    threshold, slack
        See `loops.learning.settings`.
    """

    def __init__(self, cells: int, threshold: float, slack: float) -> None:
        self._threshold, self._slack = threshold, slack
        self._tests: list[Any] = [self._test() for _ in range(cells)]
        self._square = np.full(cells, _TYPICAL**2)
        self._count = np.zeros(cells)
        self._latest = np.full((_LASTING, cells), np.nan)

    def update(self, errors: Array, touched: NDArray[np.bool_]) -> list[Drift]:
        """One period.

        Parameters
        ----------
        errors
            [C] log of observed over forecast, NaN unknown.
        touched
            [C] cells whose users a change of configuration, or an outage, has moved lately.
        """
        for cell in np.flatnonzero(touched & (self._count > 0)).tolist():
            self._restart(cell)
        known = np.isfinite(errors) & ~touched
        self._latest = np.concatenate([self._latest[1:], np.where(known, errors, np.nan)[None]])
        found = []
        for cell in np.flatnonzero(known).tolist():
            unit = float(errors[cell]) / max(float(self._square[cell]) ** 0.5, 1e-3)
            test = self._tests[cell]
            test.update(max(-_LARGEST, min(_LARGEST, unit)))
            self._count[cell] += 1
            # A shift must not widen the spread that it is measured by: what is far out counts as just outside.
            square = min(float(errors[cell]) ** 2, _OUTSIDE * float(self._square[cell]))
            self._square[cell] = _FORGET * self._square[cell] + (1 - _FORGET) * square
            if test.drift_detected:
                found.append(Drift(cell, float(np.nanmean(self._latest[:, cell]))))
                self._restart(cell)
        return found

    def _test(self) -> PageHinkley:
        return PageHinkley(min_instances=_LEAST, threshold=self._threshold, delta=self._slack)

    def _restart(self, cell: int) -> None:
        self._tests[cell] = self._test()
        self._count[cell] = 0
        self._latest[:, cell] = np.nan

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything that `restore` needs."""
        sums = np.array([[getattr(test, name) for name in _FIELDS] for test in self._tests], dtype=np.float64)
        means = np.array([[test._x_mean.n, test._x_mean.get()] for test in self._tests], dtype=np.float64)
        arrays = {"sums": sums, "means": means, "square": self._square, "count": self._count, "latest": self._latest}
        return {}, arrays

    def restore(self, plain: Mapping[str, Any], arrays: Arrays) -> None:
        """Go on where `state` was called."""
        self._square, self._count, self._latest = arrays["square"], arrays["count"], arrays["latest"]
        for cell, test in enumerate(self._tests):
            for name, value in zip(_FIELDS, arrays["sums"][cell].tolist(), strict=True):
                setattr(test, name, value)
            test._x_mean = Mean._from_state(*arrays["means"][cell].tolist())

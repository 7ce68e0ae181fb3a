"""Cumulative counters to deltas: wraps of 32-bit counters, resets, gaps.

Never guess: after a reset or a gap the count of the period is unknown, so the delta is NaN and counting starts anew.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.counters import WRAP_MODULUS

Floats = NDArray[np.float64]
# A wrapped counter continues at about its last pace; a reset one seems to leap. Eight times the last delta tells them
# apart without refusing a surge; the floor lets slow counters wrap too.
_LEAP = 8.0
_LEAP_FLOOR = 4096.0
# Before a first delta is known: believe a wrap that counted less than a quarter of the range.
_UNKNOWN_PACE = WRAP_MODULUS / 4


class Baseline(NamedTuple):
    """What the next delta is measured against.

    ``value`` and ``delta`` [C, K], NaN where unknown; ``period_end_ms`` [C], -1 where the cell never reported.
    """

    value: Floats
    delta: Floats
    period_end_ms: NDArray[np.int64]

    @classmethod
    def empty(cls, cells: int, counters: int) -> "Baseline":
        """No counter seen yet."""
        return cls(
            np.full((cells, counters), np.nan), np.full((cells, counters), np.nan), np.full(cells, -1, dtype=np.int64)
        )


class Deltas(NamedTuple):
    """Deltas of one period and the cells x counters in which a wrap, a reset or a gap was seen."""

    delta: Floats
    baseline: Baseline
    wraps: int
    resets: int
    gaps: int


def to_deltas(
    baseline: Baseline, rows: NDArray[np.intp], values: Floats, period_end_ms: int, granularity_ms: int
) -> Deltas:
    """Turn cumulative values of some cells into deltas.

    Parameters
    ----------
    baseline : Baseline
        What was counted before; not changed.
    rows : int [R]
        Which cell each row is about, each at most once.
    values : float [R, K]
        Cumulative values, NaN where missing.
    period_end_ms, granularity_ms : int
        The period that the values close, and its length.

    Returns
    -------
    Deltas
        ``delta`` [R, K]: NaN for a first value, after a gap, after a reset, and where the value is missing.
    """
    before, pace = baseline.value[rows], baseline.delta[rows]
    last = baseline.period_end_ms[rows]
    known = np.isfinite(before) & np.isfinite(values)
    gap = known & ((last >= 0) & (last != period_end_ms - granularity_ms))[:, None]
    step = values - before
    backwards = known & ~gap & (step < 0)
    wrapped = step + WRAP_MODULUS
    limit = np.where(np.isfinite(pace), np.maximum(_LEAP * pace, _LEAP_FLOOR), _UNKNOWN_PACE)
    wrap = backwards & (before < WRAP_MODULUS) & (wrapped <= limit)
    reset = backwards & ~wrap
    delta = np.where(wrap, wrapped, step)
    delta[~known | gap | reset] = np.nan

    value, paces, ends = baseline.value.copy(), baseline.delta.copy(), baseline.period_end_ms.copy()
    value[rows] = values  # a missing value forgets the baseline: the next delta would span two periods
    paces[rows] = np.where(np.isfinite(delta), delta, np.where(reset, np.nan, pace))
    ends[rows] = period_end_ms
    return Deltas(delta, Baseline(value, paces, ends), int(wrap.sum()), int(reset.sum()), int(gap.sum()))

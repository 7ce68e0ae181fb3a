"""Difference in differences: how a group of cells changed, beyond how the control cells changed.

A group's level in a period is an index: the sum over the objects that reported, relative to the sum of their own
means before the push. Missing reports thus move nothing. Divided by the same index of the control cells, the index
shows what is peculiar to the group; its mean after the push against its mean before is the effect. Rare counts,
which may well be zero, are compared by difference instead of ratio.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loops.outer.history import KpiHistory, Series
from loops.outer.statistics import persistence_inflation, robust_sd

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_COLLAPSE = 1e-3  # what is left of something that is gone, so that it has a logarithm
_NOISE_FLOOR = 0.01  # no radio network is steadier than 1 % from minute to minute


@dataclass(frozen=True)
class Windows:
    """Which periods are before the push and which after it.

    Parameters
    ----------
    before, after
        [T] masks over the periods of a history.
    """

    before: Mask
    after: Mask


@dataclass(frozen=True)
class Effect:
    """How a group changed beyond the controls.

    Parameters
    ----------
    value, variance
        Log of the factor by which the group changed, or for counts the change a cell and period; its variance.
        On the log scale halving and doubling weigh the same, and a collapse stands out of the noise.
    df
        Degrees of freedom of the variance.
    baseline, level
        Mean a reporting object before and after, in the KPI's unit.
    controls
        Control objects that it rests on; 0 where before and after alone were compared.
    periods
        Periods after the push with data.
    """

    value: float
    variance: float
    df: float
    baseline: float
    level: float
    controls: int
    periods: int


def windows(history: KpiHistory, first_push_ms: int, after_ms: int, before_periods: int) -> Windows:
    """The last periods up to the push, and all that end after ``after_ms``."""
    ends = history.period_ends_ms
    before = ends <= first_push_ms
    before[: max(0, int(before.sum()) - before_periods)] = False
    return Windows(before, ends > after_ms)


def effect_on(
    series: Series,
    group: Sequence[int],
    controls: Sequence[int],
    at: Windows,
    *,
    counts: bool = False,
    fewest_controls: int = 3,
) -> Effect | None:
    """Compare a group with the controls.

    Parameters
    ----------
    group, controls
        Positions of objects in the series.

    Returns
    -------
    Effect or None
        None if the group reported too little before or after the push to say anything.
    """
    x = series.values
    g, c = x[:, list(group)], x[:, list(controls)]
    means = _mean(c[at.before], axis=0)
    c = c[:, np.isfinite(means) & (np.isfinite(c[at.after]).any(axis=0)) & (counts | (means > 0))]
    if c.shape[1] < fewest_controls:
        c = c[:, :0]
    shown = _peculiar(g, c, at.before, counts)  # [T]
    q0, q1 = _finite(shown[at.before]), _finite(shown[at.after])
    if len(q0) < 3 or len(q1) == 0:
        return None
    residuals = q0 - q0.mean()
    spread = float(residuals @ residuals) / (len(q0) - 1)
    baseline, level = float(_mean(g[at.before])), float(_mean(g[at.after]))
    if counts:
        # A count is at least as noisy as a Poisson variable of its mean.
        spread = max(spread, (max(baseline, level) + 1 / (x.shape[0] * g.shape[1])) / g.shape[1])
    else:
        spread = max(spread / q0.mean() ** 2, _NOISE_FLOOR**2)
    sampling = 1 / len(q1) + 1 / len(q0)
    variance = spread * persistence_inflation(residuals) * sampling
    df = len(q0) - 1
    if c.shape[1]:
        sd, n = _placebo(c, at, counts)
        variance = max(variance, sd**2 / _effective_number(g[at.before]))
        df += n - 1
    value = q1.mean() - q0.mean() if counts else np.log(max(q1.mean() / q0.mean(), _COLLAPSE))
    return Effect(float(value), float(variance), float(df), baseline, level, c.shape[1], len(q1))


def control_index(series: Series, controls: Sequence[int], at: Windows, fewest_controls: int) -> tuple[float, int]:
    """By which factor the controls changed on average, and how many they are; (1, 0) where they are too few."""
    c = series.values[:, list(controls)]
    c = c[:, _mean(c[at.before], axis=0) > 0]
    if c.shape[1] < fewest_controls:
        return 1.0, 0
    index = _index(c, at.before)
    factor = float(_mean(index[at.after]) / _mean(index[at.before]))
    return (factor, c.shape[1]) if np.isfinite(factor) else (1.0, 0)


def _peculiar(g: Floats, c: Floats, before: Mask, counts: bool) -> Floats:
    """[T] the group's level relative to the controls'."""
    if counts:
        return _mean(g, axis=1) - (_mean(c, axis=1) if c.shape[1] else 0.0)
    return _ratio(_index(g, before), _index(c, before)) if c.shape[1] else _index(g, before)


def _index(x: Floats, before: Mask) -> Floats:
    """[T] sum over reporting objects relative to the sum of their means before; NaN where nobody reported."""
    value, base = _reported(x, before)
    return _ratio(value.sum(axis=1), base.sum(axis=1))


def _reported(x: Floats, before: Mask) -> tuple[Floats, Floats]:
    """[T, N] values and means before, both 0 where one of them is missing."""
    base = _mean(x[before], axis=0)
    reported = np.isfinite(x) & np.isfinite(base) & (base > 0)
    return np.where(reported, x, 0.0), np.where(reported, base, 0.0)


def _placebo(c: Floats, at: Windows, counts: bool) -> tuple[float, int]:
    """How much single control objects «changed» although nobody touched them: spread over them, and their number.

    Each is compared with all the others, so this noise also holds what drifts apart between the two windows.
    """
    if counts:
        here = np.isfinite(c)
        others = _ratio(np.nansum(c, axis=1, keepdims=True) - np.nan_to_num(c), here.sum(axis=1, keepdims=True) - here)
        shown = c - others
        found = _mean(shown[at.after], axis=0) - _mean(shown[at.before], axis=0)
    else:
        value, base = _reported(c, at.before)
        others = _ratio(value.sum(axis=1, keepdims=True) - value, base.sum(axis=1, keepdims=True) - base)
        shown = _ratio(_ratio(value, base), others)
        factors = _ratio(_mean(shown[at.after], axis=0), _mean(shown[at.before], axis=0))
        found = np.log(np.maximum(factors, _COLLAPSE))
    found = _finite(found)
    return (robust_sd(found), len(found)) if len(found) > 2 else (0.0, 1)


def _ratio(a: Floats, b: Floats) -> Floats:
    """a / b, NaN where b is not positive."""
    out: Floats = np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)
    return out


def _effective_number(g: Floats) -> float:
    """How many equal objects would average as well as these unequal ones."""
    base = np.nan_to_num(_mean(g, axis=0))
    return float(base.sum() ** 2 / max(float(base @ base), 1e-300)) if base.any() else float(g.shape[1])


def _finite(x: Floats) -> Floats:
    return x[np.isfinite(x)]


def _mean(x: Floats, axis: int | None = None) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, which is what is wanted
        return np.asarray(np.nanmean(x, axis=axis))

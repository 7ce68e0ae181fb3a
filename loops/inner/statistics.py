"""Exact bounds on a probability, a bound on a mean, and intervals of a paired change."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@lru_cache(maxsize=4096)
def upper_bound(harmful: int, n: int, error: float) -> float:
    """One-sided exact upper bound on a probability (Clopper and Pearson 1934).

    Parameters
    ----------
    harmful, n
        Events seen among n independent trials.
    error
        Probability with which the bound may lie below the truth.

    Examples
    --------
    >>> round(upper_bound(0, 59, 0.05), 4)  # the rule of 59
    0.0495
    >>> upper_bound(0, 0, 0.05)
    1.0
    """
    return 1.0 if harmful >= n else float(stats.beta.ppf(1 - error, harmful + 1, n - harmful))


@lru_cache(maxsize=4096)
def lower_bound(harmful: int, n: int, error: float) -> float:
    """One-sided exact lower bound on a probability.

    Examples
    --------
    >>> round(lower_bound(59, 59, 0.05), 4)
    0.9505
    """
    return 0.0 if harmful <= 0 else float(stats.beta.ppf(error, harmful, n - harmful + 1))


def mean_bounds(x: NDArray[np.float64], error: float) -> tuple[float, float, float]:
    """Mean with one-sided lower and upper bounds, each wrong with probability ``error`` (Student's t).

    Parameters
    ----------
    x
        [n] independent values. With fewer than two, the bounds are infinite.

    Examples
    --------
    >>> mean_bounds(np.array([1.0, 1.0, 1.0]), 0.05)
    (1.0, 1.0, 1.0)
    """
    n = len(x)
    mean = float(np.mean(x)) if n else float("nan")
    if n < 2:
        return mean, float("-inf"), float("inf")
    half = float(stats.t.ppf(1 - error, n - 1) * np.std(x, ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def prediction_interval(
    change: NDArray[np.float64], noise_sd: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, 5th and 95th percentile of a change that will be observed with noise.

    The percentiles over scenarios are widened on each side by the observation's noise, in quadrature: the noise is
    taken as normal and independent of which scenario comes true.

    Parameters
    ----------
    change
        [n, ...] change in each scenario.
    noise_sd
        [...] standard deviation of the observed change about the true one; NaN where unknown, which makes the
        interval NaN: an interval of unknown width covers nothing.

    Returns
    -------
    mean, low, high
        [...] each.
    """
    mean = change.mean(axis=0)
    p5, p95 = np.quantile(change, [0.05, 0.95], axis=0)
    noise = stats.norm.ppf(0.95) * noise_sd
    return mean, mean - np.hypot(mean - p5, noise), mean + np.hypot(p95 - mean, noise)

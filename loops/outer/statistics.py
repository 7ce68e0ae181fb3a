"""Evidence of harm that may be looked at after every period.

A stage is watched period by period and stopped as soon as harm is sure. Testing again and again at a fixed level
would cry wolf; an e-value does not: under no harm, the chance that it *ever* exceeds 1/alpha is at most alpha
(Ville's inequality), however often one looks. With m tests at once, the bar is m/alpha (Bonferroni), which holds
whatever their dependence.
"""

import numpy as np
from scipy import special


def log_e_value(harm: float, variance: float, df: float, scale: float) -> float:
    """Log of the evidence against «no harm», from an estimate whose noise was itself estimated.

    A mixture sequential probability ratio test (Robbins 1970; Johari et al. 2022, «Always valid inference»),
    one-sided: the alternative is half-normal with the given scale. The difference of a hold mean that grows and a
    baseline mean that stays has independent increments in information 1/variance (Jennison and Turnbull, 1997),
    so that the Gaussian form holds over looks. Student's t becomes the normal deviate of equal probability.

    Parameters
    ----------
    harm
        Estimated change for the worse, any unit.
    variance
        Its variance, same unit squared, > 0.
    df
        Degrees of freedom that the variance rests on.
    scale
        Size of the harms one cares about, same unit.

    Examples
    --------
    >>> round(log_e_value(0.0, 0.01, 9, 0.3), 2)
    -1.15
    >>> bool(log_e_value(0.5, 0.01, 23, 0.3) > np.log(20 / 0.05) > log_e_value(0.3, 0.01, 23, 0.3))
    True
    """
    z = normal_deviate(harm / np.sqrt(variance), df)
    a = scale**2 / variance
    return float(np.log(2) - 0.5 * np.log1p(a) + z**2 * a / (2 * (1 + a)) + special.log_ndtr(z * np.sqrt(a / (1 + a))))


def normal_deviate(t: float, df: float) -> float:
    """The normal deviate that is as improbable as a Student t.

    >>> round(normal_deviate(4.0, 9), 2), round(normal_deviate(-4.0, 9), 2)
    (2.96, -2.96)
    """
    tail = max(float(special.stdtr(df, -abs(t))), 1e-300)
    return float(-np.sign(t) * special.ndtri(tail))


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t.

    >>> round(t_quantile(0.95, 9), 3)
    1.833
    """
    return float(special.stdtrit(df, probability))


def normal_quantile(probability: float) -> float:
    """Quantile of the normal distribution.

    >>> round(normal_quantile(0.95), 3)
    1.645
    """
    return float(special.ndtri(probability))


def persistence_inflation(residuals: np.ndarray) -> float:
    """How much larger the variance of a mean is because neighbouring periods resemble each other, in [1, 3].

    (1 + r) / (1 - r) of a first-order autoregression, r corrected for its small-sample bias (Marriott and Pope, 1954).

    >>> persistence_inflation(np.array([1.0, -1.0] * 5))
    1.0
    """
    n = len(residuals)
    energy = float(residuals @ residuals)
    if n < 4 or energy == 0:
        return 1.0
    r = float(residuals[1:] @ residuals[:-1]) / energy
    r = min(max((r * n + 1) / (n - 3) if n > 6 else r, 0.0), 0.5)
    return (1 + r) / (1 - r)


def robust_sd(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation, so that one odd cell does not count.

    >>> round(robust_sd(np.array([-1.0, 0.0, 1.0, 2.0, 900.0])), 3)
    1.483
    """
    return float(1.4826 * np.median(np.abs(values - np.median(values))))

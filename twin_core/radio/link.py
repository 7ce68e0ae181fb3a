"""From SINR to spectral efficiency, by a table: what one user gets, fading, and users who differ.

The specification does not say at which SINR a scheme holds. By default a user has CQI k from the SINR at which the
truncated Shannon bound of TR 36.942 A.1 and TR 38.803 5.2.7 (0.6 log2(1 + SINR)) reaches the efficiency of k
(TS 38.214 Table 5.2.2.1-2). With a `LinkAdaptation` it gets what arrives by the scheme that its cell chooses, block
errors and retransmissions counted in (`twin_core.radio.mcs`): more, and the most of it 8 dB earlier. Fitted capacity
takes up the level; what is left is how much a decibel is worth, and from where on nothing.

Fading moves a user up and down that curve, so its efficiency is the mean over a normal spread in dB; the users of a
pixel differ by shadowing, and what adds up over them is airtime, so the efficiency of a pixel is their harmonic mean.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from twin_core.radio.mcs import CQI, LinkAdaptation

# Efficiency of CQI 0..15, bit per resource element (0 is out of range).
CQI_EFFICIENCY = (0.0, *CQI.efficiency)
SHANNON_SHARE = 0.6
FADING_DB = 2.0  # what fading leaves of itself after scheduling and retransmission (assumption; the level is fitted)
# The table has 8 nodes an octave of SINR, so that a float's own exponent and first mantissa bits say where to look.
_LOW_OCTAVE, _HIGH_OCTAVE, _NODE_BITS = -8, 13, 3


class _Float(NamedTuple):
    """Integers of the same size, bits of the mantissa, and bias of the exponent."""

    words: torch.dtype
    mantissa: int
    bias: int


_FLOATS = {torch.float32: _Float(torch.int32, 23, 127), torch.float64: _Float(torch.int64, 52, 1023)}
_FINE_DB = np.arange(-50.0, 60.0, 0.1)


def cqi_thresholds_db() -> tuple[float, ...]:
    """SINR from which CQI 1..15 hold by the truncated Shannon bound, dB.

    Examples
    --------
    >>> [round(t, 1) for t in cqi_thresholds_db()][::7]
    [-7.2, 9.1, 27.9]
    """
    return tuple(10 * math.log10(2 ** (e / SHANNON_SHARE) - 1) for e in CQI_EFFICIENCY[1:])


def cqi_of(sinr_db: torch.Tensor) -> torch.Tensor:
    """CQI 0..15 that a SINR supports."""
    return torch.bucketize(sinr_db, torch.tensor(cqi_thresholds_db(), dtype=sinr_db.dtype), right=True)


def _fading(link: LinkAdaptation | None) -> NDArray[Any]:
    """Mean efficiency of a user whom fading moves about each SINR of _FINE_DB."""
    if link is None:  # the mean of a staircase over a normal spread
        z = (_FINE_DB[:, None] - np.array(cqi_thresholds_db())) / FADING_DB
        steps: NDArray[Any] = 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) @ np.diff(CQI_EFFICIENCY)
        return steps
    step = _FINE_DB[1] - _FINE_DB[0]
    away = np.arange(-round(5 * FADING_DB / step), round(5 * FADING_DB / step) + 1)
    weight = np.exp(-((away * step / FADING_DB) ** 2) / 2)
    wide = _FINE_DB[0] + step * np.arange(away[0], len(_FINE_DB) + away[-1])
    still = link.rate(torch.from_numpy(10 ** (wide / 10))).numpy()
    return np.convolve(still, weight / weight.sum(), mode="valid")


@lru_cache(maxsize=8)
def _of_user(link: LinkAdaptation | None) -> NDArray[Any]:
    """Efficiency of one user at each SINR of _FINE_DB."""
    user, linear = _fading(link), 10 ** (_FINE_DB / 10)
    # Below the first scheme repetition keeps a trickle in proportion to SINR. No efficiency grows faster than SINR
    # itself, which is also what makes the load coupling a standard interference function with one fixed point.
    bounded: NDArray[Any] = linear * np.maximum.accumulate((user / linear)[::-1])[::-1]
    return bounded


@lru_cache(maxsize=64)
def _table(
    spread_db: float, link: LinkAdaptation | None, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """[n] intercept and slope of efficiency over linear SINR between nodes; what lies below the first is never read."""
    octaves = np.arange(_LOW_OCTAVE, _HIGH_OCTAVE)[:, None]
    steps = 1 << _NODE_BITS
    nodes = np.append((2.0**octaves * (1 + np.arange(steps) / steps)).ravel(), 2.0**_HIGH_OCTAVE)
    # Users of a pixel differ, and each brings its own traffic: what adds up is the airtime per bit.
    reach = np.linspace(-2, 2, 21)
    weight = np.exp(-(reach**2) / 2)
    user_db = 10 * np.log10(nodes)[:, None] + spread_db * reach
    airtime = np.interp(user_db, _FINE_DB, 1 / _of_user(link)) @ (weight / weight.sum())
    slope = np.diff(1 / airtime) / np.diff(nodes)
    unread = np.zeros((_FLOATS[dtype].bias + _LOW_OCTAVE) << _NODE_BITS)
    intercept = 1 / airtime[:-1] - slope * nodes[:-1]
    lines = (torch.from_numpy(np.concatenate([unread, part])) for part in (intercept, slope))
    first, second = (line.to(device=device, dtype=dtype) for line in lines)
    return first, second


def efficiency(sinr: torch.Tensor, spread_db: float, link: LinkAdaptation | None = None) -> torch.Tensor:
    """Spectral efficiency, bit per resource element, of users spread about this SINR.

    Parameters
    ----------
    sinr
        Linear, any shape, float32 or float64; held within -24 and 39 dB.
    spread_db
        Standard deviation of the users' SINR about it.
    link
        Schemes and receivers; the truncated Shannon bound where not given.

    Examples
    --------
    >>> sinr = torch.tensor([0.01, 1.0, 1e6], dtype=torch.float64)
    >>> efficiency(sinr, 3.0).round(decimals=3).tolist()
    [0.005, 0.443, 5.555]
    >>> efficiency(sinr, 3.0, LinkAdaptation()).round(decimals=3).tolist()
    [0.007, 0.649, 5.555]
    """
    words, mantissa, _ = _FLOATS[sinr.dtype]
    held = sinr.clamp(2.0**_LOW_OCTAVE, 2.0**_HIGH_OCTAVE * (1 - 1e-6)).contiguous().view(-1)
    node = held.view(words) >> (mantissa - _NODE_BITS)
    intercept, slope = _table(spread_db, link, sinr.dtype, sinr.device)
    return held.mul_(slope.index_select(0, node)).add_(intercept.index_select(0, node)).view(sinr.shape)

"""Counter-based random draws: a draw is a function of (seed, purpose, time, entity) and of nothing else.

So what one user draws does not depend on who else drew, in which order, or on any command: the outside world stays
the same, byte for byte, whatever the network does.
"""

from collections.abc import Sequence
from enum import IntEnum, unique
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from infra.network.arrays import Floats, Index, Words

Times = int | Sequence[int]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_U30, _U27, _U31, _U11 = (np.uint64(n) for n in (30, 27, 31, 11))
_UM1, _UM2 = np.uint64(_M1), np.uint64(_M2)

# Quantiles of the normal distribution at the midpoints of 2^16 cells: a 16-bit word becomes a normal draw by look-up.
# The tails end at 4.3 sigma, which no radio measurement misses.
_NORMAL: Floats | None = None


@unique
class Purpose(IntEnum):
    """What a draw is for. Numbers are part of the seed's meaning: never reuse or renumber one."""

    SITE = 1
    SHADOW = 2
    PATCH = 3
    DRIFT = 4
    HOTSPOT = 5
    USER = 6
    ANCHOR = 7
    LEG = 8
    REST = 9
    ARRIVAL = 10
    FILE = 11
    CROWD = 12
    BODY = 13
    FADING = 14
    MEASUREMENT = 15
    EXECUTION = 16
    POSITION = 17
    REPORT = 18
    PSEUDONYM = 19
    SLICE = 20
    SESSION = 21
    PACKET = 22


def _mix_int(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    x = ((x ^ (x >> 30)) * _M1) & _MASK
    x = ((x ^ (x >> 27)) * _M2) & _MASK
    return x ^ (x >> 31)


def _mix(x: Words) -> Words:
    """The same over an array, in place."""
    x ^= x >> _U30
    x *= _UM1
    x ^= x >> _U27
    x *= _UM2
    x ^= x >> _U31
    return x


def entities(*indices: NDArray[np.int64]) -> Words:
    """Words that stand for entities: one array of numbers, or several that broadcast (user by cell)."""
    word = np.zeros((), np.uint64)
    for index in indices:
        word = _mix(word + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN))
    return word


def normal_table() -> Floats:
    """[65536] normal quantiles, ascending."""
    global _NORMAL
    if _NORMAL is None:
        inverse = NormalDist().inv_cdf
        upper = np.array([inverse(0.5 + (i + 0.5) / 65536) for i in range(32768)])
        _NORMAL = np.concatenate([-upper[::-1], upper])
    return _NORMAL


class Draws:
    """All random draws of one run.

    Examples
    --------
    >>> draws = Draws(7)
    >>> who = entities(np.arange(3))
    >>> bool((draws.uniform(Purpose.LEG, 5, who) == draws.uniform(Purpose.LEG, 5, who[[0, 1, 2]])).all())
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._keys = {p: _mix_int((_mix_int(seed & _MASK) + p * _GOLDEN) & _MASK) for p in Purpose}
        self._table = normal_table()

    def bits(self, purpose: Purpose, time: Times, who: Words) -> Words:
        """Uniform 64-bit words in the shape of ``who``; for several times, with an axis of times in front."""
        if isinstance(time, int):
            return _mix(who + np.uint64(self._key(purpose, time)))
        keys = np.array([self._key(purpose, t) for t in time], np.uint64)
        return _mix(keys.reshape(-1, *(1,) * who.ndim) + who)

    def _key(self, purpose: Purpose, time: int) -> int:
        return _mix_int((self._keys[purpose] + (time & _MASK) * _GOLDEN) & _MASK)

    def uniform(self, purpose: Purpose, time: Times, who: Words) -> Floats:
        """Uniform in [0, 1)."""
        out: Floats = (self.bits(purpose, time, who) >> _U11).astype(np.float64)
        out *= 2.0**-53
        return out

    def normal(self, purpose: Purpose, time: Times, who: Words) -> Floats:
        """Standard normal, one for each word of ``who``."""
        out: Floats = self._table.take((self.bits(purpose, time, who) >> np.uint64(48)).astype(np.intp))
        return out

    def normal_at(self, purpose: Purpose, times: Sequence[int], which: Index, who: Words) -> Floats:
        """Standard normal, one for each word of ``who``, at the time that ``which`` points to."""
        keys = np.array([self._key(purpose, t) for t in times], np.uint64)
        words = _mix(keys[which] + who) >> np.uint64(48)
        out: Floats = self._table.take(words.astype(np.intp))
        return out

    def normals(self, purpose: Purpose, time: int, who: Words) -> Floats:
        """Standard normal, four for each word: [..., n] becomes [..., 4 n]."""
        out: Floats = self._table.take(self.bits(purpose, time, who).view(np.uint16))
        return out

    def between(self, purpose: Purpose, time: int, who: Words, low: float, high: float) -> Floats:
        """Uniform in [low, high)."""
        return low + (high - low) * self.uniform(purpose, time, who)

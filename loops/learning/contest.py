"""Champion against challenger, on periods that neither had seen when it spoke.

Both predict; then the period comes; then their losses are compared, and only then does the challenger learn from it.
Forecasts over several periods overlap, so that
losses of neighbouring periods resemble each other: they are averaged over blocks as long as the overlap, and only
block means count as samples. The mean saving is bounded by Student's t of these, one-sided. A challenger is looked at
after fixed numbers of blocks, which share the permitted error (Bonferroni): one that is no better than the champion is
promoted with at most `alpha` probability, as far as block means are normal. `tests/unit/test_loops_learning.py` counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from loops.outer.statistics import t_quantile


class Ruling(StrEnum):
    """What a look says."""

    BETTER = "better"
    NOT_BETTER = "not better"
    OPEN = "open"


@dataclass
class Losses:
    """Paired losses of two models, period by period; smaller is better.

    Attributes
    ----------
    first, second
        Losses of the one and the other in the same periods.
    """

    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)

    def add(self, first: float, second: float) -> None:
        """One more period; one without both losses is left out."""
        if math.isfinite(first) and math.isfinite(second):
            self.first.append(first)
            self.second.append(second)

    def __len__(self) -> int:
        return len(self.first)

    def means(self) -> tuple[float, float]:
        """Mean loss of each, NaN without periods."""
        return (float(np.mean(self.first)), float(np.mean(self.second))) if self.first else (math.nan, math.nan)


def bounds(savings: Sequence[float], block: int, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound of the mean saving, each with error `alpha`, from whole blocks.

    Parameters
    ----------
    savings
        Loss of the one less loss of the other, period by period.
    block
        Periods of a block.

    Examples
    --------
    >>> low, high = bounds([1.0, 3.0, 2.0, 2.0, 3.0, 1.0], 2, 0.05)
    >>> low, high
    (2.0, 2.0)
    >>> bounds([1.0, 2.0], 2, 0.05)
    (-inf, inf)
    """
    n = len(savings) // block
    if n < 2:
        return -math.inf, math.inf
    means = np.asarray(savings[-n * block :]).reshape(n, block).mean(axis=1)
    half = t_quantile(1 - alpha, n - 1) * float(means.std(ddof=1)) / math.sqrt(n)
    middle = float(means.mean())
    return middle - half, middle + half


def judge(losses: Losses, block: int, looks: Sequence[int], alpha: float, min_gain: float) -> Ruling:
    """Whether the second of two models is better than the first by more than a share of its loss.

    Parameters
    ----------
    losses
        So far.
    block, looks
        See above; at other lengths than those of a look nothing is ruled.
    alpha
        Over all looks.
    min_gain
        Share of the first one's mean loss.
    """
    n, rest = divmod(len(losses), block)
    if rest or n not in looks:
        return Ruling.OPEN
    asked = min_gain * losses.means()[0]
    low, high = bounds([a - b for a, b in zip(losses.first, losses.second, strict=True)], block, alpha / len(looks))
    if low > asked:
        return Ruling.BETTER
    return Ruling.NOT_BETTER if high < asked or n >= max(looks) else Ruling.OPEN


def worse(losses: Losses, block: int, blocks: int, alpha: float) -> bool:
    """Whether the first of two models has lately become worse than the second, at the end of a block."""
    if len(losses) % block or len(losses) < 3 * block:
        return False
    newest = blocks * block
    savings = [a - b for a, b in zip(losses.first[-newest:], losses.second[-newest:], strict=True)]
    return bounds(savings, block, alpha)[0] > 0

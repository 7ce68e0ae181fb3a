"""Scores of forecasts and maps against a simpler way, with intervals that know how few independent pieces there are.

Neighbouring seconds and metres say the same thing. So what is resampled for an interval is whole blocks (a minute of a
cell, one measurement of a drive), and both ways are always judged on the same resample.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_RESAMPLES = 1000
_INTERVAL = (5.0, 95.0)
_SEED = 20240717


@dataclass(frozen=True)
class Skill:
    """An error of ours beside a peer's, and 1 - ours/peer's with its 90 % interval.

    Above 0 ours is better; an interval that lies above 0 says that this is no luck of the blocks at hand.
    """

    ours: float
    peer: float
    skill: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """One comparison.

    Attributes
    ----------
    what, scope
        What was predicted, and on what it was scored.
    n, blocks
        Values scored, and independent blocks among them.
    mae, rmse
        In the unit of what was predicted.
    bias
        Mean error of ours (predicted minus observed).
    coverage
        Share of observations inside our 90 % interval; NaN if none was given.
    """

    what: str
    scope: str
    n: int
    blocks: int
    mae: Skill
    rmse: Skill
    bias: float
    coverage: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is undefined is None."""
        return dict(finite(asdict(self)))


def score(
    what: str,
    scope: str,
    observed: Array,
    peer: Array,
    block: NDArray[np.int64],
    *,
    centre: Array,
    middle: Array | None = None,
    low: Array | None = None,
    high: Array | None = None,
) -> Score:
    """Compare predictions of the same N values.

    Parameters
    ----------
    peer
        [N] the simpler way's prediction.
    block
        [N] label of the block that each value belongs to.
    centre
        [N] our expectation, which RMSE judges.
    middle
        [N] our median, which MAE judges; the expectation unless given. No single number is best under both.
    low, high
        [N] our 90 % interval.
    """
    if not len(observed):
        nothing = Skill(*[np.nan] * 5)
        return Score(what, scope, 0, 0, nothing, nothing, np.nan, np.nan)
    middle = centre if middle is None else middle
    labels, at = np.unique(block, return_inverse=True)

    def per_block(values: Array) -> Array:
        return np.bincount(at, weights=values, minlength=len(labels)).astype(np.float64)

    size = per_block(np.ones(len(observed)))
    sums = [
        per_block(v)
        for v in (
            np.abs(middle - observed), np.abs(peer - observed), (centre - observed) ** 2, (peer - observed) ** 2
        )
    ]  # fmt: skip
    rng = np.random.default_rng(_SEED)
    draws = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=_RESAMPLES)
    resampled = [draws @ s / (draws @ size) for s in sums]
    whole = [np.array([s.sum() / size.sum()]) for s in sums]
    covered = np.nan if low is None or high is None else float(((low <= observed) & (observed <= high)).mean())
    return Score(
        what,
        scope,
        len(observed),
        len(labels),
        _skill(whole[0], whole[1], resampled[0], resampled[1]),
        _skill(np.sqrt(whole[2]), np.sqrt(whole[3]), np.sqrt(resampled[2]), np.sqrt(resampled[3])),
        float((centre - observed).mean()),
        covered,
    )


def _skill(ours: Array, peer: Array, ours_drawn: Array, peer_drawn: Array) -> Skill:
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = 1 - ours_drawn / peer_drawn
        skill = float((1 - ours / peer)[0])
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, _INTERVAL) if len(drawn) else (np.nan, np.nan)
    return Skill(float(ours[0]), float(peer[0]), skill, float(low), float(high))


def finite(value: Any) -> Any:
    """The same document with None for every number that JSON cannot hold.

    >>> finite({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value

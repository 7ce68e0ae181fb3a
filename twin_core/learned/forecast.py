"""A small online forecaster of cell KPIs: what the next periods bring, learned while the telemetry comes.

Two stages, both updated with every period and shared by all cells:

1. the *mean*: ridge regression per KPI and horizon on the latest values, their means, maxima and spread over up to two
   minutes, users and channel quality, kept as sums (recursive least squares). Its prior is persistence, so that it
   begins as persistence and leaves it as evidence comes;
2. the *distribution*: counts of what came after forecasts of this size, on a grid from zero to the physical limit,
   apart for idle and busy cells. Its median, 5 % and 95 % points are given beside the mean.

Nothing beyond the physical limit can be forecast. Where the present value is missing, no forecast is made.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twin_core.exceptions import InvalidObservation, InvalidSettings

Array = NDArray[np.float64]

_LAGS = 8  # latest values given one by one
_WINDOWS = (8, 30, 120)  # periods of the means
_MEMORY = max(_WINDOWS)
_IDLE = 0.02  # share of the limit below which a cell counts as idle
_LEVELS, _BUCKETS = 121, 24  # grid of the distribution, and sizes of forecasts told apart; both finer near zero
_LEAST_COUNT = 20  # outcomes before a distribution is believed
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class ForecastSettings:
    """What is forecast.

    Attributes
    ----------
    limits
        Physical upper limit of each KPI; lower limits are 0.
    horizons
        Periods ahead, ascending.
    context
        Typical size of each further input (users, channel quality, …), by which it is divided.
    ridge
        Weight of the prior, in observations of a feature of size 1.
    """

    limits: tuple[float, ...]
    horizons: tuple[int, ...] = (1, 8)
    context: tuple[float, ...] = ()
    ridge: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be forecast."""
        if not self.limits or min((*self.limits, *self.context, self.ridge)) <= 0:
            raise InvalidSettings("limits, context and ridge must be positive, and at least one KPI is needed")
        if not self.horizons or self.horizons[0] < 1 or list(self.horizons) != sorted(set(self.horizons)):
            raise InvalidSettings(f"horizons are {self.horizons}; give ascending periods from 1 on")


class Forecast(NamedTuple):
    """Made at one period; NaN where the present value is missing.

    All are [H, C, K]: horizons, cells, KPIs. 90 % of what comes should fall between ``low`` and ``high``.
    """

    mean: Array
    median: Array
    low: Array
    high: Array


class _Made(NamedTuple):
    """What must be kept of a forecast until its outcome is known: inputs [C, F], bucket of each forecast [H, C, K]."""

    features: Array
    bucket: NDArray[np.int64]


@dataclass(eq=False)
class Forecaster:
    """Forecasts all cells of a network, period by period. Changes in place; one period at a time.

    Parameters
    ----------
    cells
        Number of cells, C.
    settings
        What is forecast.
    """

    cells: int
    settings: ForecastSettings
    learning: bool = True  # a frozen one forecasts with what it has
    _history: Array = field(init=False)
    _made: list[_Made | None] = field(init=False)
    _gram: Array = field(init=False)
    _moment: Array = field(init=False)
    _counts: Array = field(init=False)

    def __post_init__(self) -> None:
        s, k = self.settings, len(self.settings.limits)
        self._limits = np.array(s.limits)
        self._context = np.array(s.context)
        self._levels = np.linspace(0.0, 1.0, _LEVELS) ** 2
        self._edges = np.linspace(0.0, 1.0, _BUCKETS)[1:] ** 2
        self.forget_past()
        n = self._features().shape[1]
        self._gram = np.repeat(np.eye(n)[None] * s.ridge, len(s.horizons), axis=0)
        self._moment = np.zeros((len(s.horizons), n, k))
        self._moment[:, np.arange(k), np.arange(k)] = s.ridge  # the first k features are the present values
        self._counts = np.zeros((len(s.horizons), k, 2 * _BUCKETS, _LEVELS))

    def forget_past(self) -> None:
        """Begin a new stretch of time: what was learned stays, the latest values go."""
        width = len(self._limits) + len(self._context)
        self._history = np.full((_MEMORY, self.cells, width), np.nan)
        self._made = [None] * (self.settings.horizons[-1] + 1)

    def observe(self, values: Array, context: Array) -> Forecast:
        """Take one period and forecast from it.

        Parameters
        ----------
        values
            [C, K] KPIs of the period, NaN where missing.
        context
            [C, len(settings.context)] further inputs, NaN where missing.

        Raises
        ------
        InvalidObservation
            If a shape is wrong.
        """
        if values.shape != (self.cells, len(self._limits)) or context.shape != (self.cells, len(self._context)):
            raise InvalidObservation(
                f"values {values.shape} and context {context.shape} do not fit {self.cells} cells, "
                f"{len(self._limits)} KPIs and {len(self._context)} further inputs"
            )
        scaled = np.clip(values / self._limits, 0.0, 1.0)
        if self.learning:
            self._learn(scaled)
        row = np.concatenate([scaled, context / self._context], axis=1)
        self._history = np.concatenate([row[None], self._history[:-1]])
        features = self._features()
        present = np.isfinite(scaled).all(axis=1)
        mean = np.clip(np.einsum("cf,hfk->hck", features, self._weights()), 0.0, 1.0)
        bucket = np.searchsorted(self._edges, mean) + _BUCKETS * (scaled > _IDLE)
        low, median, high = self._quantiles(bucket, mean)
        self._made = [_Made(np.where(present[:, None], features, np.nan), bucket), *self._made[:-1]]
        scale = np.where(present[:, None], self._limits, np.nan)
        return Forecast(mean * scale, median * scale, low * scale, high * scale)

    def skip(self, periods: int) -> None:
        """Nothing was reported for so many periods."""
        if periods >= _MEMORY:
            self.forget_past()
            return
        gap = np.full((periods, *self._history.shape[1:]), np.nan)
        self._history = np.concatenate([gap, self._history])[:_MEMORY]
        nothing: list[_Made | None] = [None] * periods
        self._made = [*nothing, *self._made][: len(self._made)]

    def _learn(self, outcome: Array) -> None:
        """Compare what came with what was forecast for it, at every horizon."""
        for h, ahead in enumerate(self.settings.horizons):
            made = self._made[ahead - 1]
            if made is None:
                continue
            known = np.isfinite(outcome).all(axis=1) & np.isfinite(made.features).all(axis=1)
            if not known.any():
                continue
            x, y = made.features[known], outcome[known]
            self._gram[h] += x.T @ x
            self._moment[h] += x.T @ y
            level = np.searchsorted(self._levels, y)
            for k in range(y.shape[1]):
                np.add.at(self._counts[h, k], (made.bucket[h, known, k], level[:, k]), 1.0)

    def _weights(self) -> Array:
        return np.asarray(np.linalg.solve(self._gram, self._moment), dtype=np.float64)

    def _quantiles(self, bucket: NDArray[np.int64], mean: Array) -> tuple[Array, Array, Array]:
        """5 %, 50 % and 95 % points [H, C, K]; the whole range and the mean where too little was seen."""
        h, k = np.arange(bucket.shape[0])[:, None, None], np.arange(bucket.shape[2])
        cumulative = self._counts[h, k, bucket].cumsum(axis=-1)
        total = cumulative[..., -1]
        at = [(cumulative < (q * total)[..., None]).sum(axis=-1) for q in _QUANTILES]
        below = self._levels[np.maximum(np.array(at) - 1, 0)]
        above = self._levels[np.minimum(np.array(at), _LEVELS - 1)]
        few = total < _LEAST_COUNT
        low = np.where(few, 0.0, below[0])
        median = np.where(few, mean, (below[1] + above[1]) / 2)
        high = np.where(few, 1.0, above[2])
        return low, median, high

    def _features(self) -> Array:
        """[C, F] inputs from the history; what is missing is 0, which leaves it to the other inputs."""
        k = len(self._limits)
        past = self._history[:, :, :k]
        have = np.isfinite(past)
        value = np.where(have, past, 0.0)
        running, number = value.cumsum(axis=0), have.cumsum(axis=0)
        present = value[0]
        columns: list[NDArray[Any]] = [*value[:_LAGS]]
        columns += [running[w - 1] / np.maximum(number[w - 1], 1) for w in _WINDOWS]
        square = (value[: _WINDOWS[1]] ** 2).sum(axis=0) / np.maximum(number[_WINDOWS[1] - 1], 1)
        columns.append(np.sqrt(np.maximum(square - columns[_LAGS + 1] ** 2, 0.0)))
        columns += [value[:_LAGS].max(axis=0), value[: _LAGS // 2].min(axis=0), np.sqrt(present), present**2]
        columns.append((present > _IDLE).astype(np.float64))
        context = self._history[:2, :, k:]
        columns += [*np.where(np.isfinite(context), context, 0.0)]
        columns.append(np.ones((self.cells, 1)))
        return np.concatenate(columns, axis=1)

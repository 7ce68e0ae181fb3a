"""Forecasts of cell load and throughput on TRACTOR, scored against persistence.

Two ways to hold data out:

- *forward-chaining*: one pass in order of time; a forecast is made before its outcome is learned from;
- *by trial*: learned on the other trials, then frozen, then scored on this one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infra.datasets.scores import Score, score
from infra.datasets.stream import Progress, no_progress
from infra.datasets.tractor import PERIOD_MS, PRBS, TractorRecording
from processors.twin_sync import Revision
from twin_core.learned.forecast import Forecaster, ForecastSettings

Array = NDArray[np.float64]


class Target(NamedTuple):
    """A KPI that is forecast: its counter, its name and unit for people, and the factor from counter to unit."""

    counter: str
    name: str
    unit: str
    scale: float


TARGETS = (
    Target("RRU.PrbUsedDl", "PRB use", "PRB", 1.0),
    Target("DRB.PdcpSduVolumeDL", "cell throughput", "Mbit/s", 1e-3),  # kbit in a second
)
HORIZONS = (1, 8)
_CONTEXT = {"DRB.MeanActiveUeDl": 5.0, "RRC.ConnMean": 10.0, "TL.MeanCqiDl": 15.0}
# 50 PRB in every TTI; and the largest transport block of 50 PRB in every TTI (TS 36.213 Table 7.1.7.2.1-1).
SETTINGS = ForecastSettings(limits=(float(PRBS), 36_696.0), horizons=HORIZONS, context=tuple(_CONTEXT.values()))
# Forward-chaining is scored from here on: five minutes, in which the forecaster is hardly more than persistence.
WARM_UP = 300
# A cell is busy at a period if its PRB use, averaged over this period and the seven before, reaches this share.
# That is known when the forecast is made, so the choice does not look at the outcome.
BUSY_PERIODS, BUSY_SHARE = 8, 0.1
_BLOCK_MS = 60_000


@dataclass
class Series:
    """What the twin saw, period by period: ``end_ms`` [T], ``values`` [T][C, K], ``context`` [T][C, X]."""

    end_ms: list[int] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    context: list[Array] = field(default_factory=list)

    def take(self, revision: Revision) -> None:
        """The governed counters of a revision; a callback for :func:`infra.datasets.stream.stream`."""
        self.add(revision.observation.period_end_ms, revision.observation.counters)

    def add(self, end_ms: int, counters: Mapping[str, Array]) -> None:
        """The counters [C] of one period."""
        self.end_ms.append(end_ms)
        self.values.append(np.stack([counters[t.counter] for t in TARGETS], axis=1))
        self.context.append(np.stack([counters[name] for name in _CONTEXT], axis=1))

    @classmethod
    def of(cls, recording: TractorRecording) -> "Series":
        """What the twin will see of a recording, without a stream between."""
        good = recording.reports[~recording.reports["suspect"]]
        end_ms = np.unique(recording.reports["period_end_ms"].to_numpy())
        at = np.searchsorted(end_ms, good["period_end_ms"].to_numpy()), good["cell"].to_numpy()
        counters = {}
        for name in (*(t.counter for t in TARGETS), *_CONTEXT):
            counters[name] = np.full((len(end_ms), len(recording.topology.cells)), np.nan)
            counters[name][at] = good[name].to_numpy()
        series = cls()
        for t, end in enumerate(end_ms.tolist()):
            series.add(end, {name: values[t] for name, values in counters.items()})
        return series


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts of every period, [T, H, C, K]; NaN where none was made."""

    mean: Array
    median: Array
    low: Array
    high: Array


class Result(NamedTuple):
    """Scores, every scored forecast as a row, and in how many of them a forecast lay above a physical limit."""

    scores: tuple[Score, ...]
    rows: pd.DataFrame
    above_limit: int


def evaluate(
    series: Series, trials: NDArray[np.str_], cells: tuple[str, ...], progress: Progress = no_progress
) -> Result:
    """Forecast and score in both ways.

    Parameters
    ----------
    trials
        [T] trial of each period.
    cells
        [C] their names.
    """
    truth = _Truth(series)
    steps = len(series.end_ms)
    names = [str(t) for t in np.unique(trials)]
    total = steps * (1 + len(names) * (len(names) > 1))
    online = _run(series, Forecaster(len(cells), SETTINGS), np.arange(steps), lambda i: progress("forecast", i, total))
    frames = [truth.frame("forward-chaining", online, np.arange(steps) >= WARM_UP, trials, cells)]
    if len(names) > 1:
        for n, name in enumerate(names):
            start = steps * (n + 1)
            forecaster = Forecaster(len(cells), SETTINGS)
            _run(series, forecaster, np.flatnonzero(trials != name), lambda i: progress("forecast", start + i, total))  # noqa: B023
            forecaster.learning = False
            forecaster.forget_past()
            frozen = _run(series, forecaster, np.flatnonzero(trials == name))
            frames.append(truth.frame("held-out trial", frozen, trials == name, trials, cells))
    progress("forecast", total, total)
    rows = pd.concat(frames, ignore_index=True)
    above = 0
    for target, limit in zip(TARGETS, SETTINGS.limits, strict=True):
        highest = rows.loc[rows["kpi"] == target.name, ["mean", "median", "high"]].max(axis=1)
        above += int((highest > limit * target.scale + 1e-9).sum())
    return Result(tuple(_scores(rows)), rows, above)


def _run(
    series: Series, forecaster: Forecaster, which: NDArray[np.intp], progress: Callable[[int], None] | None = None
) -> Forecasts:
    """Show the forecaster these periods in order."""
    shape = (len(series.end_ms), len(HORIZONS), *series.values[0].shape)
    out = Forecasts(*(np.full(shape, np.nan) for _ in range(4)))
    for n, i in enumerate(which.tolist()):
        if n:
            missed = (series.end_ms[i] - series.end_ms[which[n - 1]]) // PERIOD_MS - 1
            if missed:
                forecaster.skip(missed)
        made = forecaster.observe(series.values[i], series.context[i])
        out.mean[i], out.median[i], out.low[i], out.high[i] = made
        if progress is not None and n % 500 == 0:
            progress(n)
    return out


class _Truth:
    """What came after each period, and what was known at it."""

    def __init__(self, series: Series) -> None:
        self.end_ms = np.array(series.end_ms, dtype=np.int64)
        self.values = np.stack(series.values)
        self.busy = _busy(self.end_ms, self.values[:, :, 0])

    def frame(
        self, scheme: str, made: Forecasts, scored: NDArray[np.bool_], trials: NDArray[np.str_], cells: tuple[str, ...]
    ) -> pd.DataFrame:
        """A row for each forecast whose outcome is known."""
        frames = []
        for h, ahead in enumerate(HORIZONS):
            wanted = self.end_ms + ahead * PERIOD_MS
            at = np.minimum(np.searchsorted(self.end_ms, wanted), len(self.end_ms) - 1)
            there = (self.end_ms[at] == wanted) & scored
            outcome = np.where(there[:, None, None], self.values[at], np.nan)
            for k, target in enumerate(TARGETS):
                known = np.isfinite(outcome[:, :, k]) & np.isfinite(made.mean[:, h, :, k])
                t, c = np.nonzero(known)
                columns = {
                    "observed": outcome[t, c, k],
                    "persistence": self.values[t, c, k],
                    "mean": made.mean[t, h, c, k],
                    "median": made.median[t, h, c, k],
                    "low": made.low[t, h, c, k],
                    "high": made.high[t, h, c, k],
                }
                frames.append(
                    pd.DataFrame(
                        {
                            "scheme": scheme,
                            "trial": trials[t],
                            "origin_ms": self.end_ms[t],
                            "horizon_s": ahead * PERIOD_MS // 1000,
                            "cell": np.array(cells)[c],
                            "kpi": target.name,
                            "busy": self.busy[t, c],
                            "block": self.end_ms[t] // _BLOCK_MS * len(cells) + c,
                            **{name: values * target.scale for name, values in columns.items()},
                        }
                    )
                )
        return pd.concat(frames, ignore_index=True)


def _busy(end_ms: NDArray[np.int64], used: Array) -> NDArray[np.bool_]:
    """[T, C] whether a cell is busy at a period; periods that are not there or missing do not count."""
    total, number = np.zeros(used.shape), np.zeros(used.shape)
    for lag in range(BUSY_PERIODS):
        wanted = end_ms - lag * PERIOD_MS
        at = np.searchsorted(end_ms, wanted)
        there = (end_ms[np.minimum(at, len(end_ms) - 1)] == wanted)[:, None]
        value = np.where(there, used[np.minimum(at, len(end_ms) - 1)], np.nan)
        total += np.nan_to_num(value)
        number += np.isfinite(value)
    busy: NDArray[np.bool_] = total >= BUSY_SHARE * PRBS * np.maximum(number, 1)
    return busy


def _scores(rows: pd.DataFrame) -> Iterator[Score]:
    for target in TARGETS:
        for ahead in HORIZONS:
            of = rows[(rows["kpi"] == target.name) & (rows["horizon_s"] == ahead * PERIOD_MS // 1000)]
            for scheme in rows["scheme"].unique():
                for scope, part in (("all", of), ("busy", of[of["busy"]])):
                    mine = part[part["scheme"] == scheme]
                    if mine.empty:
                        continue
                    step = "one step (1 s)" if ahead == 1 else f"eight steps ({ahead} s)"
                    columns = {name: mine[name].to_numpy() for name in ("low", "high")}
                    yield score(
                        f"{target.name}, {step}, {target.unit}",
                        f"{scheme}, {scope}",
                        mine["observed"].to_numpy(),
                        mine["persistence"].to_numpy(),
                        mine["block"].to_numpy(),
                        centre=mine["mean"].to_numpy(),
                        middle=mine["median"].to_numpy(),
                        **columns,
                    )

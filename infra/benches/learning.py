"""What learned models save of the twin's forecast errors: everything on, River's forecast off, torch's residual off.

Workload: the reference network in memory, each seed at another hour of the day. A twin follows it; beside it learns
what the learn role runs, with its settings: models come into force when they have proved better, not before, and are
rolled back where they turn worse. Each period every arm forecasts from the same twin; errors are held against what
then came (prequential: nothing is forecast that was learned from). An arm that is off lacks that model and has
everything else. The first `SKIPPED` periods, in which hardly anything can have been promoted, count for none.

Errors are sums of absolute errors as a share of what was observed (WAPE). Stated figures: of River the mean over volume
and users, one and eight periods ahead; of the residual the mean over resource blocks and throughput, one period ahead.
What switching off costs is the mean over seeds of the paired differences, with Student's 95 % interval over seeds
(their number is small, the interval wide); in how many seeds it is sure is told from means of blocks of eight periods.
The seeds are none of those on which the models were designed (1 to 5).
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from infra.benches.base import BenchResult, Goal
from infra.replaying import one_thread
from infra.simulated import observed
from loops.learning.contest import bounds
from loops.learning.learner import Learner
from loops.learning.settings import LearnSettings
from loops.outer.statistics import t_quantile
from schemas.topology import Topology
from twin_core.kpis import PRB, THROUGHPUT, USERS, VOLUME, kpi_index
from twin_core.learned.demand_model import DemandModel
from twin_core.learned.residual_model import ResidualModel
from twin_core.observation import PeriodObservation
from twin_core.twin import Twin

Array = NDArray[np.float64]

# Hours at which the day does different things: morning rise, noon, afternoon, going home, evening fall.
SEEDS: dict[int, float] = {
    11: 21.0, 12: 7.0, 13: 12.0, 14: 16.0, 15: 19.0, 16: 23.0, 17: 9.5, 18: 14.0, 19: 17.5, 20: 5.0,
}  # fmt: skip
_PERIODS, SKIPPED = 240, 34
KPIS = (PRB, THROUGHPUT, VOLUME, USERS)
HORIZONS = (1, 8)
_BLOCK = 8
DEMAND, RESIDUAL = DemandModel.NAME, ResidualModel.NAME
ARMS: dict[str, tuple[str, ...]] = {
    "on": (),
    "river_off": (DEMAND,),
    "residual_off": (RESIDUAL,),
    "both_off": (DEMAND, RESIDUAL),
}
# The stated figures: KPIs and periods ahead.
STATED: dict[str, tuple[tuple[str, int], ...]] = {
    "river": tuple((kpi, ahead) for kpi in (VOLUME, USERS) for ahead in HORIZONS),
    "residual": tuple((kpi, 1) for kpi in (PRB, THROUGHPUT)),
}


class Run(NamedTuple):
    """One seed: errors of each arm, and what was decided."""

    errors: dict[str, Array]  # [T, H, K]
    promotions: int
    rolled_back: int
    refused: int
    learn_s: float


def run(*, quick: bool = False) -> BenchResult:
    """Measure.

    Parameters
    ----------
    quick
        One seed and fewer periods: shows that it works, measures little.
    """
    began = time.monotonic()
    seeds = dict(list(SEEDS.items())[:1]) if quick else SEEDS
    periods = 60 if quick else _PERIODS
    with one_thread():
        runs = [follow(*observed(seed, hour, periods)) for seed, hour in seeds.items()]
    figures: dict[str, float | int | str] = {
        "seeds": ", ".join(f"{seed} from {hour:g} h" for seed, hour in seeds.items()),
        "periods_a_seed": periods,
        "periods_skipped": SKIPPED,
        "promotions": sum(r.promotions for r in runs),
        "rolled_back": sum(r.rolled_back for r in runs),
        "refused": sum(r.refused for r in runs),
        "learn_seconds_a_period": float(np.mean([r.learn_s for r in runs])),
        "torch": torch.__version__,
    }
    for h, ahead in enumerate(HORIZONS):
        for k, kpi in enumerate(KPIS):
            for arm in ARMS:
                each = [float(np.nanmean(r.errors[arm][SKIPPED:, h, k])) for r in runs]
                figures[f"wape_{kpi}_{ahead}_ahead_{arm}"] = float(np.mean(each))
    goals = []
    for what, arm in (("river", "river_off"), ("residual", "residual_off")):
        costs = _costs(runs, what, arm)
        figures |= {
            f"{what}_off_costs": float(np.mean(costs.by_seed)),
            f"{what}_off_costs_by_seed": ", ".join(f"{c:.4f}" for c in costs.by_seed),
            f"{what}_off_costs_seeds_surely": costs.surely,
        }
        if len(runs) > 1:
            low, high = _interval(costs.by_seed)
            figures |= {f"{what}_off_costs_low": low, f"{what}_off_costs_high": high}
            goals.append(Goal(name=f"{what}_off_costs_low", value=low, op=">", goal=0.0))
    return BenchResult(name="learning", seconds=time.monotonic() - began, figures=figures, goals=tuple(goals))


class _Costs(NamedTuple):
    by_seed: list[float]  # share by which the stated figure is larger with the model off
    surely: int  # seeds in which the paired difference over blocks is positive with 95 %


def _costs(runs: Sequence[Run], what: str, arm: str) -> _Costs:
    by_seed, surely = [], 0
    for one in runs:
        on, off = (_stated(one.errors[name], what) for name in ("on", arm))
        known = np.isfinite(on) & np.isfinite(off)
        by_seed.append(float((off - on)[known].mean() / on[known].mean()))
        surely += bounds((off - on)[known].tolist(), _BLOCK, 0.05)[0] > 0
    return _Costs(by_seed, surely)


def _stated(errors: Array, what: str) -> Array:
    """[T] the stated figure of each period that counts."""
    parts = [errors[SKIPPED:, HORIZONS.index(ahead), KPIS.index(kpi)] for kpi, ahead in STATED[what]]
    return np.asarray(np.mean(parts, axis=0), dtype=np.float64)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean, two-sided."""
    n = len(values)
    half = t_quantile(0.975, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def follow(topology: Topology, observations: Iterator[PeriodObservation]) -> Run:
    """A twin and its learner through a network's periods."""
    cells = len(topology.cells)
    twin, before = Twin.create(topology), None
    learner = Learner(cells, LearnSettings())
    ahead = torch.tensor(HORIZONS)
    made: list[dict[str, Array]] = []
    errors: dict[str, list[Array]] = {arm: [] for arm in ARMS}
    decided: list[str] = []
    learn_s = 0.0
    for seen in observations:
        twin = twin.apply(seen, {})
        came = {kpi: seen.counter(kpi, cells) for kpi in KPIS}
        for arm in ARMS:
            errors[arm].append(_errors(made, arm, came))
        began = time.perf_counter()
        learned = learner.step(before, twin, came)
        learn_s += time.perf_counter() - began
        before = twin
        for decision in learned.decisions:
            decided.append(decision.action)
            if decision.action == "promoted" or (decision.action == "rolled_back" and decision.parent):
                version = decision.version if decision.action == "promoted" else decision.parent
                twin = twin.with_model(decision.model, version, decision.parameters)
            elif decision.action == "rolled_back":
                twin = twin.without_model(decision.model)
        made.append({arm: _forecast(twin, off, ahead) for arm, off in ARMS.items()})
    return Run(
        {arm: np.array(rows) for arm, rows in errors.items()},
        decided.count("promoted"),
        decided.count("rolled_back"),
        decided.count("refused"),
        learn_s / max(len(made), 1),
    )


def _forecast(twin: Twin, off: tuple[str, ...], ahead: torch.Tensor) -> Array:
    """[H, K, C]."""
    for name in off:
        twin = twin.without_model(name)
    return np.asarray(twin.forecast(ahead)[:, [kpi_index(kpi) for kpi in KPIS]].numpy(), dtype=np.float64)


def _errors(made: Sequence[dict[str, Array]], arm: str, came: dict[str, Array]) -> Array:
    """[H, K] of the forecasts that were made for this period, NaN where none was."""
    out = np.full((len(HORIZONS), len(KPIS)), np.nan)
    for h, ahead in enumerate(HORIZONS):
        if len(made) < ahead:
            continue
        for k, kpi in enumerate(KPIS):
            said, seen = made[-ahead][arm][h, k], came[kpi]
            both = np.isfinite(said) & np.isfinite(seen)
            if both.any() and float(np.abs(seen[both]).sum()) > 0:
                out[h, k] = np.abs(said[both] - seen[both]).sum() / np.abs(seen[both]).sum()
    return out

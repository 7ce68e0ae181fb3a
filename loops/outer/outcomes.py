"""Outcomes: what the verdict foresaw beside what happened, for each KPI, at the end of each stage.

Observed is the change from before the first push to the hold, less what the control cells say would have happened
anyway. The last stage is held against the whole network's prediction, the canary against the sum or mean of those of
its cells.
"""

import numpy as np

from loops.outer.comparison import Windows, control_index
from loops.outer.ground import Ground, adds_up, sides, with_silence
from loops.outer.history import KpiHistory, Series
from loops.outer.plan import Plan
from loops.outer.settings import OuterSettings
from schemas.identifiers import digest
from schemas.ndt import Prediction
from schemas.plans import Outcome

_WEIGHTS = "RRC.ConnMean"  # a mean over users weighs cells by their users
_PER_USER = frozenset({"DRB.UEThpDl"})


def outcomes(
    plan: Plan, history: KpiHistory, at: Windows, ground: Ground, time_ms: int, settings: OuterSettings
) -> tuple[Outcome, ...]:
    """Outcomes of the present stage: of its cells and of the whole. What was not reported has none."""
    found = []
    predictions = {(p.kpi, p.cell): p for p in plan.predictions}
    last = plan.stage_index + 1 == len(plan.stages)
    for kpi in sorted({p.kpi for p in plan.predictions}):
        series = history.series.get(kpi)
        if series is None:
            continue
        series = with_silence(series, kpi, ground, at)
        controls = [i for i, side in enumerate(sides(series.names, ground)) if side == "control"]
        factor, n = control_index(series, controls, at, settings.fewest_controls)
        cells = [c for c in plan.touched if (kpi, c) in predictions and c in series.names]
        rows = [(c, predictions[kpi, c], _change(series, [series.names.index(c)], at, factor, None)) for c in cells]
        everywhere = predictions.get((kpi, ""))
        if last and everywhere is not None:
            rows.append(("", everywhere, _whole(history, series, kpi, range(len(series.names)), at, factor)))
        elif not last and (foreseen := _of_stage(kpi, [predictions[kpi, c] for c in cells])) is not None:
            members = [series.names.index(c) for c in cells]
            rows.append(("", foreseen, _whole(history, series, kpi, members, at, factor)))
        found += [_outcome(plan, kpi, c, p, seen, n, time_ms) for c, p, seen in rows if np.isfinite(seen)]
    return tuple(found)


def _whole(
    history: KpiHistory, series: Series, kpi: str, members: range | list[int], at: Windows, factor: float
) -> float:
    """Change of several objects together: of their sum, or of their mean, weighted by users where it is a user's."""
    if adds_up(kpi):
        return _change(series, list(members), at, factor, None) * len(members)
    weights = None
    users = history.series.get(_WEIGHTS)
    if kpi in _PER_USER and users is not None:
        at_users = {n: i for i, n in enumerate(users.names)}
        columns = [at_users.get(series.names[i]) for i in members]
        weights = np.stack(
            [np.zeros(len(users.values)) if c is None else np.nan_to_num(users.values[:, c]) for c in columns], axis=1
        )
    return _change(series, list(members), at, factor, weights)


def _change(series: Series, members: list[int], at: Windows, factor: float, weights: np.ndarray | None) -> float:
    """Mean after less mean before times the controls' factor, in the KPI's unit; NaN without data."""
    x = series.values[:, members]
    w = np.where(np.isfinite(x), 1.0 if weights is None else weights, 0.0)
    total = w.sum(axis=1)
    level = np.divide((np.nan_to_num(x) * w).sum(axis=1), total, out=np.full(len(x), np.nan), where=total > 0)
    before, after = level[at.before], level[at.after]
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    return float(after.mean() - before.mean() * factor) if len(before) and len(after) else float("nan")


def _of_stage(kpi: str, parts: list[Prediction]) -> Prediction | None:
    """Predictions of a stage's cells together; the bounds are those of cells that err all the same way."""
    if not parts:
        return None
    n = 1 if adds_up(kpi) else len(parts)

    def together(name: str) -> float:
        return float(sum(getattr(p, name) for p in parts)) / n

    return Prediction(
        kpi=kpi,
        baseline=together("baseline"),
        predicted=together("predicted"),
        low=together("low"),
        high=together("high"),
    )


def _outcome(
    plan: Plan, kpi: str, cell: str, foreseen: Prediction, observed: float, controls: int, time_ms: int
) -> Outcome:
    return Outcome(
        network_id=plan.network_id,
        event_id=f"{plan.plan_id}/{plan.stage.name}/{kpi}/{digest(cell, length=12)}",
        plan_id=plan.plan_id,
        stage=plan.stage.name,
        kpi=kpi,
        cell=cell,
        predicted=foreseen.predicted,
        low=foreseen.low,
        high=foreseen.high,
        observed=observed,
        controls=controls,
        time_ms=time_ms,
    )

"""Is the stage that is held harmless? Promote, hold on, or roll back.

Changed cells and their ring are compared with control cells outside it, the window before the first push with the
hold. Harm is looked for after every period, with error control over looks and over all comparisons; a stage is
promoted only at the end of its hold, and only if every comparison says that harm is neither estimated beyond its
tolerance nor, with stated confidence, twice as large. What cannot be told by the longest hold is rolled back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from loops.outer.comparison import Effect, Windows, effect_on
from loops.outer.ground import Ground, adds_up, sides, with_silence
from loops.outer.history import KpiHistory, Series
from loops.outer.settings import OuterSettings, Watch
from loops.outer.statistics import log_e_value, normal_quantile, t_quantile
from schemas.names import parse
from schemas.ndt import Prediction

# A mean over users says nothing where hardly anybody is.
_MOST_TOLERATED = 0.95  # relative; losing everything cannot be tolerated
_PER_USER, _USERS, _FEWEST_USERS = frozenset({"DRB.UEThpDl"}), "RRC.ConnMean", 1.0


class Decision(StrEnum):
    """What becomes of a held stage."""

    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    ROLL_BACK = "ROLL_BACK"


@dataclass(frozen=True)
class Evidence:
    """One comparison: how much worse a KPI got than its controls, and what that is worth.

    Harm, its 90 % interval and the tolerance are logarithms of factors, for counts differences a cell and period; for
    the worse is positive.
    """

    watch: Watch
    where: str  # the cell; empty for a whole group
    harm: float
    low: float
    high: float
    tolerance: float
    log_e: float
    beyond: bool  # whether the KPI ended up beyond the watch's absolute level, True where it has none
    controls: int
    periods: int

    def text(self) -> str:
        """The comparison in words."""
        place = f" at {_short(self.where)}" if self.where else ""
        against = f"against {self.controls} control cells" if self.controls else "against before, no control cells"
        return f"{self.watch.label}{place}: {self._size(self.harm)} (tolerated {self._size(self.tolerance)}) {against}"

    def _size(self, harm: float) -> str:
        if self.watch.counts:
            return f"{harm:+.2g} a cell and period"
        return f"{100 * np.expm1(self.watch.worse.sign * harm):+.0f} %"


@dataclass(frozen=True)
class Judgement:
    """The decision after a period, with what it rests on."""

    decision: Decision
    reason: str
    periods: int
    usable: bool  # whether the period just ended gave data
    evidence: tuple[Evidence, ...] = ()
    not_watched: tuple[str, ...] = ()


@dataclass
class _Case:
    """One judgement in the making."""

    history: KpiHistory
    at: Windows
    ground: Ground
    predictions: Mapping[tuple[str, str], Prediction]
    settings: OuterSettings
    evidence: list[Evidence] = field(default_factory=list)
    not_watched: list[str] = field(default_factory=list)


def judge(
    history: KpiHistory,
    at: Windows,
    ground: Ground,
    watches: Sequence[Watch],
    predictions: Sequence[Prediction],
    settings: OuterSettings,
) -> Judgement:
    """Judge a held stage after the last period of the history.

    Parameters
    ----------
    history
        Up to and including the period just ended; a period without any row counts as one without data.
    at
        Window before the first push, and judged periods of the hold.
    predictions
        Of the verdict: what it foresaw for the worse, and was approved nevertheless, is added to the tolerance.
    """
    case = _Case(history, at, ground, {(p.kpi, p.cell): p for p in predictions}, settings)
    usable = _usable_periods(case, watches)
    periods = int(usable[at.after].sum())
    now = bool(usable[-1] and at.after[-1]) if len(usable) else False
    masked = Windows(at.before, at.after & usable)
    case.at = masked
    if periods < min(settings.first_look, settings.hold_periods):
        return Judgement(Decision.HOLD, f"{periods} of {settings.hold_periods} periods watched", periods, now)
    for watch in watches:
        _watch(case, watch)
    return _decide(case, periods, now)


def _decide(case: _Case, periods: int, now: bool) -> Judgement:
    s, evidence = case.settings, tuple(case.evidence)

    def say(decision: Decision, reason: str) -> Judgement:
        return Judgement(decision, reason, periods, now, evidence, tuple(case.not_watched))

    if not evidence:
        over = periods >= s.longest_hold
        return say(Decision.ROLL_BACK if over else Decision.HOLD, "none of the watched KPIs can be compared")
    # Half of alpha for the groups, half for all single cells, so that many cells do not make the loop blind for groups.
    single = sum(bool(e.where) for e in evidence)
    bars = {True: np.log(2 * max(single, 1) / s.alpha), False: np.log(2 * max(len(evidence) - single, 1) / s.alpha)}
    harmful = [e for e in evidence if e.log_e >= bars[bool(e.where)] and e.harm > e.tolerance and e.beyond]
    if harmful:
        return say(Decision.ROLL_BACK, "harm seen: " + max(harmful, key=lambda e: e.log_e).text())
    if periods < s.hold_periods:
        return say(Decision.HOLD, f"{periods} of {s.hold_periods} periods watched, no harm seen")
    unclear = [e for e in evidence if not _harmless(e, s)]
    if not unclear:
        return say(Decision.PROMOTE, f"no harm in {len(evidence)} comparisons over {periods} periods")
    doubt = max(unclear, key=lambda e: e.harm / max(e.tolerance, 1e-9)).text()
    if periods >= s.longest_hold:
        return say(Decision.ROLL_BACK, f"not shown harmless within {periods} periods: {doubt}")
    return say(Decision.HOLD, f"held on, unclear after {periods} periods: {doubt}")


def _harmless(e: Evidence, settings: OuterSettings) -> bool:
    """Whether a comparison lets the stage pass."""
    if not e.beyond:
        return True
    if e.where:
        # Single cells are too noisy to be assured within minutes: one that is worse stops the stage if that is no
        # accident (5 %). The area around them is assured.
        return e.harm <= e.tolerance or e.low <= 0
    return e.harm <= e.tolerance and _upper(e, settings) <= 2 * e.tolerance


def _upper(e: Evidence, settings: OuterSettings) -> float:
    """One-sided upper bound of the harm at the settings' assurance (the interval kept is 90 %, 1.645 sd each side)."""
    return e.harm + (e.high - e.harm) * normal_quantile(settings.assurance) / normal_quantile(0.95)


def _short(cell: str) -> str:
    """``gnb7/3`` for a cell's DN: reasons are read by people; ids stand in the plan."""
    steps = parse(cell)
    element = next((value for cls, value in steps if cls == "ManagedElement"), "")
    return f"{element}/{steps[-1].value}"


def _watch(case: _Case, watch: Watch) -> None:
    series = case.history.series.get(watch.kpi)
    if series is None:
        case.not_watched.append(watch.label)
        return
    series = with_silence(_served(case, watch, series), watch.kpi, case.ground, case.at)
    controls = [i for i, side in enumerate(sides(series.names, case.ground)) if side == "control"]
    found = False
    for where, (members, cells) in _groups(case, watch, series).items():
        effect = effect_on(
            series,
            members,
            controls,
            case.at,
            counts=watch.counts,
            fewest_controls=case.settings.fewest_controls,
        )
        if effect is not None and 2 * effect.periods >= case.at.after.sum():
            case.evidence.append(_evidence(case, watch, where, cells, effect))
            found = True
    if not found:
        case.not_watched.append(watch.label)


def _served(case: _Case, watch: Watch, series: Series) -> Series:
    """Of groups, a user's throughput times the users: what they get together.

    Users wander in and out of a handful of cells, and each shares what is there with the others; that is no effect of
    the change, and half of the noise. A single cell's users are judged as they are.
    """
    users = case.history.series.get(_USERS)
    if watch.kpi not in _PER_USER or watch.scope == "cell" or users is None or users.names != series.names:
        return series
    return Series(series.names, series.values * users.values)


def _groups(case: _Case, watch: Watch, series: Series) -> dict[str, tuple[list[int], frozenset[str]]]:
    """Positions and cells of what a watch compares, by the name of the place ('' for a whole group)."""
    ground = case.ground
    wanted = ("treated",) if watch.scope == "treated" else ("treated", "ring")
    inside = [i for i, side in enumerate(sides(series.names, ground)) if side in wanted]
    if watch.scope == "cell" or not adds_up(watch.kpi):
        inside = [i for i in inside if series.names[i] not in ground.silenced]
    if watch.scope == "cell":
        inside = [i for i in inside if _has_users(case, watch, series, i)]
        return {series.names[i]: ([i], frozenset({series.names[i]})) for i in inside}
    return {"": (inside, ground.area if watch.scope == "area" else ground.treated)} if inside else {}


def _evidence(case: _Case, watch: Watch, where: str, cells: frozenset[str], effect: Effect) -> Evidence:
    sign = watch.worse.sign
    foreseen = _foreseen(case, watch, cells)
    if watch.counts:
        tolerance = max(watch.relative * effect.baseline, watch.floor) + foreseen
    else:
        tolerance = sign * float(np.log1p(sign * min(watch.relative + foreseen, _MOST_TOLERATED)))
    harm, sd = sign * effect.value, float(np.sqrt(effect.variance))
    reach = t_quantile(0.95, effect.df) * sd
    beyond = True
    if watch.absolute is not None:
        kept = sign * effect.baseline <= sign * watch.absolute
        # A limit alone is broken only where it was kept before; together with a relative one it says how bad is bad.
        beyond = sign * effect.level > sign * watch.absolute and (kept or watch.relative > 0)
    return Evidence(
        watch=watch,
        where=where,
        harm=harm,
        low=harm - reach,
        high=harm + reach,
        tolerance=tolerance,
        # Where anything for the worse counts as harm, harms of a tenth are those one cares about.
        log_e=log_e_value(harm, effect.variance, effect.df, 2 * tolerance or 0.1),
        beyond=beyond,
        controls=effect.controls,
        periods=effect.periods,
    )


def _foreseen(case: _Case, watch: Watch, cells: frozenset[str]) -> float:
    """The change for the worse that the verdict foresaw and was approved with, in the unit of the harm."""
    known = [p for c in sorted(cells) if (p := case.predictions.get((watch.kpi, c))) is not None]
    known = [p for p in known if np.isfinite(p.predicted) and np.isfinite(p.baseline)]
    change = sum(p.predicted for p in known) * watch.worse.sign
    if not known or change <= 0:
        return 0.0
    if watch.counts:
        return float(change / len(known))
    base = sum(p.baseline for p in known)
    return float(change / base) if base > 0 else 0.0


def _has_users(case: _Case, watch: Watch, series: Series, i: int) -> bool:
    users = case.history.series.get(_USERS)
    if watch.kpi not in _PER_USER or users is None or series.names[i] not in users.names:
        return True
    column = users.values[:, users.names.index(series.names[i])]
    after = column[case.at.after]
    return bool(np.nanmean(after) >= _FEWEST_USERS) if np.isfinite(after).any() else False


def _usable_periods(case: _Case, watches: Sequence[Watch]) -> NDArray[np.bool_]:
    """[T] periods in which enough of the area reported the KPIs that it reported before the push."""
    shares = []
    for watch in watches:
        series = case.history.series.get(watch.kpi)
        if watch.scope != "area" or series is None:
            continue
        members = [
            i
            for i, side in enumerate(sides(series.names, case.ground))
            if side in ("treated", "ring") and series.names[i] not in case.ground.silenced
        ]
        x = np.isfinite(series.values[:, members])
        x = x[:, x[case.at.before].any(axis=0)]
        if x.shape[1]:
            shares.append(x.mean(axis=1))
    if not shares:
        return np.zeros(len(case.history.period_ends_ms), dtype=np.bool_)
    return np.asarray(np.mean(shares, axis=0) >= case.settings.coverage)

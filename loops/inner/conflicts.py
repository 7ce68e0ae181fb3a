"""Conflicts between strategies that are open at once, and what to do about them.

Two approved strategies whose areas overlap are verified together as well, over the scenarios that both met alone:

- *direct*: they set the same attribute to different values;
- *indirect*: one surely takes back a good part of what the other is for, or together they no longer reach it;
- *implicit*: each alone does no harm, together they do, or cannot be shown not to.

What is in roll-out stays. What it is for is known from its verdict; once all of it is in force, the newcomer's own
roll-outs stand on it, and nothing more has to be tried. A direct conflict goes to the higher priority, then to the
earlier. Else the choice is among both together and either alone: together if that was approved and gives most;
otherwise the higher priority, and between equals the one that gives more. What is deferred stays known, and its agent
may propose it again when the other is done.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal, NamedTuple

from loops.inner.coordinator import Verification
from loops.inner.design import Design
from loops.inner.evidence import Evidence
from loops.inner.guards import in_force
from loops.inner.trust import touched
from loops.inner.verdict import gain_in, usual_breach
from schemas.identifiers import digest
from schemas.ndt import Conflict, ConflictKind, NdtReport, Prediction, Verdict
from schemas.strategies import Objective, Strategy
from twin_core.exceptions import TwinError
from twin_core.twin import Twin

JOINT = "joint"
# Of a strategy's gain, what another may take back before it counts as a conflict (cCLGoalBreachPercentage, TS 28.567).
GOAL_BREACH = 0.5

Area = Callable[[Strategy], frozenset[str]]


class UnderWay(NamedTuple):
    """A strategy with a plan that has not ended.

    Parameters
    ----------
    gain
        Relative gain in its objective that its verdict promised; NaN where it is not known.
    in_force
        Whether the twin's configuration has all its changes.
    """

    strategy: Strategy
    gain: float
    in_force: bool

    @classmethod
    def of(cls, strategy: Strategy, predictions: Iterable[Prediction], twin: Twin) -> "UnderWay":
        """As the verdict predicted, and as the twin is."""
        objective = strategy.objective
        promised = (p for p in predictions if p.kpi == objective.kpi and not p.cell and p.baseline)
        gain = next((objective.direction.sign * p.predicted / abs(p.baseline) for p in promised), math.nan)
        try:
            after = twin.configuration.with_changes(twin.network, strategy.changes)
        except TwinError:  # others have changed what it stood on
            return cls(strategy, gain, in_force=False)
        return cls(strategy, gain, after.same_as(twin.configuration))


@dataclass(frozen=True)
class Rival:
    """A strategy that may go on: approved in this period, or with a plan that has not ended.

    Parameters
    ----------
    verification
        Of this period; None where its plan is under way.
    gain, in_force
        As of `UnderWay`.
    """

    strategy: Strategy
    area: frozenset[str]
    verification: Verification | None = None
    gain: float = math.nan
    in_force: bool = False

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Who is first: what is in roll-out, then priority, then the earlier."""
        s = self.strategy
        return self.verification is not None, -s.priority, s.proposed_at_ms, s.strategy_id


@dataclass(frozen=True)
class Pair:
    """Two strategies whose areas overlap, in order of rank."""

    first: Rival
    second: Rival

    @property
    def strategies(self) -> tuple[Strategy, Strategy]:
        """Both, in order of rank."""
        return self.first.strategy, self.second.strategy

    @property
    def seeker(self) -> Strategy:
        """Whose objective the two together are judged by: the first's, unless that has been judged before."""
        return (self.first if self.first.verification else self.second).strategy

    @cached_property
    def clash(self) -> tuple[str, str] | None:
        """Object and attribute that both set, to different values."""
        return clash_of(*self.strategies)

    @cached_property
    def joint(self) -> Strategy | None:
        """Both as one, where that has to be tried: they do not clash, and the first is not in force."""
        return None if self.clash or self.first.in_force else together(*self.strategies, self.seeker.objective)


class Choice(NamedTuple):
    """Strategy ids that go on and that do not, and by which rule."""

    kept: list[str]
    deferred: list[str]
    by: Literal["priority", "joint", "alone"]


def rivals(approved: Iterable[Verification], under_way: Iterable[UnderWay], area: Area) -> list[Rival]:
    """Everything that may go on, in order of rank."""
    out = [Rival(v.job.strategy, area(v.job.strategy), v, _own_gain(v)) for v in approved]
    seen = {r.strategy.strategy_id for r in out}
    out += [Rival(s, area(s), None, gain, there) for s, gain, there in under_way if s.strategy_id not in seen]
    return sorted(out, key=lambda r: r.rank)


def _own_gain(verification: Verification) -> float:
    evidence, job = verification.evidence, verification.job
    return gain_in(job.strategy.objective, evidence, job.design).mean if evidence else math.nan


def pairs(found: Sequence[Rival]) -> list[Pair]:
    """Pairs to look at, higher ranks first: overlapping, and at least one of them of this period."""
    out = []
    for first, second in combinations(found, 2):
        if first.verification is None and second.verification is None:
            continue  # both under way: the outer loop never pushes into an area that another plan holds
        if first.area & second.area:
            out.append(Pair(first, second))
    return out


def area_of(cells: Sequence[str], neighbours: Sequence[Sequence[int]]) -> Area:
    """The cells that a strategy changes and their neighbours, as a function of the strategy."""
    at = {cell: i for i, cell in enumerate(cells)}

    def area(strategy: Strategy) -> frozenset[str]:
        own = touched(strategy)
        return frozenset(own) | {cells[n] for c in own if c in at for n in neighbours[at[c]]}

    return area


def clash_of(a: Strategy, b: Strategy) -> tuple[str, str] | None:
    """An attribute that both set to different values, None if there is none."""
    mine = {(c.object, c.attribute): c.value for c in a.changes}
    return next(
        ((c.object, c.attribute) for c in b.changes if mine.get((c.object, c.attribute), c.value) != c.value), None
    )


def together(a: Strategy, b: Strategy, objective: Objective) -> Strategy:
    """Both as one strategy, with the guards of both."""
    changes = {(c.object, c.attribute): c for c in (*a.changes, *b.changes)}
    strategy_id = f"{JOINT}-{digest(a.network_id, a.region, a.strategy_id, b.strategy_id, length=12)}"
    return a.model_copy(
        update={
            "event_id": strategy_id,
            "strategy_id": strategy_id,
            "agent": JOINT,
            "title": f"{a.title}; {b.title}"[:300],
            "changes": [c.model_copy(update={"change_id": f"{i + 1}"}) for i, c in enumerate(changes.values())],
            "objective": objective,
            "guards": in_force(b.guards, a.guards),
            "parent": "",
            "rationale": f"{a.strategy_id} and {b.strategy_id} together",
        }
    )


def settle(pair: Pair, joint: Verification | None) -> Conflict | None:
    """Whether a pair is in conflict, and who goes on; None if they go together well.

    Parameters
    ----------
    joint
        The verification of both as one, done; None where there is none to make.
    """
    first, second = pair.first.strategy, pair.second.strategy

    def conflict(kind: ConflictKind, chosen: Choice, detail: str, kpi: str = "", cell: str = "") -> Conflict:
        return Conflict(
            conflict_id=digest(first.network_id, first.strategy_id, second.strategy_id),
            kind=kind,
            first=first.strategy_id,
            second=second.strategy_id,
            kpi=kpi,
            cell=cell,
            detail=detail[:2000],
            resolution=chosen.by,
            kept=chosen.kept,
            deferred=chosen.deferred,
        )

    if pair.clash:
        dn, attribute = pair.clash
        detail = f"both set {attribute} of {dn}"
        return conflict(ConflictKind.DIRECT, Choice([first.strategy_id], [second.strategy_id], "priority"), detail)
    joint = joint or pair.second.verification
    assert joint is not None, "one of the two is of this period, and what is in force comes first"
    assert joint.report is not None, "settled when that is done"
    approved = joint.report.verdict is Verdict.APPROVED
    indirect = _indirect(pair, joint.job.design)
    if approved and indirect is None:
        return None
    chosen = _choose(pair, joint if approved else None)
    if indirect is not None:
        objective, detail = indirect
        return conflict(ConflictKind.INDIRECT, chosen, detail, objective.kpi)
    if not _may_harm(joint.report):
        detail = f"together they no longer bring what «{pair.seeker.title}» is for: {joint.report.reason}"
        return conflict(ConflictKind.INDIRECT, chosen, detail, pair.seeker.objective.kpi)
    kpi, cell = _where(joint)
    detail = f"each alone is approved, together {joint.report.verdict.value.lower()}: {joint.report.reason}"
    return conflict(ConflictKind.IMPLICIT, chosen, detail, kpi, cell)


def _may_harm(report: NdtReport) -> bool:
    """Whether what was not approved is surely harmful or, where nothing is sure, may be."""
    if report.verdict is Verdict.REJECTED:
        return any(s.p_harm_low > report.alpha for s in report.scenarios)
    return report.p_harm_high > report.alpha


def _evidence(rival: Rival) -> Evidence | None:
    return rival.verification.evidence if rival.verification else None


def _indirect(pair: Pair, design: Design) -> tuple[Objective, str] | None:
    """Whose objective suffers from the other, and how; None if nobody's does enough to matter."""
    for mine, other in ((pair.first, pair.second), (pair.second, pair.first)):
        theirs = _evidence(other)
        if theirs is None:
            continue  # what is under way has been judged in another state of the network
        objective = mine.strategy.objective
        taken = gain_in(objective, theirs, design)
        if taken.high < 0 and -taken.mean >= GOAL_BREACH * mine.gain > 0:
            return objective, (
                f"«{other.strategy.title}» takes back {-taken.mean:.1%} of {objective.kpi}, where "
                f"«{mine.strategy.title}» is to gain {mine.gain:.1%}"
            )
    return None


def _choose(pair: Pair, joint: Verification | None) -> Choice:
    """Who goes on."""
    first, second = pair.first, pair.second
    ids = [first.strategy.strategy_id, second.strategy.strategy_id]
    own, theirs = _evidence(first), _evidence(second)
    if own is None or theirs is None:  # one is under way and stays
        return Choice(ids[:1], ids[1:], "priority")
    design = first.verification.job.design if first.verification else None
    assert design is not None
    worth = _worth(first, second, design)
    alone = [worth(own), worth(theirs)]
    if joint is not None and joint.evidence is not None and worth(joint.evidence) >= max(alone):
        return Choice([joint.job.strategy.strategy_id], ids, "joint")
    if first.strategy.priority != second.strategy.priority:
        return Choice(ids[:1], ids[1:], "priority")
    best = int(alone[1] > alone[0])
    return Choice([ids[best]], [ids[1 - best]], "alone")


def _worth(first: Rival, second: Rival, design: Design) -> Callable[[Evidence], float]:
    """What a configuration gives to both objectives, each as a share of what its own strategy gives."""
    scale = [(rival.strategy.objective, max(rival.gain, 1e-9)) for rival in (first, second)]
    return lambda evidence: sum(gain_in(objective, evidence, design).mean / by for objective, by in scale)


def _where(joint: Verification) -> tuple[str, str]:
    """KPI and cell of the guard that the two together breach most often; empty where none is breached."""
    if joint.evidence is None:
        return "", ""
    found = usual_breach(joint.evidence)
    return (found[0].kpi, found[0].cell) if found else ("", "")

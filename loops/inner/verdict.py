"""From evidence to a verdict: paired statistics on common random numbers, exact bounds on the probability of harm.

The rules, at each look, in this order:

1. REJECTED for harm if in some class of scenario the lower bound on the probability of harm exceeds alpha. One class
   suffices, so each is tested at the look's error divided by the number of classes (Bonferroni).
2. APPROVED, from the first look with enough scenarios for it, if in every class the upper bound is at most alpha, and
   the lower bound on the mean gain is above zero and reaches the least gain the strategy asks for (a schedule, a policy
   and the changes that they bring forth need not gain now). Every class must pass, so none needs a correction: a
   harmful strategy would have to pass the test of its own harmful class (intersection-union).
3. REJECTED for want of benefit if the upper bound on the mean gain is below what the strategy asks for, or not above
   zero.
4. Otherwise the next look; after the last, INCONCLUSIVE.

The looks stand at fixed numbers of scenarios. Those that may approve share the verdict's error equally, and so do those
that may reject: looking early costs nothing in honesty. Benefit and predictions rest on the expected classes alone;
harm is judged in all. More harm in any scenario can only move a verdict away from APPROVED.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from loops.inner.design import Design
from loops.inner.evidence import Evidence
from loops.inner.guards import Breach, breach_of
from loops.inner.sharding import Job
from loops.inner.statistics import lower_bound, mean_bounds, upper_bound
from schemas.names import short_name
from schemas.ndt import ScenarioOutcome, Verdict
from schemas.strategies import Direction, Objective, Strategy


class Gain(NamedTuple):
    """Relative gain in the objective over the nominal scenarios; positive is better."""

    mean: float
    low: float
    high: float
    p_benefit: float  # share of scenarios with a gain above zero that reaches the least wanted

    def is_enough(self, strategy: Strategy) -> bool:
        """Whether the whole interval lies where the strategy wants it."""
        return not strategy.must_gain or (self.low > 0 and self.low >= strategy.objective.min_gain)

    def is_too_little(self, strategy: Strategy) -> bool:
        """Whether the whole interval lies below what the strategy wants."""
        return strategy.must_gain and (self.high <= 0 or self.high < strategy.objective.min_gain)


class Finding(NamedTuple):
    """What one look found; ``verdict`` is None where it could not tell."""

    verdict: Verdict | None
    reason: str
    scenarios: tuple[ScenarioOutcome, ...]
    gain: Gain

    @property
    def worst(self) -> ScenarioOutcome:
        """The class of scenario in which most harm is possible."""
        return max(self.scenarios, key=lambda s: (s.p_harm_high, s.p_harm))


def harm_by_class(job: Job, evidence: Evidence) -> tuple[ScenarioOutcome, ...]:
    """Share of harmful scenarios in each class, with its bounds."""
    design = job.design
    names = job.design.scenarios.classes
    n = Counter(evidence.classes)
    harmful = Counter(c for c, b in zip(evidence.classes, evidence.breached, strict=True) if b)
    return tuple(
        ScenarioOutcome(
            scenario_class=name,
            scenarios=n[name],
            harmful=harmful[name],
            p_harm=harmful[name] / n[name] if n[name] else float("nan"),
            p_harm_low=lower_bound(harmful[name], n[name], design.rejection_error / len(names)),
            p_harm_high=upper_bound(harmful[name], n[name], design.approval_error),
        )
        for name in names
    )


def gain_of(job: Job, evidence: Evidence) -> Gain:
    """Paired gain of the strategy in its objective, relative to the mean baseline.

    Relative to the mean and not scenario by scenario, so that one with a baseline near zero does not outweigh all
    others. Where the baseline is zero throughout, gains stay in the KPI's unit.
    """
    return gain_in(job.strategy.objective, evidence, job.design)


def gain_in(objective: Objective, evidence: Evidence, design: Design) -> Gain:
    """Paired gain in any objective: what a strategy does to another's."""
    nominal = evidence.of_classes(design.scenarios.expected)
    baseline, candidate = (x[nominal] for x in evidence.network(objective.kpi))
    scale = float(np.abs(baseline).mean()) or 1.0
    gains = objective.direction.sign * (candidate - baseline) / scale
    mean, low, _ = mean_bounds(gains, design.approval_error)
    _, _, high = mean_bounds(gains, design.rejection_error)
    return Gain(mean, low, high, float(np.mean((gains > 0) & (gains >= objective.min_gain))))


def find(job: Job, evidence: Evidence) -> Finding:
    """Judge a complete prefix of a job's scenarios."""
    design, strategy, objective = job.design, job.strategy, job.strategy.objective
    scenarios = harm_by_class(job, evidence)
    gain = gain_of(job, evidence)

    def finding(verdict: Verdict | None, reason: str) -> Finding:
        return Finding(verdict, reason, scenarios, gain)

    surely = [s for s in scenarios if s.p_harm_low > design.alpha]
    if surely:
        worst = max(surely, key=lambda s: s.p_harm)
        return finding(
            Verdict.REJECTED,
            f"harmful in {worst.harmful} of {worst.scenarios} {_words(worst)} scenarios, surely more than "
            f"{design.alpha:.0%}: {_usual(evidence, worst.scenario_class)}",
        )
    doubtful = [s for s in scenarios if not s.p_harm_high <= design.alpha]
    may_approve = min(s.scenarios for s in scenarios) >= design.approving[0]
    if may_approve and not doubtful and gain.is_enough(strategy):
        worst = max(scenarios, key=lambda s: s.p_harm_high)
        return finding(
            Verdict.APPROVED,
            f"harm at most {worst.p_harm_high:.1%} in every class of scenario (limit {design.alpha:.0%}); "
            f"{_gain_words(objective, gain)}",
        )
    if gain.is_too_little(strategy):
        return finding(Verdict.REJECTED, f"no benefit worth it: {_gain_words(objective, gain)}")
    doubts = [
        f"harm in {_words(s)} scenarios lies between {s.p_harm_low:.1%} and {s.p_harm_high:.1%}, on both sides of "
        f"{design.alpha:.0%} ({_usual(evidence, s.scenario_class)})"
        for s in doubtful
    ]
    if not gain.is_enough(strategy):
        doubts.append(f"benefit uncertain: {_gain_words(objective, gain)}")
    return finding(None, "; ".join(doubts))


def _words(outcome: ScenarioOutcome) -> str:
    return outcome.scenario_class.replace("_", " ")


def usual_breach(evidence: Evidence, name: str | None = None) -> tuple[Breach, int] | None:
    """The guard breached most often in one class of scenario or in all, and how often; None if none is."""
    breached = zip(evidence.classes, evidence.breached, strict=True)
    found = Counter(b for c, b in breached if b and name in (None, c))
    if not found:
        return None
    (breach, times), *_ = found.most_common(1)
    return breach_of(breach), times


def _usual(evidence: Evidence, name: str) -> str:
    found = usual_breach(evidence, name)
    if found is None:
        return "no guard breached"
    breach, times = found
    return f"most often {breach.guard}{f' at {short_name(breach.cell)}' if breach.cell else ''} ({times} times)"


def _gain_words(objective: Objective, gain: Gain) -> str:
    way = "rises" if objective.direction is Direction.UP else "falls"
    wanted = f"{objective.min_gain:.1%} wanted" if objective.min_gain else "any wanted"
    return f"{objective.kpi} {way} by {gain.mean:.1%} ({gain.low:.1%} to {gain.high:.1%}), {wanted}"

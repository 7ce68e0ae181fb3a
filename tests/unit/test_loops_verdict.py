"""Verdicts err no more often than they say, and more harm never helps a strategy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loops.inner.design import Design
from loops.inner.evidence import Evidence, Problem
from loops.inner.report import conclude
from loops.inner.sharding import Job
from loops.inner.statistics import lower_bound, upper_bound
from loops.inner.verdict import find
from schemas.ndt import NdtReport, Verdict
from tests.unit import inner_fakes as fake

DESIGN = Design()
JOB = fake.job(DESIGN)
CLASSES = DESIGN.scenarios.classes


def decide(job: Job, whole: Evidence) -> Verdict | None:
    """Look after look, as the coordinator does."""
    for n in job.design.looks:
        k = n * len(job.design.scenarios.classes)
        part = Evidence(
            whole.classes[:k], whole.kpis, whole.cells, whole.baseline[:k], whole.candidate[:k], whole.breached[:k]
        )
        verdict = find(job, part).verdict
        if verdict is not None:
            return verdict
    return None


def rate(verdict: Verdict, runs: int = 200, **world: object) -> float:
    """How often a world leads to a verdict."""
    rng = np.random.default_rng(1)
    last = len(DESIGN.looks) - 1
    return sum(decide(JOB, fake.evidence(JOB, last, rng, **world)) is verdict for _ in range(runs)) / runs  # type: ignore[arg-type]


def allowed(runs: int = 200) -> float:
    """The stated error, and what chance adds to it in so many runs at most one time in a thousand."""
    error = 1 - DESIGN.confidence
    return error + 3.1 * math.sqrt(error * (1 - error) / runs)


@pytest.mark.parametrize("harmful", [CLASSES[:1], CLASSES[3:4], CLASSES])
def test_harm_just_above_alpha_is_seldom_approved(harmful: tuple[str, ...]) -> None:
    p_harm = dict.fromkeys(harmful, DESIGN.alpha * 1.02)
    assert rate(Verdict.APPROVED, p_harm=p_harm) <= allowed()


def test_harm_just_below_alpha_in_every_class_is_seldom_rejected() -> None:
    assert rate(Verdict.REJECTED, p_harm=DESIGN.alpha * 0.98) <= allowed()


def test_a_gain_just_below_what_was_wanted_is_seldom_approved_and_just_above_seldom_rejected() -> None:
    wanted = JOB.strategy.objective.min_gain
    assert rate(Verdict.APPROVED, gain=wanted * 0.999) <= allowed()
    assert rate(Verdict.REJECTED, gain=wanted * 1.001) <= allowed()


def test_plain_cases_are_told_apart() -> None:
    assert rate(Verdict.APPROVED, runs=40) == 1.0
    assert rate(Verdict.REJECTED, runs=40, p_harm={CLASSES[2]: 0.8}) == 1.0
    assert rate(Verdict.REJECTED, runs=40, gain=-0.05) == 1.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    p_harm=st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.3]),
    gain=st.sampled_from([-0.01, 0.015, 0.02, 0.05]),
    more=st.lists(st.integers(0, DESIGN.total - 1), max_size=80),
)
def test_more_harm_never_turns_a_verdict_towards_approval(
    seed: int, p_harm: float, gain: float, more: list[int]
) -> None:
    before = fake.evidence(JOB, len(DESIGN.looks) - 1, np.random.default_rng(seed), p_harm=p_harm, gain=gain)
    worse = list(before.breached)
    for i in more:
        worse[i] = "some guard"
    after = Evidence(before.classes, before.kpis, before.cells, before.baseline, before.candidate, tuple(worse))
    order = {Verdict.REJECTED: 0, None: 1, Verdict.APPROVED: 2}
    assert order[decide(JOB, after)] <= order[decide(JOB, before)]


@given(n=st.integers(1, 400), data=st.data())
def test_bounds_contain_the_share_and_rise_with_harm(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    assert lower_bound(k, n, 0.05) <= k / n <= upper_bound(k, n, 0.05)
    if k < n:
        assert upper_bound(k, n, 0.05) <= upper_bound(k + 1, n, 0.05)
        assert lower_bound(k, n, 0.05) <= lower_bound(k + 1, n, 0.05)


def test_a_design_under_which_nothing_could_be_approved_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing can be approved: 59 harmless ones are needed"):
        Design(alpha=0.05, confidence=0.95, looks=(10, 50))
    with pytest.raises(ValidationError, match="looks must rise"):
        Design(looks=(60, 36))


def test_a_first_look_that_is_too_small_to_approve_costs_approval_nothing() -> None:
    assert Design(looks=(12, 36, 60)).approving == (36, 60)
    assert Design(looks=(36, 60)).approval_error == Design(looks=(12, 36, 60)).approval_error


def report_of(**world: object) -> NdtReport:
    evidence = fake.evidence(JOB, 1, np.random.default_rng(3), **world)  # type: ignore[arg-type]
    return conclude(JOB, fake.basis(), evidence, find(JOB, evidence))


def test_the_report_says_what_it_rests_on_how_long_it_holds_and_what_it_does_not_cover() -> None:
    report = report_of()
    assert report.verdict is Verdict.APPROVED
    assert report.revisions == {"1": 10}
    assert report.model_versions == {"physics": "1"}
    assert report.valid_until_ms - report.decided_at_ms == DESIGN.validity_periods * fake.PERIOD_MS
    assert [s.scenario_class for s in report.scenarios] == list(CLASSES)
    assert any("more than one cell" in n for n in report.not_covered)
    assert report.p_harm_high <= report.alpha
    assert (report.load_low, report.load_high) == (1.0, 1.0)


def test_predictions_cover_network_and_cells_and_are_widened_by_the_noise_of_an_observation() -> None:
    predictions = {(p.kpi, p.cell): p for p in report_of().predictions}
    assert set(predictions) == {(k, c) for k in fake.KPIS for c in ("", *fake.CELLS)}
    power = predictions["PEE.AvgPower", ""]
    assert power.baseline == 1.0
    assert power.low < power.predicted < power.high
    # Scenarios spread by 0.02 either way; an observed change has two observations' noise of 0.5 each on top.
    assert power.high - power.predicted == pytest.approx(1.645 * 0.5 * math.sqrt(2), rel=0.02)
    assert power.predicted == pytest.approx(-0.05, abs=0.01)


def test_an_interval_of_unknown_noise_is_unknown_not_narrow() -> None:
    evidence = fake.evidence(JOB, 1, np.random.default_rng(3))
    report = conclude(JOB, fake.basis(noise_sd={}), evidence, find(JOB, evidence))
    assert all(math.isnan(p.low) and math.isnan(p.high) for p in report.predictions)


def test_a_rejection_names_class_guard_and_counts() -> None:
    report = report_of(p_harm={"surge": 0.9})
    assert report.verdict is Verdict.REJECTED
    assert "surge scenarios" in report.reason
    assert "some guard" in report.reason


def test_an_objection_overrides_what_the_scenarios_show() -> None:
    evidence = fake.evidence(JOB, 1, np.random.default_rng(3))
    report = conclude(JOB, fake.basis(), evidence, find(JOB, evidence), objections=[Problem("the gate is closed")])
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.reason.startswith("the gate is closed")


def test_unknown_values_are_inconclusive_never_a_pass() -> None:
    evidence = fake.evidence(JOB, 2, np.random.default_rng(3))
    evidence.candidate[0, fake.KPIS.index("PEE.AvgPower")] = float("nan")
    assert find(JOB, evidence).verdict is None

"""The coordinator's verdict depends on the job alone: not on arrival order, duplicates, restarts or slow workers."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loops.inner.coordinator import Patience, Verification
from loops.inner.design import Design
from loops.inner.evidence import Basis, Problem
from schemas.ndt import NdtReport, NdtShard, Verdict
from schemas.strategies import Direction, Guard
from tests.unit import inner_fakes as fake

HARM = st.sampled_from([0.0, 0.01, 0.04, 0.08, 0.3])


def calm(verification: Verification, **harm: object) -> NdtReport:
    """Answer every shard once, in order."""
    queue = deque(verification.start(0.0))
    while queue:
        queue.extend(verification.receive(fake.result(queue.popleft(), **harm), 0.0))  # type: ignore[arg-type]
    assert verification.report is not None
    return verification.report


@settings(max_examples=15, deadline=None)
@given(data=st.data(), p_harm=HARM, gain=st.sampled_from([0.0, 0.02, 0.05]))
def test_verdict_ignores_arrival_order_duplicates_and_reissues(data: st.DataObject, p_harm: float, gain: float) -> None:
    expected = calm(Verification(fake.job(), fake.basis()), p_harm=p_harm, gain=gain)
    verification = Verification(fake.job(), fake.basis(), Patience(deadline_s=1.0, attempts=10**6))
    pool: list[NdtShard] = list(verification.start(0.0))
    now = 0.0
    while verification.report is None:
        shard = pool[data.draw(st.integers(0, len(pool) - 1))]
        match data.draw(st.sampled_from(["answer", "answer", "twice", "fail", "late"])):
            case "answer":
                pool.remove(shard)
                pool += verification.receive(fake.result(shard, p_harm=p_harm, gain=gain), now)
            case "twice":
                pool += verification.receive(fake.result(shard, p_harm=p_harm, gain=gain), now)
            case "fail":
                pool += verification.receive(fake.failure(shard), now)
            case "late":
                now += 2.0
                pool += verification.overdue(now)
    assert fake.same(verification.report.model_dump(), expected.model_dump())


def test_results_that_come_before_they_are_asked_for_count_and_are_not_asked_for_again() -> None:
    first, second, _ = fake.job().waves
    verification = Verification(fake.job(), fake.basis())
    for shard in (*first, *second):
        assert verification.receive(fake.result(shard), 0.0) == []
    assert verification.start(0.0) == []
    assert verification.report is not None
    assert verification.report.verdict is Verdict.APPROVED


def test_a_later_wave_is_asked_for_only_when_the_earlier_did_not_decide() -> None:
    waves = fake.job().waves
    assert len(waves) == 3
    clear = Verification(fake.job(), fake.basis())
    calm(clear, p_harm=0.9)
    assert clear.counts.merged == len(waves[0])
    unclear = Verification(fake.job(), fake.basis())
    calm(unclear, p_harm=0.1)
    assert unclear.counts.merged == len(waves[0]) + len(waves[1]) + len(waves[2])


def test_a_duplicate_counts_once() -> None:
    verification = Verification(fake.job(), fake.basis())
    shard = verification.start(0.0)[0]
    verification.receive(fake.result(shard), 0.0)
    verification.receive(fake.result(shard), 0.0)
    assert (verification.counts.merged, verification.counts.duplicates) == (1, 1)


def test_a_shard_without_answer_is_asked_for_again_after_its_deadline_and_fails_in_the_end() -> None:
    verification = Verification(fake.job(), fake.basis(), Patience(deadline_s=10, attempts=3))
    shards = verification.start(0.0)
    assert verification.next_deadline_s == 10
    assert verification.overdue(9.9) == []
    assert [s.attempt for s in verification.overdue(10.0)] == [2] * len(shards)
    assert [s.attempt for s in verification.overdue(20.0)] == [3] * len(shards)
    assert verification.overdue(30.0) == []
    assert verification.report is not None
    assert verification.report.verdict is Verdict.INCONCLUSIVE
    assert "no worker answered" in verification.report.reason


def test_a_job_that_takes_too_long_ends_inconclusive() -> None:
    verification = Verification(fake.job(), fake.basis(), Patience(job_s=30.0))
    verification.start(100.0)
    verification.overdue(129.0)
    assert verification.report is None
    assert verification.overdue(130.0) == []
    assert verification.report is not None
    assert verification.report.verdict is Verdict.INCONCLUSIVE
    assert "not done within 30 s" in verification.report.reason


def test_an_error_is_retried_and_a_stale_error_is_ignored() -> None:
    verification = Verification(fake.job(), fake.basis())
    shard = verification.start(0.0)[0]
    (second,) = verification.receive(fake.failure(shard), 0.0)
    assert (second.shard_index, second.attempt) == (shard.shard_index, 2)
    assert verification.receive(fake.failure(shard), 0.0) == []
    assert verification.report is None


def test_a_shard_that_keeps_failing_makes_the_verdict_inconclusive() -> None:
    verification = Verification(fake.job(), fake.basis(), Patience(attempts=2))
    shard = verification.start(0.0)[0]
    (second,) = verification.receive(fake.failure(shard, "disk on fire"), 0.0)
    verification.receive(fake.failure(second, "disk on fire"), 0.0)
    assert verification.report is not None
    assert verification.report.verdict is Verdict.INCONCLUSIVE
    assert "disk on fire" in verification.report.reason


def test_a_result_of_another_shape_is_an_error() -> None:
    verification = Verification(fake.job(), fake.basis())
    shard = verification.start(0.0)[0]
    broken = fake.result(shard).model_copy(update={"baseline": [1.0]})
    assert verification.receive(broken, 0.0)[0].attempt == 2


def test_workers_that_disagree_on_kpis_make_the_verdict_inconclusive() -> None:
    verification = Verification(fake.job(), fake.basis())
    for i, shard in enumerate(verification.start(0.0)):
        answer = fake.result(shard)
        verification.receive(answer.model_copy(update={"kpis": answer.kpis[::-1]}) if i == 1 else answer, 0.0)
    assert verification.report is not None
    assert verification.report.verdict is Verdict.INCONCLUSIVE
    assert "same version of twinloop on every worker" in verification.report.reason


def test_results_of_other_jobs_are_ignored() -> None:
    verification = Verification(fake.job(), fake.basis())
    verification.start(0.0)
    other = fake.job(strategy_id="another")
    assert verification.receive(fake.result(other.shards[0]), 0.0) == []
    assert verification.counts.merged == 0


@pytest.mark.parametrize(
    ("basis", "cause"),
    [
        (fake.basis(gate_open=False), "fidelity is below its gate"),
        (fake.basis(newest_ms=14 * fake.PERIOD_MS), "4 periods old"),
        (fake.basis(problems=(Problem("2 of 3 cells sent no telemetry"),)), "sent no telemetry"),
    ],
)
def test_without_a_trusted_fresh_twin_nothing_is_run_and_nothing_concluded(basis: Basis, cause: str) -> None:
    verification = Verification(fake.job(), basis)
    assert verification.start(0.0) == []
    assert verification.report is not None
    assert verification.report.verdict is Verdict.INCONCLUSIVE
    assert cause in verification.report.reason


def test_a_guard_that_the_twin_cannot_judge_makes_the_verdict_inconclusive() -> None:
    guard = Guard(kpi="DRB.RlcSduDelayDl", direction=Direction.DOWN, absolute=200)
    report = calm(Verification(fake.job(guards=[guard]), fake.basis()))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "DRB.RlcSduDelayDl" in report.reason


def test_the_verdict_does_not_depend_on_how_scenarios_are_cut_into_shards() -> None:
    many = fake.job()
    few = type(many)(many.strategy, many.revision, Design(), cells=3)
    assert len(few.shards) < len(many.shards)
    cut = [[(s.first_scenario + i, c) for s in j.shards for i, c in enumerate(s.scenario_classes)] for j in (many, few)]
    design = many.design
    assert cut[0] == cut[1] == [(i, design.scenarios.class_of(i)) for i in range(design.total)]

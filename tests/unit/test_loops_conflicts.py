"""Conflicts between open strategies, and the causes of failures, over made-up and over computed scenarios."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from loops.inner.ablation import Ablation
from loops.inner.conflicts import UnderWay, area_of, clash_of, pairs, rivals, together
from loops.inner.coordinator import Patience, Verification
from loops.inner.deliberation import Deliberation, deliberate
from loops.inner.diagnosis import diagnose
from loops.inner.evidence import Problem
from loops.inner.trust import basis_of, bias_of
from loops.inner.verify import LocalWorkers, drive
from schemas.ndt import ConflictKind, Layer, NdtShard, NdtShardResult, Prediction, Verdict
from schemas.strategies import ConfigChange, Direction, Guard, Objective, Strategy
from tests.unit import inner_fakes as fake
from tests.unit import test_loops_evaluate as small

POWER, THROUGHPUT = "PEE.AvgPower", "DRB.UEThpDl"
NEIGHBOURS = ((1,), (0, 2), (1,))  # three cells in a row
AREA = area_of(fake.CELLS, NEIGHBOURS)


def saves(name: str, cell: int = 0, priority: int = 5, value: str = "LOCKED") -> Strategy:
    """A strategy that is to save power by the state of one cell."""
    change = ConfigChange(change_id="1", object=fake.CELLS[cell], attribute="administrativeState", value=value)
    return fake.strategy(strategy_id=name, event_id=name, title=name, changes=[change], priority=priority)


def speeds(name: str, cell: int = 1, priority: int = 5) -> Strategy:
    """A strategy that is to raise throughput by the state of one cell."""
    objective = Objective(kpi=THROUGHPUT, direction=Direction.UP, min_gain=0.02)
    return saves(name, cell, priority, "UNLOCKED").model_copy(update={"objective": objective})


@dataclass
class Effects:
    """Workers that answer as told: relative changes of KPIs and probabilities of harm, by strategy."""

    gains: dict[str, dict[str, float]]
    harm: dict[str, float] = field(default_factory=dict)
    asked: list[NdtShard] = field(default_factory=list)

    def send(self, shards: Sequence[NdtShard]) -> None:
        self.asked += shards

    def poll(self, timeout_s: float) -> list[NdtShardResult]:
        out, self.asked = [self._answer(s) for s in self.asked], []
        return out

    def _answer(self, shard: NdtShard) -> NdtShardResult:
        name = "joint" if shard.strategy.agent == "joint" else shard.strategy.strategy_id
        told = fake.result(shard, p_harm=self.harm.get(name, 0.0), gain=0.0, gain_sd=0.001)
        shape = (len(shard.scenario_classes), len(fake.KPIS), len(fake.CELLS) + 1)
        candidate = np.array(told.candidate).reshape(shape)
        for kpi, change in self.gains.get(name, {}).items():
            candidate[:, fake.KPIS.index(kpi)] *= 1 + change
        return told.model_copy(update={"candidate": candidate.ravel().tolist()})


def verification(strategy: Strategy) -> Verification:
    job = fake.job()
    return Verification(type(job)(strategy, job.revision, job.design, job.cells), fake.basis())


def run(
    strategies: Sequence[Strategy], effects: Effects, under_way: Sequence[UnderWay] = ()
) -> tuple[dict[str, Verification], Deliberation]:
    """Verify strategies alone, then deliberate."""
    done = [verification(s) for s in strategies]
    assert drive(done, effects, effects, lambda: False)
    found = deliberate(
        done, under_way, AREA, verification, lambda i: drive(i, effects, effects, lambda: False), Patience()
    )
    assert found is not None
    return {v.job.strategy.strategy_id: v for v in done}, found


def verdict(of: Verification) -> Verdict:
    assert of.report is not None
    return of.report.verdict


def test_strategies_that_go_well_together_are_no_conflict() -> None:
    effects = Effects({"a": {POWER: -0.05}, "b": {POWER: -0.05}, "joint": {POWER: -0.1}})
    verified, found = run([saves("a", 0), saves("b", 1)], effects)
    assert found.conflicts == []
    assert {verdict(v) for v in verified.values()} == {Verdict.APPROVED}
    for own, other in (("a", saves("b", 1)), ("b", saves("a", 0))):
        report = verified[own].report
        assert report is not None
        (companion,) = report.companions
        assert companion.strategy_id == other.strategy_id
        assert [c.object for c in companion.changes] == [c.object for c in other.changes]


def test_what_lies_apart_is_not_verified_together() -> None:
    area = area_of(fake.CELLS, ((), (), ()))
    found = rivals([verification(saves("a", 0)), verification(saves("b", 2))], [], area)
    assert pairs(found) == []


def test_the_same_attribute_set_to_different_values_is_a_direct_conflict_for_the_higher_priority() -> None:
    effects = Effects({"low": {POWER: -0.09}, "high": {POWER: -0.05}})
    verified, found = run([saves("low"), saves("high", priority=8, value="SHUTTING_DOWN")], effects)
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.resolution) == (ConflictKind.DIRECT, "priority")
    assert (conflict.kept, conflict.deferred) == (["high"], ["low"])
    assert verdict(verified["low"]) is Verdict.INCONCLUSIVE
    report = verified["low"].report
    assert report is not None
    assert "direct conflict with «high»" in report.reason
    assert report.diagnosis is None  # nothing is wrong with it


def test_one_that_takes_back_what_the_other_gains_is_an_indirect_conflict() -> None:
    effects = Effects(
        {
            "save": {POWER: -0.05},
            "speed": {THROUGHPUT: 0.05, POWER: 0.04},
            "joint": {THROUGHPUT: 0.05, POWER: -0.03},
        }
    )
    verified, found = run([saves("save"), speeds("speed", priority=7)], effects)
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.kpi) == (ConflictKind.INDIRECT, POWER)
    assert "takes back 4.0%" in conflict.detail
    assert conflict.resolution == "joint", "together they give both most of what each wants"
    (joint,) = found.joint
    assert verdict(joint) is Verdict.APPROVED
    assert {verdict(v) for v in verified.values()} == {Verdict.INCONCLUSIVE}
    assert joint.job.strategy.strategy_id in conflict.kept


def test_harm_that_only_both_together_do_is_an_implicit_conflict() -> None:
    effects = Effects({"a": {POWER: -0.05}, "b": {POWER: -0.08}, "joint": {POWER: -0.13}}, {"joint": 0.9})
    verified, found = run([saves("a", 0), saves("b", 2)], effects)
    (conflict,) = found.conflicts
    assert conflict.kind is ConflictKind.IMPLICIT
    assert (conflict.kpi, conflict.cell) == (THROUGHPUT, fake.CELLS[1])
    assert not any(v.report and v.report.companions for v in verified.values())
    assert conflict.resolution == "alone"
    assert conflict.kept == ["b"], "of equals the one that gives more"
    assert verdict(verified["b"]) is Verdict.APPROVED
    assert verdict(verified["a"]) is Verdict.INCONCLUSIVE


def test_what_is_in_roll_out_stays() -> None:
    effects = Effects({"new": {POWER: -0.05}, "joint": {POWER: -0.1}}, {"joint": 0.9})
    old = UnderWay(saves("old", 2, priority=1), 0.05, in_force=False)
    verified, found = run([saves("new", 0, priority=10)], effects, under_way=[old])
    (conflict,) = found.conflicts
    assert conflict.kind is ConflictKind.IMPLICIT
    assert (conflict.kept, conflict.deferred) == (["old"], ["new"])
    assert verdict(verified["new"]) is Verdict.INCONCLUSIVE


def test_a_clash_is_found_however_much_else_is_open() -> None:
    effects = Effects({"joint": {POWER: -0.1}, "a": {POWER: -0.05}, "b": {POWER: -0.05}})
    others = [UnderWay(speeds(f"old{i}", 1), 0.05, in_force=False) for i in range(5)]
    verified, found = run([saves("a"), saves("b", value="SHUTTING_DOWN")], effects, under_way=others)
    assert [c.kind for c in found.conflicts] == [ConflictKind.DIRECT]
    assert (verdict(verified["a"]), verdict(verified["b"])) == (Verdict.APPROVED, Verdict.INCONCLUSIVE)


def test_beside_what_is_under_way_the_newcomer_must_bring_what_it_is_for() -> None:
    effects = Effects({"new": {POWER: -0.05}, "joint": {POWER: 0.01}})
    _, found = run([saves("new", 0)], effects, under_way=[UnderWay(speeds("old", 2), 0.05, in_force=False)])
    (conflict,) = found.conflicts
    assert (conflict.kind, conflict.kpi, conflict.deferred) == (ConflictKind.INDIRECT, POWER, ["new"])
    assert "no longer bring what «new» is for" in conflict.detail


@pytest.mark.parametrize(("loss", "conflicts"), [(-0.03, 1), (-0.01, 0)])
def test_what_is_in_force_needs_no_roll_outs_and_keeps_what_it_gained(loss: float, conflicts: int) -> None:
    effects = Effects({"new": {POWER: -0.05, THROUGHPUT: loss}, "joint": {POWER: 1.0}}, {"joint": 0.9})
    verified, found = run([saves("new", 0)], effects, under_way=[UnderWay(speeds("old", 2), 0.05, in_force=True)])
    assert len(found.conflicts) == conflicts
    for conflict in found.conflicts:
        assert (conflict.kind, conflict.kpi) == (ConflictKind.INDIRECT, THROUGHPUT)
        assert "is to gain 5.0%" in conflict.detail
    assert (verdict(verified["new"]) is Verdict.APPROVED) is (conflicts == 0)


def test_what_a_verdict_promised_and_whether_it_is_in_force() -> None:
    twin = small.twin()
    cut = small.strategy(0)
    told = [
        Prediction(kpi=cut.objective.kpi, cell=cell, baseline=200.0, predicted=p, low=p, high=p)
        for cell, p in ((twin.network.cells[0], 7.0), ("", -10.0))
    ]
    of = UnderWay.of(cut, told, twin)
    assert of.gain == pytest.approx(0.05)
    assert not of.in_force
    there = replace(twin, configuration=twin.configuration.with_changes(twin.network, cut.changes))
    assert UnderWay.of(cut, told, there).in_force
    assert math.isnan(UnderWay.of(cut, [], twin).gain)


def test_two_as_one_have_all_changes_once_and_the_guards_of_both() -> None:
    objective = speeds("any").objective
    joint = together(saves("a", 0), saves("b", 1), objective)
    assert [c.object for c in joint.changes] == fake.CELLS[:2]
    assert joint == together(saves("a", 0), saves("b", 1), objective)
    assert joint.objective == objective
    assert clash_of(saves("a", 0), saves("b", 0)) is None, "the same value is no clash"


# -- diagnosis


def failed(p_harm: dict[str, float] | float, **update: object) -> Verification:
    out = verification(saves("s"))
    out.basis = fake.basis(**update)
    waiting = out.start(0.0)
    while waiting:
        told = fake.result(waiting.pop(0), p_harm=p_harm)
        waiting += out.receive(told, 0.0)
    return out


def layer(of: Verification) -> Layer | None:
    found = diagnose(of)
    return found.layer if found else None


@pytest.mark.parametrize(
    ("p_harm", "expected"),
    [
        ({"surge": 0.9}, Layer.ENVIRONMENT),
        ({"cell_failure": 0.9, "nominal": 0.05}, Layer.ENVIRONMENT),
        ({"radio_drift": 0.9}, Layer.MODEL),
        (0.9, Layer.ALGORITHM),
        ({"nominal": 0.8, "surge": 0.9}, Layer.ALGORITHM),
    ],
)
def test_the_layer_follows_from_where_harm_shows(p_harm: dict[str, float] | float, expected: Layer) -> None:
    found = diagnose(failed(p_harm))
    assert found is not None
    assert (found.layer, found.kpi, found.cell) == (expected, THROUGHPUT, fake.CELLS[1])


def test_missing_telemetry_is_the_data_and_a_closed_gate_the_model() -> None:
    assert layer(failed(0.0, problems=(Problem("5 of 9 cells are silent", Layer.DATA),))) is Layer.DATA
    assert layer(failed(0.0, gate_open=False)) is Layer.MODEL


def test_where_the_guard_would_hold_but_for_what_the_twin_misses_the_model_is_to_blame() -> None:
    def missing(by: float) -> dict[str, np.ndarray]:
        return {k: np.full(len(fake.CELLS) + 1, by) for k in fake.KPIS}

    found = diagnose(failed(0.9, bias=missing(1e6)))
    assert found is not None
    assert found.layer is Layer.MODEL
    assert "corrected for that, the guard holds" in found.summary
    assert layer(failed(0.9, bias=missing(-10.0))) is Layer.ALGORITHM, "a little less, and the guard is still breached"
    assert layer(failed(0.9, noise_sd=missing(1e9))) is Layer.ALGORITHM, "what comes and goes is no miss"


def test_what_was_approved_or_what_no_worker_answered_has_no_diagnosis() -> None:
    assert layer(failed(0.0)) is None
    lonely = Verification(fake.job(), fake.basis(), Patience(deadline_s=1.0, attempts=1))
    lonely.start(0.0)
    lonely.overdue(5.0)
    assert lonely.report is not None
    assert layer(lonely) is None


def test_no_gain_worth_it_is_the_strategys_own_fault() -> None:
    effects = Effects({"s": {POWER: 0.01}})
    of = verification(saves("s"))
    assert drive([of], effects, effects, lambda: False)
    found = diagnose(of)
    assert found is not None
    assert (found.layer, found.kpi) == (Layer.ALGORITHM, POWER)


def test_of_several_changes_the_harmful_one_is_found_by_leaving_each_out() -> None:
    """Computed on a small twin: two cells lose a tenth of a decibel, a third most of its power."""
    changes = [
        ConfigChange(
            change_id=str(c),
            object=small.CELLS[c].replace("NRCellDU", "NRSectorCarrier"),
            attribute="configuredMaxTxPower",
            value=value,
        )
        for c, value in ((0, 39_000), (3, 39_000), (6, 8_000))
    ]
    slower = Guard(kpi=THROUGHPUT, direction=Direction.UP, relative=0.1)
    cut = small.strategy(0).model_copy(update={"changes": changes, "strategy_id": "cut", "guards": [slower]})
    twin = small.twin()
    of = Verification(small.job(cut), basis_of(twin, twin.period_end_ms, strategy=cut))
    workers = LocalWorkers({twin.revision: twin})
    assert drive([of], workers, workers, lambda: False)
    assert verdict(of) is Verdict.REJECTED
    search = Ablation(of)
    assert drive([search], workers, workers, lambda: False)
    assert search.cause is not None
    assert [c.change_id for c in search.cause.changes] == ["6"]
    found = diagnose(of, search.cause)
    assert found is not None
    assert found.layer is Layer.ALGORITHM
    assert "configuredMaxTxPower" in found.change
    assert found.share > 0.5


def test_a_search_that_no_worker_answers_ends_without_a_cause() -> None:
    of = failed(0.9)
    two = [saves("s", c).changes[0] for c in (0, 2)]
    of.job = type(of.job)(of.job.strategy.model_copy(update={"changes": two}), 10, of.job.design, 20)
    search = Ablation(of, Patience(deadline_s=1.0, attempts=2))
    assert search.start(0.0)
    assert search.overdue(0.5) == []
    assert {s.attempt for s in search.overdue(2.0)} == {2}
    assert search.overdue(4.0) == []
    assert search.done
    assert search.cause is None


def test_bias_is_what_is_sure_of_the_mean_residual() -> None:
    twin, rng = small.twin(), np.random.default_rng(4)
    cells = len(twin.network.cells)
    found = bias_of({THROUGHPUT: 300.0 + 10 * rng.normal(size=(40, cells)), POWER: rng.normal(size=(40, cells))}, twin)
    assert (found[THROUGHPUT][:-1] > 280).all()
    assert (found[THROUGHPUT][:-1] < 305).all()
    assert (np.abs(found[POWER][:-1]) < 0.2).all()
    assert found[THROUGHPUT].shape == (cells + 1,)

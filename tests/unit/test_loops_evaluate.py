"""What a worker computes, on a small twin; and verification in one process from end to end."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from loops.agents.energy_saving import EnergySaving
from loops.agents.view import heirs_of, view_of
from loops.exceptions import UnknownScenario
from loops.inner.design import Design
from loops.inner.evaluate import evaluate
from loops.inner.evidence import Evidence, misfit
from loops.inner.scenarios import ScenarioSet
from loops.inner.sharding import Job
from loops.inner.trust import basis_of, by_cell, noise_of
from loops.inner.verify import verify_here
from schemas.names import beam_dn
from schemas.ndt import NdtShard, Verdict
from schemas.strategies import ConfigChange, Direction, Objective, Strategy
from tests.unit.toy_network import ToyNetwork
from twin_core.fidelity import KpiScore
from twin_core.kpis import KPIS
from twin_core.layouts import hexagonal
from twin_core.twin import Twin

TOPOLOGY = hexagonal(sites=3, network_id="toy")
CELLS = TOPOLOGY.cell_names
# Few scenarios and a short horizon: what is tested here does not depend on how many.
SMALL = Design(alpha=0.3, confidence=0.9, looks=(4, 10), horizon_periods=2)


@cache
def twin() -> Twin:
    """Nine lightly loaded cells, in step after a few periods and trusted."""
    torch.set_num_threads(1)
    network, followed = ToyNetwork(TOPOLOGY, users=90, kbps_per_user=250), Twin.create(TOPOLOGY)
    for _ in range(6):
        followed = followed.apply(network.step(), {})
    scores = {k: KpiScore(k, 0.95, s.gate, periods=99, latest=0.95) for k, s in followed.fidelity.items()}
    return replace(followed, fidelity=scores)


def strategy(*locked: int, kpi: str = "PEE.AvgPower", dn: str = "") -> Strategy:
    """Switch these cells off."""
    objects = [dn] if dn else [CELLS[c] for c in locked]
    return Strategy(
        network_id="toy",
        event_id="s",
        strategy_id=f"s-{locked}-{kpi}-{dn}",
        agent="person:anna",
        title="off",
        changes=[
            ConfigChange(change_id=str(i), object=o, attribute="administrativeState", value="LOCKED")
            for i, o in enumerate(objects)
        ],
        objective=Objective(kpi=kpi, direction=Direction.DOWN, min_gain=0.01),
        proposed_at_ms=twin().period_end_ms,
        revision=twin().revision,
    )


def job(of: Strategy, design: Design = SMALL) -> Job:
    return Job(of, twin().revision, design, cells=len(CELLS))


def verdict(of: Strategy, on: Twin | None = None) -> tuple[Verdict, str]:
    on = on or twin()
    report = verify_here(job(of), basis_of(on, on.period_end_ms, strategy=of), on)
    return report.verdict, report.reason


def whole_shard(of: Strategy) -> NdtShard:
    (shard, *_) = job(of).shards
    return shard


def test_the_same_shard_gives_the_same_numbers_to_the_bit_whoever_computes_it() -> None:
    shard = whole_shard(strategy(0))
    a, b = evaluate(shard, twin(), "w1"), evaluate(shard, Twin.restore(twin().snapshot()), "w2")
    assert misfit(shard, a) == ""
    drop = {"worker", "compute_s"}
    assert a.model_dump_json(exclude=drop) == b.model_dump_json(exclude=drop)


def test_a_scenario_is_the_same_however_the_job_is_cut() -> None:
    shard = whole_shard(strategy(0))
    whole = evaluate(shard, twin(), "w")
    cut = shard.model_copy(update={"first_scenario": 7, "scenario_classes": shard.scenario_classes[7:9]})
    part = evaluate(cut, twin(), "w")
    width = len(KPIS) * (len(CELLS) + 1)
    np.testing.assert_array_equal(part.candidate, whole.candidate[7 * width : 9 * width])


def test_baseline_and_candidate_meet_the_same_scenarios() -> None:
    nothing = strategy(0).model_copy(
        update={"changes": [strategy(0).changes[0].model_copy(update={"value": "UNLOCKED"})]}
    )
    result = evaluate(whole_shard(nothing), twin(), "w")
    np.testing.assert_array_equal(result.baseline, result.candidate)
    assert set(result.breached) == {""}


def test_what_does_not_fit_the_network_is_an_error_in_the_result() -> None:
    foreign = strategy(dn="SubNetwork=1,ManagedElement=gnb99,GNBDUFunction=1,NRCellDU=1")
    result = evaluate(whole_shard(foreign), twin(), "w")
    assert "gnb99" in result.error
    found, reason = verdict(foreign)
    assert found is Verdict.INCONCLUSIVE
    assert "does not fit the network" in reason


def shaping(number: float) -> Strategy:
    """The beam of the first cell in another shape."""
    change = ConfigChange(change_id="0", object=beam_dn(CELLS[0]), attribute="coverageShape", value=number)
    return strategy(0).model_copy(update={"changes": [change], "strategy_id": f"shape-{number}"})


def test_the_shape_of_a_beam_gets_a_verdict_and_one_that_the_twin_does_not_know_says_so() -> None:
    found, reason = verdict(shaping(4))
    assert found is not Verdict.INCONCLUSIVE, reason
    result = evaluate(whole_shard(shaping(4)), twin(), "w")
    assert result.candidate != result.baseline
    found, reason = verdict(shaping(77))
    assert found is Verdict.INCONCLUSIVE
    assert "no beam of coverageShape 77" in reason


def test_switching_nearly_everything_off_is_rejected_and_one_idle_cell_approved() -> None:
    found, reason = verdict(strategy(*range(8)))
    assert found is Verdict.REJECTED
    assert "harmful" in reason
    idle = int(np.argmin(twin().predicted["RRU.PrbTotDl"].numpy()))
    found, reason = verdict(strategy(idle))
    assert found is Verdict.APPROVED, reason


def test_a_twin_below_its_gate_approves_nothing() -> None:
    blind = replace(twin(), fidelity={k: replace(s, score=0.1) for k, s in twin().fidelity.items()})
    found, reason = verdict(strategy(0), blind)
    assert found is Verdict.INCONCLUSIVE
    assert "fidelity" in reason


def test_cells_that_sent_nothing_make_it_inconclusive() -> None:
    changed = strategy(0)
    basis = basis_of(twin(), twin().period_end_ms, strategy=changed, silent=[CELLS[0]])
    assert verify_here(job(changed), basis, twin()).verdict is Verdict.INCONCLUSIVE
    assert basis_of(twin(), 0, strategy=changed, silent=[CELLS[1]]).problems == ()
    assert "5 of 9 cells" in basis_of(twin(), 0, silent=CELLS[:5]).problems[0].text


def test_a_view_shows_agents_who_would_inherit_a_cells_users() -> None:
    heirs = heirs_of(twin())
    assert np.allclose(np.diag(heirs), 0)
    assert (np.abs(heirs.sum(axis=1) - 1) < 0.1).all()
    proposals = EnergySaving(sleep_below=100, carry_below=1000).propose(view_of(twin(), "1"))
    assert proposals[0].revision == twin().revision


def test_noise_is_the_root_mean_square_of_residuals_and_the_networks_follows_from_all_cells() -> None:
    residuals = np.tile([[3.0], [-3.0], [3.0], [-3.0]], (1, 9))
    noise = noise_of({"RRU.PrbTotDl": residuals, "RRC.ConnMean": residuals}, twin())
    np.testing.assert_allclose(noise["RRU.PrbTotDl"], np.full(10, 3.0))  # cells err together: so does their mean
    assert noise["RRC.ConnMean"][-1] == pytest.approx(27.0)  # and their sum nine times as much
    assert np.isnan(noise["DRB.UEThpDl"]).all()
    assert by_cell(np.array([[30.0, 0.0, 3.0]]), twin()).tolist() == [[10.0] * 3 + [0.0] * 3 + [1.0] * 3]


def test_merged_evidence_is_in_scenario_order() -> None:
    shards = job(strategy(0)).waves[0]
    results = {s.shard_index: evaluate(s, twin(), "w") for s in shards}
    evidence = Evidence.merge(shards, results)
    assert evidence.classes == tuple(SMALL.scenarios.class_of(i) for i in range(len(evidence.classes)))
    assert evidence.baseline.shape == (len(evidence.classes), len(KPIS), len(CELLS) + 1)


def test_a_class_that_the_design_lacks_is_an_error() -> None:
    with pytest.raises(UnknownScenario, match="surge"):
        ScenarioSet(classes=("nominal",)).draw(twin().network, ["surge"], 2, 1, 0)
    assert "a surge of demand" in ScenarioSet(classes=("nominal",)).not_covered()

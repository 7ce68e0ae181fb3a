"""Slices in the twin: how a cell's time is shared, what is learned of it, and what other ratios would change."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.counters import EMBB, S_NSSAIS, URLLC, sliced
from schemas.names import slice_policy_dn
from schemas.strategies import ConfigChange
from schemas.topology import NetworkSlice
from tests.unit.toy_network import run
from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidConfiguration, UnknownObject
from twin_core.flow.slices import COUNTERS, Ratios, airtime
from twin_core.kpis import KPIS, kpi_index, kpis_of
from twin_core.network import Network
from twin_core.observation import PeriodObservation
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=2)


def ratios(dedicated: list[float], least: list[float], most: list[float]) -> Ratios:
    return Ratios(*(torch.tensor([v], dtype=torch.float64) for v in (dedicated, least, most)))


FREE = ratios([0, 0], [0, 0], [1, 1])


@settings(max_examples=200, deadline=None)
@given(wanted=st.lists(st.floats(0, 1.5), min_size=2, max_size=2), a=SHARES, b=SHARES, c=SHARES)
def test_nobody_gets_more_than_it_wants_or_may_nor_all_more_than_there_is(
    wanted: list[float], a: list[float], b: list[float], c: list[float]
) -> None:
    low, mid, high = (list(v) for v in zip(*(sorted(t) for t in zip(a, b, c, strict=True)), strict=True))
    scale = max(1.0, sum(mid))
    low, mid = [v / scale for v in low], [v / scale for v in mid]
    got = airtime(torch.tensor([wanted], dtype=torch.float64), ratios(low, mid, high))
    want = torch.tensor(wanted, dtype=torch.float64)
    given_, most, least = got.given[0], torch.tensor(high), torch.tensor(mid)
    assert bool((given_ <= want + 1e-9).all())
    assert bool((given_ <= most + 1e-6).all())
    assert float(given_.sum()) <= 1 + 1e-9
    assert bool((given_ >= torch.minimum(want, least) - 1e-6).all()), "what is guaranteed is given"
    for k in (0, 1):
        assert float(given_[1 - k]) <= 1 - low[k] + 1e-6, "what is dedicated is kept, used or not"


def test_without_ratios_everybody_gets_its_part_and_nothing_is_left_idle() -> None:
    full = airtime(torch.tensor([[1.2, 0.4]], dtype=torch.float64), FREE).given
    assert float(full.sum()) == pytest.approx(1.0)
    easy = torch.tensor([[0.5, 0.1]], dtype=torch.float64)
    assert torch.equal(airtime(easy, FREE).given, easy)


@lru_cache
def sliced_twin(periods: int = 6, seed: int = 0) -> Twin:
    """The toy twin with two slices: files take 90 % of the blocks, packets wait a tenth of the time."""
    made = run()
    topology = made.twin.network.topology.model_copy(
        update={"slices": tuple(NetworkSlice(s_nssai=s) for s in S_NSSAIS)}
    )
    twin, rng = Twin.create(topology), np.random.default_rng(seed)
    cells = len(twin.network.cells)
    for seen in made.observations[:periods]:
        noise = rng.lognormal(0, 0.05, cells)
        more = {
            sliced("RRU.PrbUsedDl", EMBB): 90.0 * noise, sliced("RRU.PrbUsedDl", URLLC): np.full(cells, 10.0),
            sliced("DRB.PdcpSduVolumeDL", EMBB): 9e5 * noise, sliced("DRB.PdcpSduVolumeDL", URLLC): np.full(cells, 4e4),
            sliced("DRB.UEThpDl", EMBB): seen.counter("DRB.UEThpDl", cells) * noise,
            sliced("DRB.UEThpDl", URLLC): seen.counter("DRB.UEThpDl", cells) / 2,
            sliced("DRB.RlcSduDelayDl", EMBB): 900.0 * noise, sliced("DRB.RlcSduDelayDl", URLLC): np.full(cells, 8.0),
        }  # fmt: skip
        twin = twin.apply(replace(seen, counters={**seen.counters, **more}), {})
    return twin


def set_ratio(twin: Twin, s_nssai: str, **values: float) -> Configuration:
    names = {"dedicated": "rRMPolicyDedicatedRatio", "least": "rRMPolicyMinRatio", "most": "rRMPolicyMaxRatio"}
    changes = [
        ConfigChange(change_id="1", object=slice_policy_dn(cell, s_nssai), attribute=names[name], value=value)
        for cell in twin.network.cells
        for name, value in values.items()
    ]
    return twin.configuration.with_changes(twin.network, changes)


def means(twin: Twin, configuration: Configuration) -> dict[str, torch.Tensor]:
    found = rollout(twin, configuration, Scenarios.nominal(twin.network, 1, 3)).mean()[0][0]
    return dict(zip(kpis_of(twin.network), found, strict=True))


def speed(s_nssai: str) -> str:
    return sliced("DRB.UEThpDl", s_nssai)


def delay(s_nssai: str) -> str:
    return sliced("DRB.RlcSduDelayDl", s_nssai)


def test_shares_levels_and_delays_are_learned() -> None:
    twin = sliced_twin()
    assert twin.slices.share[:, 0].numpy() == pytest.approx(0.9, abs=0.03)
    assert twin.slices.volume[:, 1].numpy() == pytest.approx(0.043, abs=0.02)
    predicted = twin.predicted
    assert tuple(predicted) == kpis_of(twin.network)
    assert float(predicted[delay(URLLC)].median()) == pytest.approx(8.0, rel=0.4)
    assert twin.fidelity[delay(URLLC)].score > 0.5
    assert not twin.fidelity[delay(URLLC)].gated


def test_ratios_change_slices_and_cells_the_way_they_should() -> None:
    twin = sliced_twin()
    now = means(twin, twin.configuration)
    tight = means(twin, set_ratio(twin, URLLC, most=4.0))
    assert bool((tight[delay(URLLC)] > 2 * now[delay(URLLC)]).all())
    assert bool((tight[speed(URLLC)] < now[speed(URLLC)]).all())
    kept = means(twin, set_ratio(twin, URLLC, least=40.0, dedicated=40.0))
    assert bool((kept[speed(EMBB)] < now[speed(EMBB)]).all())
    assert bool((kept["DRB.UEThpDl"] < now["DRB.UEThpDl"]).all()), "most of the cell's users are of that slice"
    assert bool((kept[delay(URLLC)] <= 1.001 * now[delay(URLLC)]).all())
    starved = means(twin, set_ratio(twin, EMBB, most=10.0))
    assert bool((starved["RRU.PrbTotDl"] < now["RRU.PrbTotDl"]).all())
    assert bool((starved["TL.UnservedRatio"] >= now["TL.UnservedRatio"]).all())
    assert bool((starved["DRB.PdcpSduVolumeDL"] < now["DRB.PdcpSduVolumeDL"]).all())


def test_other_ratios_of_one_cell_change_no_other_cell_and_none_that_is_down() -> None:
    twin = sliced_twin()
    own = slice_policy_dn(twin.network.cells[0], URLLC)
    changes = [
        ConfigChange(change_id=name, object=own, attribute=name, value=40.0)
        for name in ("rRMPolicyMinRatio", "rRMPolicyDedicatedRatio")
    ]
    changed = twin.configuration.with_changes(twin.network, changes)
    nominal = Scenarios.nominal(twin.network, 1, 3)
    up = nominal.cell_up.clone()
    up[:, :, 2] = False
    failed = replace(nominal, cell_up=up)
    before, after = (rollout(twin, c, failed).mean()[0][0] for c in (twin.configuration, changed))
    torch.testing.assert_close(before[:, 1:], after[:, 1:], rtol=1e-9, atol=1e-9, equal_nan=True)
    assert bool((after[:, 0] - before[:, 0]).abs().gt(1e-3).any())


def test_the_whole_cells_kpis_do_not_move_while_ratios_stay() -> None:
    twin = sliced_twin()
    plain = rollout(
        replace(twin, network=Network.of(twin.network.topology.model_copy(update={"slices": ()})),
                slices=run().twin.slices, configuration=_without_slices(twin.configuration)),
        _without_slices(twin.configuration), Scenarios.nominal(twin.network, 1, 3),
    )  # fmt: skip
    with_slices = rollout(twin, twin.configuration, Scenarios.nominal(twin.network, 1, 3))
    assert plain.kpis.shape[2] == len(KPIS)
    assert torch.equal(plain.kpis, with_slices.kpis[:, :, : len(KPIS)])
    assert torch.equal(plain.network, with_slices.network[:, :, : len(KPIS)])


def _without_slices(configuration: Configuration) -> Configuration:
    empty = torch.zeros(len(configuration.active), 0, dtype=torch.float64)
    return replace(configuration, dedicated_ratio=empty, min_ratio=empty, max_ratio=empty)


def test_snapshots_carry_slices_bit_for_bit() -> None:
    twin = sliced_twin()
    again = Twin.restore(twin.snapshot())
    assert again.state_hash() == twin.state_hash()
    assert all(torch.equal(v, getattr(again.slices, n)) for n, v in twin.slices.tensors().items())


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"most": 5.0, "least": 10.0}, "dedicated 0 <= min 10 <= max 5 does not hold"),
        ({"dedicated": 20.0}, "dedicated 20 <= min 0"),
    ],
)
def test_ratios_that_do_not_fit_together_are_refused(values: dict[str, float], why: str) -> None:
    with pytest.raises(InvalidConfiguration, match=why):
        set_ratio(sliced_twin(1), URLLC, **values)


def test_min_shares_of_all_slices_together_are_at_most_everything() -> None:
    twin = sliced_twin(1)
    half = replace(twin, configuration=set_ratio(twin, URLLC, least=60.0))
    with pytest.raises(InvalidConfiguration, match="110 % together"):
        set_ratio(half, EMBB, least=50.0)


def test_a_network_without_slices_has_none_to_set() -> None:
    twin = run().twin
    assert kpis_of(twin.network) == KPIS
    with pytest.raises(UnknownObject, match="has no slice 2-000001; it has none"):
        set_ratio(twin, URLLC, least=10.0)


def test_values_and_differences_speak_in_levers() -> None:
    twin = sliced_twin(1)
    after = set_ratio(twin, URLLC, least=10.0)
    found = twin.configuration.differences(twin.network, after)
    assert {(d.attribute, d.before, d.after) for d in found} == {("rRMPolicyMinRatio", 0.0, 10.0)}
    assert len(found) == len(twin.network.cells)


def test_missing_sub_counters_leave_what_is_known() -> None:
    twin = sliced_twin()
    last = run().observations[-1]
    silent = PeriodObservation(
        last.period_end_ms + 60_000, last.granularity_s,
        {name: values for name, values in last.counters.items() if not any(name.startswith(c + ".") for c in COUNTERS)},
    )  # fmt: skip
    after = twin.apply(silent, {})
    assert torch.allclose(after.slices.share, twin.slices.share, atol=1e-6)
    assert all(bool(torch.isfinite(v).all()) for v in after.slices.tensors().values())
    assert kpi_index("DRB.UEThpDl") == 1

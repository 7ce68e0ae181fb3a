"""Reports of one period: what must be conserved, what may only rise, and that they say what roll-outs say."""

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from infra.rendering.kpis import kpis_json, kpis_page
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, S_NSSAIS, sliced
from schemas.names import slice_policy_dn
from schemas.strategies import ConfigChange
from schemas.topology import CellSite, NetworkSlice, Topology
from tests.unit.toy_network import run
from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.exceptions import InvalidConfiguration, InvalidScenarios, InvalidSettings
from twin_core.flow.mobility_settings import MobilitySettings
from twin_core.kpis import KPIS
from twin_core.layouts import hexagonal
from twin_core.radio.mcs import LinkAdaptation
from twin_core.reporting.catalogue import (
    BY_CELL,
    BY_ELEMENT,
    BY_SLICE,
    DISTRIBUTIONS,
    MEAN_THROUGHPUT,
    MOBILITY,
    NEVER,
    PERCENTILE_NAMES,
    unit_of,
)
from twin_core.reporting.crowd import Crowd, percentiles
from twin_core.reporting.report import Report, report
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.settings import TwinSettings
from twin_core.twin import Twin

Tensor = torch.Tensor
SLICES = tuple(NetworkSlice(s_nssai=s) for s in S_NSSAIS)
# Of loads, by the tolerance of their solution.
CLOSE = 1e-3


@cache
def uneven(order: tuple[int, ...] | None = None, *, slices: bool = False) -> Topology:
    """Three sites of three cells without any symmetry, the cells in this order."""
    cells = list(hexagonal(sites=3).cells)
    moved = [
        c.model_copy(update={"x_m": c.x_m + 37.0 * (i // 3), "azimuth_deg": (c.azimuth_deg + 11.0 * i) % 360})
        for i, c in enumerate(cells)
    ]
    chosen: tuple[CellSite, ...] = tuple(moved[i] for i in order or range(len(moved)))
    return hexagonal(sites=3).model_copy(update={"cells": chosen, "slices": SLICES if slices else ()})


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


COARSE = TwinSettings(physics=replace(TwinSettings().physics, pixels_per_isd=6))


@cache
def small(*, slices: bool = False) -> Twin:
    return Twin.create(uneven(slices=slices), COARSE)


def with_demand(twin: Twin, kbps: Tensor, users: Tensor | None = None) -> Twin:
    people = twin.environment.users if users is None else users
    return replace(twin, environment=replace(twin.environment, kbps_per_user=kbps, users=people))


@st.composite
def worlds(draw: st.DrawFn, *, usual: bool = False) -> tuple[Twin, Configuration]:
    """Users here and there who ask for much or little, levers set anyhow; or, as usual, some load everywhere."""
    twin = small()
    network, random = twin.network, torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def any_of(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    pixels, cells = network.grid.pixels, len(network.cells)
    users = any_of(pixels) * (any_of(pixels) < draw(st.floats(1.0 if usual else 0.05, 1.0)))
    kbps = draw(st.floats(500.0 if usual else 1.0, 20_000.0)) * any_of(pixels)
    default = Configuration.default(network)
    cio = 6 * (any_of(cells, cells) - 0.5)
    configuration = replace(
        default,
        # Never all alike: behind two panels of a mast their gains are, and which cell is first would break the tie.
        tx_power_dbm=default.tx_power_dbm - draw(st.floats(0.5, 6 if usual else 60)) * any_of(cells),
        active=any_of(cells) < draw(st.sampled_from([1.0] if usual else [0.0, 0.5, 1.0])),
        cio_db=cio.fill_diagonal_(0),
    )
    return with_demand(twin, kbps, users), configuration


@settings(max_examples=15, deadline=None)
@given(world=worlds())
def test_users_blocks_and_traffic_are_conserved(world: tuple[Twin, Configuration]) -> None:
    twin, configuration = world
    found = report(twin, configuration)
    total = float(twin.environment.users.sum())
    whole = found.network
    assert whole["RRC.ConnMean"] + whole["TL.UncoveredUsers"] == pytest.approx(total, rel=1e-9)
    assert float(found.distributions["CARR.WBCQIDist"].sum()) == pytest.approx(whole["RRC.ConnMean"], rel=1e-9)
    assert torch.allclose(found.distributions["L1M.SS-RSRP"].sum(dim=1), found.by_cell["RRC.ConnMean"])

    used, available = found.by_cell["RRU.PrbUsedDl"], found.by_cell["RRU.PrbAvailDl"]
    assert bool((used <= available * (1 + 1e-9)).all())
    assert bool((used[~configuration.active] == 0).all())

    asked = float(twin.environment.demand_kbps.sum()) * 60
    offered, served = found.by_cell["TL.OfferedVolumeDL"], found.by_cell["DRB.PdcpSduVolumeDL"]
    assert whole["TL.OfferedVolumeDL"] == pytest.approx(asked, rel=1e-9)
    assert torch.allclose(served + found.by_cell["TL.UnservedRatio"] * offered, offered, rtol=CLOSE)
    unserved = whole["TL.UnservedRatio"] * asked
    assert whole["DRB.PdcpSduVolumeDL"] + unserved == pytest.approx(asked, rel=CLOSE)
    assert bool((found.by_cell["DRB.MeanActiveUeDl"] <= found.by_cell["RRC.ConnMean"] + 1e-9).all())
    assert bool((found.by_cell["TB.ErrTotNbrDl"] <= found.by_cell["TB.TotNbrDl"]).all())


@settings(max_examples=12, deadline=None)
@given(world=worlds(usual=True))
def test_percentiles_of_users_are_ordered_and_bracket_their_mean(world: tuple[Twin, Configuration]) -> None:
    found = report(*world)
    low, mid, high = (found.by_cell[name] for name in PERCENTILE_NAMES)
    mean, measured = found.by_cell[MEAN_THROUGHPUT], found.by_cell["DRB.UEThpDl"]
    assert bool(measured.isfinite().all())
    for below, above in ((low, mid), (mid, high), (low, mean), (mean, high)):
        assert bool((below <= above * (1 + 1e-9)).all())
    whole = [found.network[name] for name in (PERCENTILE_NAMES[0], MEAN_THROUGHPUT, PERCENTILE_NAMES[2])]
    assert whole == sorted(whole)


def test_slow_transfers_take_longer_so_throughput_is_the_harmonic_mean_of_users_who_ask_alike() -> None:
    twin = small()
    physics, e = twin.physics, twin.environment
    demand, users = e.demand_kbps.reshape(1, 1, -1), e.users.reshape(1, 1, -1)
    loads = physics.loads(demand, users, e.load)
    crowd = Crowd.of(physics, loads, demand, users)
    harmonic = 1 / crowd.mean(1 / crowd.throughput_kbps)
    assert torch.allclose(harmonic, report(twin).by_cell["DRB.UEThpDl"], rtol=0.02)
    assert bool((report(twin).by_cell[MEAN_THROUGHPUT] > harmonic).all())
    assert torch.allclose(crowd.per_cell(crowd.airtime), loads.load[0, 0], rtol=0.02)


@settings(max_examples=10, deadline=None)
@given(world=worlds(), more=st.floats(1.0, 3.0), seed=st.integers(0, 1000))
def test_more_demand_anywhere_lowers_no_load(world: tuple[Twin, Configuration], more: float, seed: int) -> None:
    twin, configuration = world
    kbps = twin.environment.kbps_per_user
    where = torch.rand(len(kbps), generator=torch.Generator().manual_seed(seed)) < 0.3
    busier = with_demand(twin, torch.where(where, kbps * more, kbps))
    before, after = (report(t, configuration).by_cell["RRU.PrbTotDl"] for t in (twin, busier))
    assert bool((after >= before - 100 * CLOSE).all())


@settings(max_examples=10, deadline=None)
@given(power=st.floats(0, 49), more_db=st.floats(0, 20), cell=st.integers(0, 8))
def test_more_power_in_an_isolated_cell_never_lowers_its_sinr(power: float, more_db: float, cell: int) -> None:
    twin = small()
    alone = torch.arange(len(twin.network.cells)) == cell
    found = []
    for dbm in (power, power + more_db):
        levers = replace(twin.configuration, active=alone, tx_power_dbm=torch.where(alone, dbm, 46.0).double())
        ground = report(twin, levers)
        everywhere = twin.physics.of(twin.network, twin.environment, levers, twin.settings).links
        found.append((everywhere.sinr(alone[None].double()), ground.by_cell["RRC.ConnMean"][cell]))
    (before, fewer), (after, louder) = found
    assert bool((after >= before * (1 - 1e-9)).all())
    assert float(louder) >= float(fewer) * (1 - 1e-9)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(9)), world=worlds())
def test_the_order_of_cells_changes_only_the_order_of_results(
    order: list[int], world: tuple[Twin, Configuration]
) -> None:
    twin, levers = world
    rows = torch.tensor(order)
    shuffled = Twin.create(uneven(tuple(order)), COARSE)
    shuffled = with_demand(shuffled, twin.environment.kbps_per_user, twin.environment.users)
    moved = replace(
        levers,
        tx_power_dbm=levers.tx_power_dbm[rows],
        active=levers.active[rows],
        cio_db=levers.cio_db[rows][:, rows],
    )
    straight, mixed = report(twin, levers), report(shuffled, moved)
    for name, value in straight.by_cell.items():
        assert torch.allclose(value[rows], mixed.by_cell[name], rtol=CLOSE, atol=1e-4, equal_nan=True), name
    for name, number in straight.network.items():
        assert mixed.network[name] == pytest.approx(number, rel=CLOSE, abs=1e-4, nan_ok=True), name


def test_float32_says_what_float64_says() -> None:
    twin = run().twin
    exact, quick = report(twin), report(twin, dtype="float32")
    for name, value in exact.by_cell.items():
        tolerance = 1e-4 * float(value.nan_to_num().abs().mean()) + 1e-6
        assert torch.allclose(value, quick.by_cell[name], rtol=1e-4, atol=tolerance, equal_nan=True), name
    for name, bins in exact.distributions.items():
        assert torch.allclose(bins, quick.distributions[name], atol=0.5), name
    with pytest.raises(InvalidSettings, match="float16"):
        report(twin, dtype="float16")


def test_a_report_says_what_the_twin_expects_and_roll_outs_give() -> None:
    twin = run().twin
    found = report(twin)
    rolled = rollout(twin, twin.configuration, Scenarios.nominal(twin.network))
    for m, name in enumerate(KPIS):
        if name in found.by_cell:
            assert torch.allclose(found.by_cell[name], twin.predicted[name]), name
        assert found.network[name] == pytest.approx(float(rolled.network[0, 0, m]), rel=1e-4, abs=1e-5), name
    later = report(twin, ahead=3)
    assert torch.allclose(later.by_cell["DRB.UEThpDl"], twin.forecast(torch.tensor([3]))[0, 1])
    assert float(found.by_element["PEE.AvgPower"].sum()) == pytest.approx(found.network["PEE.AvgPower"])
    assert torch.allclose(found.by_element["PEE.Energy"] * 60_000, found.by_element["PEE.AvgPower"])


def test_a_scenario_is_one_world_of_one_period() -> None:
    twin = run().twin
    cell = 4
    world = Scenarios.nominal(twin.network)
    world.cell_up[0, 0, cell] = False
    failed = report(twin, scenario=world)
    assert float(failed.by_cell["RRU.PrbAvailDl"][cell]) == 0
    assert bool(failed.by_cell["CARR.MaxTxPwr"][cell].isnan())
    assert float(failed.by_cell["MM.HoExeInterReq"][cell]) == 0
    assert failed.handovers is not None
    assert float(failed.handovers.attempts[:, cell].sum()) == 0
    darker = replace(Scenarios.nominal(twin.network), path_loss_offset_db=torch.full((1, 21), 5.0, dtype=torch.float64))
    lost = report(twin).by_cell["TL.MeanSsRsrp"] - report(twin, scenario=darker).by_cell["TL.MeanSsRsrp"]
    assert torch.allclose(lost, torch.full((21,), 5.0, dtype=torch.float64), atol=0.05)
    for bad in (Scenarios.nominal(twin.network, 2), Scenarios.nominal(twin.network, 1, 2)):
        with pytest.raises(InvalidScenarios, match="one world"):
            report(twin, scenario=bad)
    with pytest.raises(InvalidScenarios, match="past"):
        report(twin, ahead=0)
    with pytest.raises(InvalidConfiguration, match="21"):
        report(twin, small().configuration)


def test_slices_share_the_blocks_and_the_volume_of_their_cell() -> None:
    twin = small(slices=True)
    found = report(twin)
    for name in ("RRU.PrbUsedDl", "DRB.PdcpSduVolumeDL"):
        assert torch.allclose(found.by_slice[name].sum(dim=1), found.by_cell[name], rtol=1e-6), name
    assert set(found.by_slice) == set(BY_SLICE)
    assert all(sliced(name, s) in found.network for name in BY_SLICE for s in S_NSSAIS)

    busy = with_demand(twin, twin.environment.kbps_per_user * 40)
    first = twin.network.cells[0]
    cut = ConfigChange(
        change_id="c", object=slice_policy_dn(first, S_NSSAIS[0]), attribute="rRMPolicyMaxRatio", value=20.0
    )
    free, held = report(busy), report(busy, busy.configuration.with_changes(busy.network, [cut]))
    for name in ("RRU.PrbUsedDl", "TL.UEThpDl.P5", "TL.UEThpDl.P95"):
        assert float(held.by_slice[name][0, 0]) < float(free.by_slice[name][0, 0]), name
        assert float(held.by_slice[name][0, 1]) >= float(free.by_slice[name][0, 1]), name
    assert float(held.by_slice["RRU.PrbUsedDl"][0, 1]) > float(free.by_slice["RRU.PrbUsedDl"][0, 1])


def test_handovers_follow_bias_and_what_the_map_leaves() -> None:
    twin = run().twin
    base = report(twin)
    assert base.handovers is not None
    for name in MOBILITY:
        assert float(base.by_cell[name].min()) >= 0
    tried = base.by_cell["MM.HoExeInterReq"]
    assert torch.allclose(tried, base.by_cell["MM.HoExeInterSucc"] + base.by_cell["MM.HoExeInterFail"])
    rough = replace(twin.settings, mobility=MobilitySettings(unmapped_db=6.0))
    assert report(replace(twin, settings=rough)).network["TL.HoPingPong"] > 1.5 * base.network["TL.HoPingPong"]
    back = TwinSettings.from_json(rough.to_json())
    assert back.mobility == rough.mobility
    # With a map as exact as measurements are, shadow_db does not matter.
    assert MobilitySettings(shadow_db=1.0).on_a_learned_map.shadow_db == 1.0


def test_what_is_not_computed_is_named_with_its_reason() -> None:
    twin = small()
    found = report(twin)
    known = {*found.by_cell, *found.by_element, *found.missing}
    plain = {name for name in CELL_COUNTERS if not name.endswith(S_NSSAIS)}
    assert known >= plain | set(ELEMENT_COUNTERS)
    assert not set(found.by_cell) & set(NEVER)
    assert found.missing["DRB.UEThpDl.SNSSAI"] == "the network has no slices"

    places = twin.network.at(torch.tensor([10.0, 300.0]), torch.tensor([40.0, -60.0]))
    there = replace(twin, network=places, environment=Environment.prior(places, twin.settings))
    single = report(there)
    assert single.handovers is None
    assert all("area of pixels" in single.missing[name] for name in MOBILITY)
    assert not set(single.by_cell) & set(MOBILITY)
    assert single.network["RRC.ConnMean"] == pytest.approx(float(there.environment.users.sum()), rel=1e-3)


def test_every_kpi_has_a_unit_and_a_place_in_the_documentation() -> None:
    text = Path("docs/kpis.md").read_text()
    for name in (*BY_CELL, *BY_ELEMENT, *DISTRIBUTIONS):
        assert unit_of(name)
        row = next((line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line), None)
        assert row is not None, f"{name} has no row in docs/kpis.md"
        assert f"| {unit_of(name)} |" in row, name
    for name in NEVER:
        assert f"`{name}`" in text, name


def test_errors_of_blocks_stay_below_the_target_and_grow_as_radio_worsens() -> None:
    twin = run().twin
    near, far = report(twin), report(with_demand(twin, twin.environment.kbps_per_user * 4))
    rates = [r.network["TB.ErrTotNbrDl"] / r.network["TB.TotNbrDl"] for r in (near, far)]
    assert 0 < rates[0] < rates[1] < LinkAdaptation().target_bler


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 3), st.integers(0, 2)), max_size=40))
def test_percentiles_lie_within_their_group(values: list[tuple[float, float, int]]) -> None:
    v, w, g = torch.tensor(values, dtype=torch.float64).reshape(-1, 3).unbind(dim=1)
    found = percentiles(v, w, g.long(), 3)
    for k in range(3):
        own = v[(g == k) & (w > 0)]
        if not len(own):
            assert bool(found[:, k].isnan().all())
            continue
        assert bool((found[:, k] >= own.min()).all() and (found[:, k] <= own.max()).all())
        assert bool((found[1:, k] >= found[:-1, k]).all())


def test_pages_show_the_network_or_named_cells() -> None:
    twin = small(slices=True)
    found: Report = report(twin)
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(kpis_page(found))
    console.print(kpis_page(found, [2]))
    text = console.export_text()
    for told in ("TL.UEThpDl.P5", "kbit/s", "0.1 dBm", "kWh (element)", "median", "gnb1-3", "no uplink"):
        assert told in text
    document = kpis_json(found, [2])
    assert list(document["cells"]) == [twin.network.cells[2]]
    assert set(document["units"]) >= set(document["cells"][twin.network.cells[2]])
    assert len(document["distributions"]["CARR.WBCQIDist"][twin.network.cells[2]]) == 16

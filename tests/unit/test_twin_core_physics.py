"""Antenna, link, handover, load and power: what must hold whatever the numbers are."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_core.configuration import Configuration
from twin_core.environment import LEAD_DB, Environment
from twin_core.exceptions import EmptyNetwork
from twin_core.fit.demand_fit import spread
from twin_core.flow.busy import BusyCurve
from twin_core.flow.fairness import served_share
from twin_core.flow.load import need_of
from twin_core.grid import Grid
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.physics import Physics
from twin_core.radio import antenna, link
from twin_core.radio.handover import attach
from twin_core.settings import PhysicsSettings, TwinSettings

SETTINGS = TwinSettings()
NETWORK = Network.of(hexagonal(sites=7))
ENVIRONMENT = Environment.prior(NETWORK, SETTINGS)
CONFIGURATION = Configuration.default(NETWORK)
PHYSICS = Physics.of(NETWORK, ENVIRONMENT, CONFIGURATION, SETTINGS)
START = torch.full((21,), 0.3, dtype=torch.float64)


def _seen(azimuth_deg: float, down_deg: float, height: float = 25.0) -> antenna.Directions:
    """A pixel at that direction from an antenna that looks north without mechanical tilt."""
    away = (height - 1.5) / math.tan(math.radians(down_deg))
    one = [[away * math.sin(math.radians(azimuth_deg))]], [[away * math.cos(math.radians(azimuth_deg))]]
    dx, dy = (torch.tensor(v, dtype=torch.float64) for v in one)
    zero = torch.zeros(1, dtype=torch.float64)
    return antenna.directions(dx, dy, torch.tensor([height], dtype=torch.float64), zero, zero)


def _gain(azimuth_deg: float, down_deg: float, tilt_deg: float, turned_deg: float = 0.0) -> float:
    tilt, turned = (torch.tensor([v], dtype=torch.float64) for v in (tilt_deg, turned_deg))
    return float(antenna.gain_dbi(_seen(azimuth_deg, down_deg), tilt, turned))


@given(azimuth=st.floats(-180, 180), down=st.floats(1, 80), tilt=st.floats(0, 15))
@settings(max_examples=25, deadline=None)
def test_no_direction_gains_more_than_boresight_or_less_than_the_floor(
    azimuth: float, down: float, tilt: float
) -> None:
    peak = 8 + 10 * math.log10(antenna.ROWS)
    assert peak - 30 - 1e-9 <= _gain(azimuth, down, tilt) <= peak + 1e-9


@given(tilt=st.floats(2, 12))
@settings(max_examples=10, deadline=None)
def test_electrical_tilt_points_the_beam(tilt: float) -> None:
    there = [_gain(0, down, tilt) for down in (tilt - 1.5, tilt, tilt + 1.5)]
    # The element itself looks at the horizon, which pulls the peak up by a fraction of a degree.
    assert there[1] > there[2]
    assert there[1] > there[0] - 0.15


def test_a_pattern_is_three_decibels_down_at_half_its_width() -> None:
    assert _gain(0, 2, 2) - _gain(32.5, 2, 2) == pytest.approx(3, abs=0.02)
    assert _gain(32.5, 2, 2, turned_deg=32.5) == pytest.approx(_gain(0, 2, 2), abs=0.02)


def test_mechanical_tilt_turns_the_panel() -> None:
    dx, dy = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 300.0, dtype=torch.float64)
    height, zero = torch.tensor([25.0], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    down = math.degrees(math.atan2(23.5, 300))
    level = antenna.directions(dx, dy, height, zero, torch.tensor([down], dtype=torch.float64))
    assert float(level.cos_zenith) == pytest.approx(0, abs=1e-9)
    assert float(level.azimuth_deg) == pytest.approx(0, abs=1e-9)


@given(st.floats(-20, 36), st.floats(0.01, 3), st.sampled_from([2.0, 3.5, 6.0]))
@settings(max_examples=25, deadline=None)
def test_efficiency_rises_with_sinr_but_never_faster(sinr_db: float, more_db: float, spread_db: float) -> None:
    low, high = 10 ** (sinr_db / 10), 10 ** ((sinr_db + more_db) / 10)
    a, b = link.efficiency(torch.tensor([low, high], dtype=torch.float64), spread_db).tolist()
    assert 0 < a <= b <= link.CQI_EFFICIENCY[-1] + 1e-9
    assert b / a <= high / low * (1 + 1e-4)  # the table is linear between its nodes


def test_efficiency_is_the_same_in_both_precisions() -> None:
    sinr = torch.logspace(-3, 4, 500, dtype=torch.float64)
    single = link.efficiency(sinr.float(), 3.0).double()
    assert torch.allclose(single, link.efficiency(sinr, 3.0), rtol=2e-5, atol=1e-6)


def test_cqi_follows_its_thresholds() -> None:
    thresholds = link.cqi_thresholds_db()
    assert list(thresholds) == sorted(thresholds)
    assert link.cqi_of(torch.tensor([-20.0, thresholds[0] + 0.01, 50.0])).tolist() == [0, 1, 15]


@given(st.lists(st.floats(-120, -60), min_size=21, max_size=21), st.integers(0, 20), st.floats(0.5, 8))
@settings(max_examples=25, deadline=None)
def test_every_user_is_served_once(levels: list[float], off: int, softness: float) -> None:
    rsrp = torch.tensor([levels], dtype=torch.float64)
    on_air = torch.ones(21, dtype=torch.bool)
    on_air[off] = False
    found = attach(rsrp, torch.zeros(21, 21, dtype=torch.float64), on_air, softness, PhysicsSettings())
    assert float(found.share.sum()) == pytest.approx(1)
    assert off not in found.cell.tolist()
    largest = int(found.cell[found.share.argmax()])
    assert float(rsrp[0, largest]) == pytest.approx(float(rsrp[0, on_air].max()))  # equals to the last bit share alike


@given(step=st.floats(0.5, 6))
@settings(max_examples=10, deadline=None)
def test_a_bias_moves_the_border_towards_the_biased_cell(step: float) -> None:
    cio = torch.zeros(21, 21, dtype=torch.float64)
    serving, target = 0, NETWORK.neighbours[0][0]
    before = PHYSICS.attachment.per_cell(ENVIRONMENT.users, 21)
    cio[serving, target] = step
    after = attach(PHYSICS.rsrp, cio, PHYSICS.on_air, 2.0, PhysicsSettings()).per_cell(ENVIRONMENT.users, 21)
    assert after[serving] < before[serving]
    assert after[target] > before[target]
    assert float(after.sum()) == pytest.approx(float(before.sum()))


def test_users_of_a_cell_that_goes_off_the_air_are_served_worse_by_its_neighbours() -> None:
    off = CONFIGURATION.with_active(torch.arange(21) != 0)
    after = Physics.of(NETWORK, ENVIRONMENT, off, SETTINGS)
    inside = PHYSICS.attachment.dense(21)[:, 0] > 0.9
    heirs = after.attachment.dense(21)[inside]
    assert heirs[:, 0].sum() == 0
    assert set(heirs.sum(dim=0).topk(2).indices.tolist()) <= set(NETWORK.neighbours[0])
    best = [torch.where(p.on_air, p.rsrp, -torch.inf).max(dim=1).values[inside] for p in (PHYSICS, after)]
    assert bool((best[1] < best[0]).all())


def test_a_decibel_of_power_is_a_decibel_of_sinr_far_from_borders() -> None:
    learned = replace(ENVIRONMENT, uplift_sum=torch.tensor([8.0, 5, 3, 2, 1, 0, -1], dtype=torch.float64) * 1e6)
    learned = replace(learned, uplift_weight=torch.full((len(LEAD_DB),), 1e6, dtype=torch.float64))
    before = Physics.of(NETWORK, learned, CONFIGURATION, SETTINGS)
    weaker = replace(CONFIGURATION, tx_power_dbm=CONFIGURATION.tx_power_dbm - 3 * (torch.arange(21) == 0))
    after = Physics.of(NETWORK, learned, weaker, SETTINGS, usual_rsrp=before.rsrp)
    own = [(p.attachment.cell == 0) & (p.attachment.lead_db > 6) for p in (before, after)]
    pixels = [set(p.attachment.pixel[o].tolist()) for p, o in zip((before, after), own, strict=True)]
    for pixel in pixels[0] & pixels[1]:
        was, now = (
            float(p.links.signal[(p.attachment.pixel == pixel) & o]) for p, o in zip((before, after), own, strict=True)
        )
        assert 10 * math.log10(was / now) == pytest.approx(3, abs=1e-6)


def _loads(factor: float, start: float = 0.3, periods: int = 1) -> torch.Tensor:
    demand = ENVIRONMENT.demand_kbps[None].expand(periods, -1) * factor
    users = ENVIRONMENT.users[None].expand(periods, -1)
    solved = PHYSICS.loads(demand, users, torch.full((21,), start, dtype=torch.float64))
    assert solved.converged
    return solved.load


@given(st.floats(0.05, 8), st.floats(0.0, 1.0))
@settings(max_examples=10, deadline=None)
def test_the_solution_reproduces_itself_wherever_it_starts(factor: float, start: float) -> None:
    load = _loads(factor, start)
    on_links = PHYSICS.links.on_links(ENVIRONMENT.demand_kbps[None] * factor)
    assert torch.allclose(need_of(PHYSICS.links, on_links, load).clamp_max(1), load, atol=2e-3)


@given(st.floats(0.1, 3), st.floats(1.05, 3))
@settings(max_examples=10, deadline=None)
def test_more_traffic_never_means_less_load(factor: float, more: float) -> None:
    assert bool((_loads(factor * more) >= _loads(factor) - 1e-3).all())


def test_what_is_offered_below_capacity_is_served() -> None:
    demand, users = ENVIRONMENT.demand_kbps[None], ENVIRONMENT.users[None]
    solved = PHYSICS.loads(demand, users, START)
    assert torch.allclose(solved.served_kbps, solved.offered_kbps, rtol=1e-3)
    assert float(solved.offered_kbps.sum()) == pytest.approx(float(demand.sum()), rel=1e-3)
    assert float(solved.backlog_kbps.abs().max()) == 0


def test_an_overloaded_cell_is_full_and_its_backlog_is_worked_off() -> None:
    demand = torch.stack([ENVIRONMENT.demand_kbps * f for f in (40.0, 0.2, 0.2, 0.2)])
    users = ENVIRONMENT.users.expand(4, -1)
    solved = PHYSICS.loads(demand, users, START)
    full = solved.load[0] > 0.999
    assert bool(full.any())
    assert bool((solved.served_kbps[0] < solved.offered_kbps[0])[full].all())
    assert bool((solved.backlog_kbps[0] > 0)[full].all())
    # The next period serves more than it is offered.
    assert bool((solved.served_kbps[1] > solved.offered_kbps[1])[full].all())
    assert float(solved.backlog_kbps[3].max()) < float(solved.backlog_kbps[0].max()) * 0.01
    lost = solved.offered_kbps.sum(0) - solved.served_kbps.sum(0) - solved.backlog_kbps[-1]
    assert bool((lost >= -1e-2 * solved.offered_kbps.sum(0)).all())


def test_equal_airtime_cuts_bad_radio_short_and_delivers_more_than_the_mix_would() -> None:
    links = PHYSICS.links
    on_links = links.on_links(ENVIRONMENT.demand_kbps[None] * 40)
    rate = links.full_rate_kbps(torch.ones(1, 21, dtype=torch.float64))
    airtime = on_links / rate
    each = airtime / links.on_links(ENVIRONMENT.users[None])
    share = served_share(airtime, each, links, links.busy.need[-1])
    need = links.per_cell(airtime)
    assert bool((need > 1).all())
    assert torch.allclose(links.per_cell(airtime * share), torch.ones_like(need), atol=1e-3)
    assert bool((links.per_cell(on_links * share) > links.per_cell(on_links) / need).all())
    mine = links.of_cell == 0
    order = rate[mine, 0].argsort()
    assert bool((share[mine, 0][order].diff() >= -1e-9).all())


def test_links_add_up_like_a_plain_sum() -> None:
    links = PHYSICS.links
    values = torch.rand(len(links.signal), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain = np.stack([np.bincount(links.of_cell.numpy(), values[:, k].numpy(), 21) for k in range(3)])
    assert np.allclose(links.per_cell(values).numpy(), plain)


def test_a_network_without_load_still_has_capacity() -> None:
    solved = PHYSICS.loads(torch.zeros(1, NETWORK.grid.pixels, dtype=torch.float64), ENVIRONMENT.users[None], START)
    assert float(solved.load.max()) == 0
    need = need_of(PHYSICS.links, PHYSICS.links.on_links(ENVIRONMENT.demand_kbps[None]), solved.load)
    assert bool((need > 0).all())


@given(st.lists(st.floats(-0.4, 0.4), min_size=5, max_size=5), st.floats(0, 2), st.floats(0, 0.5))
@settings(max_examples=25, deadline=None)
def test_load_rises_with_need_whatever_the_busy_curve(log: list[float], need: float, more: float) -> None:
    curve = BusyCurve.of(torch.tensor(log, dtype=torch.float64), torch.float64, "cpu")
    low, high = curve.load_for(torch.tensor([need, need + more], dtype=torch.float64)).tolist()
    assert 0 <= low <= high <= 1


@given(st.lists(st.floats(1e3, 1e6), min_size=21, max_size=21), st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_a_demand_map_gives_back_what_cells_served(served: list[float], unknown: int) -> None:
    target = torch.tensor(served, dtype=torch.float64)
    target[unknown] = torch.nan
    fitted = spread(ENVIRONMENT.demand_kbps, PHYSICS.attachment, target, rounds=40)
    sums = PHYSICS.attachment.per_cell(fitted, 21)
    known = ~target.isnan()
    assert bool((fitted >= 0).all())
    assert float((sums - target)[known].abs().sum()) <= 0.25 * float(target[known].sum()) + 1


@given(st.integers(1, 4), st.floats(50, 3000))
@settings(max_examples=15, deadline=None)
def test_pixels_lie_around_sites_and_find_themselves(sites: int, isd: float) -> None:
    x, y = np.arange(sites, dtype=np.float64) * isd, np.zeros(sites)
    grid = Grid.around(x, y, 10)
    assert 100 < grid.pixels < 400 * sites
    own = grid.pixel_of(grid.x_m.numpy(), grid.y_m.numpy())
    assert np.array_equal(own, np.arange(grid.pixels))
    far = grid.pixel_of(np.array([1e6]), np.array([-1e6]))
    assert 0 <= far[0] < grid.pixels


def test_smoothing_spreads_a_point_evenly_and_fades() -> None:
    grid = NETWORK.grid
    point = torch.zeros(grid.pixels, dtype=torch.float64)
    middle = int((grid.x_m.abs() + grid.y_m.abs()).argmin())
    point[middle] = 1
    near = grid.smooth(point, 50.0)
    expected = torch.exp(-((grid.x_m - grid.x_m[middle]).abs() + (grid.y_m - grid.y_m[middle]).abs()) / 50.0)
    assert torch.allclose(near, expected)


def test_a_network_needs_a_cell() -> None:
    with pytest.raises(EmptyNetwork, match="at least one"):
        Grid.around(np.zeros(0), np.zeros(0), 10)
    with pytest.raises(EmptyNetwork, match="at least one"):
        hexagonal(sites=0)

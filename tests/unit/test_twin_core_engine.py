"""The engine's fast ways against its plain ones: sparse against dense, many configurations against one, positions."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.exceptions import EmptyNetwork, InvalidConfiguration, InvalidSettings, InvalidSurvey
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.physics import Physics
from twin_core.radio.antenna import gain_dbi
from twin_core.radio.coverage import moved_rsrp
from twin_core.radio.drop import DropSettings, drop
from twin_core.radio.interference import Interference
from twin_core.radio.position_gains import PositionGains
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.settings import PhysicsSettings, TwinSettings
from twin_core.twin import Twin

# So exact that what is left of the difference between two ways is theirs, not the iteration's.
SETTINGS = TwinSettings(physics=PhysicsSettings(tolerance=1e-6, max_iterations=300))
NETWORK = Network.of(hexagonal(sites=7))
CELLS, PIXELS = len(NETWORK.cells), NETWORK.grid.pixels
START = torch.full((CELLS,), 0.3, dtype=torch.float64)
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _random(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _environment() -> Environment:
    """Propagation without the symmetry of the layout, in which interferers would be equally strong."""
    prior = Environment.prior(NETWORK, SETTINGS)
    odd = 30 * torch.randn(PIXELS, CELLS, generator=_random(5))
    return replace(prior, shadow_sum=odd, shadow_weight=torch.full((PIXELS, CELLS), 5.0))


ENVIRONMENT = _environment()


def _varied(count: int, *, biased: bool = True) -> list[Configuration]:
    """Configurations of other powers, offsets and cells asleep; the first is the default."""
    base, random = Configuration.default(NETWORK), _random(2)
    out = [base]
    for _ in range(count - 1):
        cio = base.cio_db.clone()
        for cell in range(CELLS if biased else 0):
            cio[cell, NETWORK.neighbours[cell][0]] = float(torch.randint(-4, 5, (), generator=random))
        power = base.tx_power_dbm - 6 * torch.rand(CELLS, generator=random, dtype=torch.float64)
        awake = torch.rand(CELLS, generator=random) > 0.1
        out.append(replace(base, tx_power_dbm=power, cio_db=cio, active=awake))
    return out


def _kpis(physics: Physics, demand: torch.Tensor, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    start = START.to(demand)
    loads = physics.loads(demand, users, start)
    assert loads.converged
    return physics.kpis(loads, demand, users)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_many_configurations_at_once_are_each_what_they_are_alone(scale: float) -> None:
    varied = _varied(9)
    demand, users = scale * ENVIRONMENT.demand_kbps, ENVIRONMENT.users
    many = Physics.of_many(NETWORK, ENVIRONMENT, varied, SETTINGS)
    shape = (len(varied), 1, PIXELS)
    cells, network = _kpis(many, demand.expand(shape), users.expand(shape))
    for i, configuration in enumerate(varied):
        one = Physics.of(NETWORK, ENVIRONMENT, configuration, SETTINGS)
        alone, whole = _kpis(one, demand[None], users[None])
        assert torch.equal(cells[i].isnan(), alone.isnan())
        # A share just under 1 % may be kept or not, and a seventh loudest interferer is never the strongest.
        assert torch.allclose(cells[i].nan_to_num(), alone.nan_to_num(), rtol=5e-3, atol=1e-3)
        assert torch.allclose(network[i], whole, rtol=1e-3)


def test_learned_uplift_holds_in_many_configurations_as_in_one() -> None:
    knots = torch.linspace(3, -2, len(ENVIRONMENT.uplift_sum), dtype=torch.float64)
    learned = replace(ENVIRONMENT, uplift_sum=500 * knots, uplift_weight=torch.full_like(knots, 500.0))
    varied = _varied(3)
    usual = Physics.of(NETWORK, learned, varied[0], SETTINGS).rsrp
    shape = (3, 1, PIXELS)
    many = Physics.of_many(NETWORK, learned, varied, SETTINGS, usual_rsrp=usual)
    cells, _ = _kpis(many, learned.demand_kbps.expand(shape), learned.users.expand(shape))
    one = Physics.of(NETWORK, learned, varied[2], SETTINGS, usual_rsrp=usual)
    alone, _ = _kpis(one, learned.demand_kbps[None], learned.users[None])
    assert torch.allclose(cells[2].nan_to_num(), alone.nan_to_num(), rtol=1e-4, atol=1e-3)


def test_a_changed_antenna_alone_is_found_anew() -> None:
    base = Configuration.default(NETWORK)
    tilt, power, turned = base.tilt_deg.clone(), base.tx_power_dbm.clone(), base.azimuth_deg.clone()
    tilt[3], power[5], turned[7] = 11.0, power[5] - 4, -15.0
    other = replace(base, tilt_deg=tilt, tx_power_dbm=power, azimuth_deg=turned)
    before, after = (Physics.of(NETWORK, ENVIRONMENT, c, SETTINGS).rsrp for c in (base, other))
    assert torch.allclose(moved_rsrp(NETWORK, before, base, other), after, rtol=0, atol=1e-9)
    assert moved_rsrp(NETWORK, before, base, replace(base)) is before


def test_sinr_under_other_powers_with_attachment_held_follows_from_links() -> None:
    base = Configuration.default(NETWORK)
    random = _random(9)
    load, power = (0.1 + 0.8 * torch.rand(6, CELLS, generator=random, dtype=torch.float64) for _ in range(2))
    one = Physics.of(NETWORK, ENVIRONMENT, base, SETTINGS).links
    many = Physics.of_many(NETWORK, ENVIRONMENT, [base], SETTINGS).links
    gain, noise = one.sinr(torch.zeros(1, CELLS, dtype=torch.float64)), one.sinr(load, power)
    assert torch.allclose(noise, many.sinr(load, power), rtol=1e-9)
    # Twice the power at half the load disturbs as before, and is heard twice as well.
    assert torch.allclose(one.sinr(load / 2, 2 * power), 2 * noise, rtol=1e-9)
    assert torch.allclose(one.sinr(torch.zeros_like(load), power), gain * power.T[one.of_cell], rtol=1e-9)


def test_a_twin_may_count_block_errors_and_retransmissions() -> None:
    rates = []
    load = torch.full((1, CELLS), 0.5, dtype=torch.float64)
    for curve in ("shannon", "mcs"):
        settings = replace(SETTINGS, physics=replace(SETTINGS.physics, link_curve=curve))
        assert TwinSettings.from_json(settings.to_json()) == settings
        physics = Physics.of(NETWORK, ENVIRONMENT, Configuration.default(NETWORK), settings)
        rates.append(physics.links.full_rate_kbps(load))
    assert bool((rates[0] != rates[1]).any())
    assert 0.5 < float((rates[1] / rates[0]).median()) < 2
    with pytest.raises(InvalidSettings, match="shannon or mcs"):
        replace(SETTINGS, physics=replace(SETTINGS.physics, link_curve="magic"))


def test_beams_that_look_elsewhere_cannot_share_gains() -> None:
    tilted = replace(Configuration.default(NETWORK), tilt_deg=torch.full((CELLS,), 9.0, dtype=torch.float64))
    with pytest.raises(InvalidConfiguration, match="tilt"):
        Physics.of_many(NETWORK, ENVIRONMENT, [Configuration.default(NETWORK), tilted], SETTINGS)
    with pytest.raises(InvalidConfiguration, match="at least one"):
        Physics.of_many(NETWORK, ENVIRONMENT, [], SETTINGS)


@pytest.mark.parametrize("device", DEVICES)
def test_single_precision_and_every_device_agree_with_double_precision(device: str) -> None:
    varied = _varied(5)
    shape = (5, 1, PIXELS)
    demand, users = ENVIRONMENT.demand_kbps.expand(shape), ENVIRONMENT.users.expand(shape)
    double, _ = _kpis(Physics.of_many(NETWORK, ENVIRONMENT, varied, SETTINGS), demand, users)
    single = Physics.of_many(NETWORK, ENVIRONMENT, varied, SETTINGS, dtype=torch.float32, device=device)
    there = [t.to(device, torch.float32) for t in (demand, users)]
    found, _ = _kpis(single, there[0], there[1])
    assert torch.allclose(found.cpu().double().nan_to_num(), double.nan_to_num(), rtol=1e-4, atol=1e-3)


def test_sinr_of_links_is_signal_over_all_that_is_not() -> None:
    physics = Physics.of(NETWORK, ENVIRONMENT, Configuration.default(NETWORK), SETTINGS)
    load = torch.rand(1, CELLS, generator=_random(), dtype=torch.float64)
    links, gain = physics.links, 10 ** (physics.rsrp / 10)
    noise = 10 ** ((NETWORK.thermal_noise_dbm[0] + SETTINGS.physics.noise_figure_db) / 10)
    own = gain[links.of_pixel, links.of_cell]
    others = (gain * load).sum(dim=1)[links.of_pixel] - own * load[0, links.of_cell]
    assert torch.allclose(links.sinr(load)[:, 0], own / (others + noise), rtol=1e-9)


@pytest.mark.parametrize("spread", [0.2, 0.8])
def test_sparse_interference_is_within_a_tenth_of_a_decibel(spread: float) -> None:
    layout = hexagonal(sites=61)
    world = drop(layout, 1500, 4, DropSettings(indoor_share=0.0))
    serving = world.gain_db.argmax(dim=1)
    order = torch.argsort(serving)
    gain = 10 ** ((world.gain_db[order] + 120) / 10)
    cell = serving[order, None]
    signal, others = gain.gather(1, cell), gain.scatter(1, cell, 0.0)
    load = 0.5 + spread * (torch.rand(len(layout.cells), 16, generator=_random(), dtype=torch.float64) - 0.5)
    dense, sparse = (Interference.of(others, reach).at(load) for reach in (10_000, SETTINGS.physics.interferers))
    error = 10 * (torch.log10(signal / (dense + 1)) - torch.log10(signal / (sparse + 1))).abs()
    assert float(np.quantile(error.numpy(), 0.95)) < 0.1
    assert Interference.of(others, SETTINGS.physics.interferers).gain.numel() < 0.6 * others.numel()


def test_interference_that_is_kept_less_finely_is_never_less_in_all() -> None:
    gain = torch.rand(100, 40, generator=_random(), dtype=torch.float64)
    whole = torch.ones(40, 1, dtype=torch.float64)
    dense = Interference.of(gain, 40).at(whole)
    for reach in (4, 16, 39):
        assert torch.allclose(Interference.of(gain, reach).at(whole), dense)


@pytest.mark.parametrize("mechanical", [0.0, 4.0])
def test_gains_by_position_are_those_of_the_map(mechanical: float) -> None:
    layout = hexagonal(sites=7, carriers_ghz=(0.7, 3.5))
    cells = tuple(c.model_copy(update={"mechanical_tilt_deg": mechanical}) for c in layout.cells)
    layout = layout.model_copy(update={"cells": cells})
    x, y = 1600 * torch.rand(2, 500, generator=_random()) - 800
    network, tilt = Network.of(layout).at(x, y), torch.linspace(2, 10, 42, dtype=torch.float64)
    turned = torch.linspace(-20, 20, 42, dtype=torch.float64)
    exact = gain_dbi(network.seen, tilt, turned) - network.loss_db
    if mechanical == 0:  # there the electrical azimuth turns the panel, as the fast way has it
        quick = 10 * PositionGains.of(layout, tilt, turned).at(x, y).double().log10()
        assert float((quick - exact).abs().quantile(0.999)) < 0.02
    flat = torch.zeros_like(turned)
    exact = gain_dbi(network.seen, tilt, flat) - network.loss_db
    quick = 10 * PositionGains.of(layout, tilt, flat).at(x, y).double().log10()
    assert float((quick - exact).abs().quantile(0.999)) < 0.02


def test_gains_by_position_refuse_what_they_do_not_know() -> None:
    endless = hexagonal(sites=7, wraparound=True)
    flat = torch.zeros(21, dtype=torch.float64)
    with pytest.raises(InvalidSettings, match="wraparound"):
        PositionGains.of(endless, flat, flat)


def test_a_network_seen_from_places_has_no_map() -> None:
    there = torch.tensor([0.0, 100.0])
    seen = NETWORK.at(there, there)
    assert seen.loss_db.shape == (2, CELLS)
    with pytest.raises(EmptyNetwork, match="no area"):
        _ = seen.grid
    with pytest.raises(EmptyNetwork, match="at least one"):
        NETWORK.at(there[:0], there[:0])
    with pytest.raises(InvalidSurvey, match="not finite"):
        NETWORK.at(there, there * torch.nan)


def test_more_power_for_an_isolated_cell_never_lowers_its_sinr() -> None:
    lone = Network.of(hexagonal(sites=1))
    environment, base = Environment.prior(lone, SETTINGS), Configuration.default(lone)
    off = torch.tensor([True, False, False])
    stronger = [replace(base, active=off, tx_power_dbm=base.tx_power_dbm + step) for step in (-6.0, -3.0, 0.0)]
    load = torch.full((1, 3), 0.5, dtype=torch.float64)
    sinr = [Physics.of(lone, environment, c, SETTINGS).links.sinr(load) for c in stronger]
    assert all(bool((after > before).all()) for before, after in pairwise(sinr))


@pytest.mark.parametrize("lever", ["tx_power_dbm", "tilt_deg", "cio_db"])
def test_a_lever_that_is_no_number_is_refused_before_anything_is_rolled_out(lever: str) -> None:
    twin = Twin.create(hexagonal(sites=1))
    broken = replace(twin.configuration, **{lever: getattr(twin.configuration, lever) * torch.nan})
    with pytest.raises(InvalidConfiguration, match=lever):
        rollout(twin, broken, Scenarios.nominal(twin.network))

"""The reference network's parts: draws, layout, propagation, antennas, sharing, parameters."""

import numpy as np
import pytest

from infra.network.draws import Draws, Purpose, entities
from infra.network.exceptions import BadParameters
from infra.network.layout import Sites, hexagon
from infra.network.link import cqi, full_rate_kbps, spectral_efficiency
from infra.network.parameters import Parameters
from infra.network.radio import Radio, beam_db
from infra.network.scheduler import share
from infra.network.terrain import Terrain, path_loss_db

SHIPPED = Parameters.load()


def test_a_draw_depends_on_seed_purpose_time_and_entity_alone() -> None:
    draws, users = Draws(3), entities(np.arange(50))
    all_of_them = draws.uniform(Purpose.LEG, 9, users)
    assert np.array_equal(draws.uniform(Purpose.LEG, 9, users[::-1])[::-1], all_of_them)
    assert np.array_equal(draws.uniform(Purpose.LEG, [8, 9], users)[1], all_of_them)
    assert not np.array_equal(draws.uniform(Purpose.LEG, 10, users), all_of_them)
    assert not np.array_equal(draws.uniform(Purpose.REST, 9, users), all_of_them)
    assert not np.array_equal(Draws(4).uniform(Purpose.LEG, 9, users), all_of_them)


def test_draws_are_uniform_normal_and_uncorrelated() -> None:
    draws, who = Draws(1), entities(np.arange(200)[:, None], np.arange(50)[None, :])
    u = draws.uniform(Purpose.LEG, 0, who)
    assert u.mean() == pytest.approx(0.5, abs=0.01)
    assert u.var() == pytest.approx(1 / 12, abs=0.003)
    z = draws.normals(Purpose.MEASUREMENT, 0, who)
    assert z.shape == (200, 200)
    assert z.mean() == pytest.approx(0, abs=0.02)
    assert z.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(u[:, 0], u[:, 1])[0, 1]) < 0.25
    assert abs(np.corrcoef(u.ravel(), draws.uniform(Purpose.LEG, 1, who).ravel())[0, 1]) < 0.04


@pytest.mark.parametrize(("sites", "cells"), [(7, 21), (19, 57)])
def test_sites_stand_an_inter_site_distance_apart(sites: int, cells: int) -> None:
    xy = hexagon(sites, 500.0)
    apart = np.hypot(*(xy[:, None, :] - xy[None, :, :]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    assert apart.min(axis=1) == pytest.approx(500.0)
    topology = Sites.build(Parameters.load(overrides={"layout.sites": sites}), "n").topology
    assert len(topology.cells) == cells
    assert len(topology.managed_elements) == sites


def test_loss_grows_with_distance_and_is_steeper_beyond_the_corner() -> None:
    law = SHIPPED.propagation
    d = np.array([100.0, 200.0, law.corner_m, 400.0, 800.0])
    loss = path_loss_db(d, law)
    assert (np.diff(loss) > 0).all()
    per_octave = loss[1] - loss[0], loss[4] - loss[3]
    assert per_octave[1] > per_octave[0]
    assert path_loss_db(np.array([law.corner_m - 1e-6, law.corner_m + 1e-6]), law)[0] == pytest.approx(
        loss[2], abs=1e-4
    )


def test_a_beam_loses_3_db_at_half_its_width_and_never_more_than_its_floor() -> None:
    assert beam_db(np.array([0.0]), 68.0, 24.0)[0] == 0
    assert beam_db(np.array([34.0]), 68.0, 24.0)[0] == pytest.approx(3, abs=0.25)
    assert 22 < beam_db(np.array([180.0]), 68.0, 24.0)[0] < 24


def test_tilting_down_helps_near_and_hurts_far() -> None:
    sites = Sites.build(SHIPPED, "n")
    terrain = Terrain.draw(sites, SHIPPED, Draws(1))
    low = Radio(sites, terrain, SHIPPED, np.full(21, 20.0))
    ahead = np.radians(sites.azimuth_deg[0])
    x, y = np.array([80.0, 600.0]) * np.sin(ahead), np.array([80.0, 600.0]) * np.cos(ahead)
    before = low.gain_db(x, y)[:, 0]
    assert low.set_tilts(np.full(21, 120.0))
    near, far = low.gain_db(x, y)[:, 0] - before
    assert near > 0 > far
    assert not low.set_tilts(np.full(21, 120.0))


def test_shadowing_has_its_spread_and_forgets_with_distance() -> None:
    sites = Sites.build(SHIPPED, "n")
    plain = Parameters.load(overrides={"effects.clutter_patches.count": 0})
    terrain = Terrain.draw(sites, plain, Draws(5))
    flat = Terrain.draw(sites, Parameters.load(overrides={
        "effects.clutter_patches.count": 0, "propagation.shadow_sigma_db": 0.0,
    }), Draws(5))  # fmt: skip
    shadow = (terrain.loss_db - flat.loss_db)[0].reshape(terrain.side, terrain.side)
    assert shadow.std() == pytest.approx(plain.propagation.shadow_sigma_db, rel=0.25)

    def correlation(pixels: int) -> float:
        return float(np.corrcoef(shadow[:, pixels:].ravel(), shadow[:, :-pixels].ravel())[0, 1])

    assert correlation(1) == pytest.approx(np.exp(-10 / 45), abs=0.1)
    assert correlation(15) < 0.35


def test_rates_grow_with_sinr_up_to_a_ceiling_and_end_below_the_lowest_mcs() -> None:
    sinr = np.arange(-12.0, 40.0)
    se = spectral_efficiency(sinr, SHIPPED.link)
    assert (np.diff(se) >= 0).all()
    assert se[0] == 0
    ceiling = SHIPPED.link.max_bits_per_s_hz * (1 + SHIPPED.link.rank2_gain)
    assert se[-1] == pytest.approx(ceiling, rel=0.02)
    assert 50e3 < full_rate_kbps(np.array([12.0]), SHIPPED)[0] < 100e3
    assert cqi(np.array([-20.0, 0.0, 40.0])).tolist() == [0.0, 4.0, 15.0]


def test_sharing_equals_a_simulation_in_small_steps() -> None:
    rng = np.random.default_rng(7)
    cell = rng.integers(0, 4, 30)
    need = rng.exponential(0.05, 30)
    got = share(cell, need, 0.25, 5)
    service, present = np.zeros(30), np.zeros(30)
    tick = 1e-5
    for _ in range(25_000):
        waiting = service < need
        count = np.bincount(cell[waiting], minlength=5)
        service[waiting] += tick / count[cell[waiting]]
        present[waiting] += tick
    assert got.service_s == pytest.approx(np.minimum(service, need), abs=2e-4)
    assert got.present_s == pytest.approx(present, abs=2e-3)


def test_nobody_waiting_is_no_trouble() -> None:
    assert share(np.zeros(0, np.intp), np.zeros(0), 1.0, 3).service_s.size == 0


def test_the_hash_of_parameters_follows_their_content() -> None:
    assert Parameters.load().hash == SHIPPED.hash
    assert Parameters.load(overrides={"layout.users": 401}).hash != SHIPPED.hash


@pytest.mark.parametrize(
    "overrides", [{"time.step_s": 0.3}, {"layout.sites": 5}, {"traffic.colour": 1.0}, {"mobility.hotspots": 0}]
)
def test_impossible_parameters_are_refused_by_name(overrides: dict[str, float]) -> None:
    with pytest.raises(BadParameters, match=next(iter(overrides)).split(".")[1]):
        Parameters.load(overrides=overrides)

"""A drawn radio world: correlated shadowing, wraparound, carriers, rural cells, users behind walls."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from twin_core.exceptions import EmptyNetwork, InvalidSettings, InvalidSurvey
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.radio.antenna import SHAPES_DEG, Directions, Panels, gain_dbi
from twin_core.radio.drop import DropSettings, drop
from twin_core.radio.layout import Layout
from twin_core.radio.path_loss import uma_environment_m, uma_los_probability
from twin_core.radio.shadowing import maps, shadowing_db

OUTDOORS = DropSettings(indoor_share=0.0)


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("distance_m", [0.0, 20.0, 50.0, 150.0])
def test_shadowing_correlates_as_the_report_says(distance_m: float) -> None:
    x = torch.tensor([0.0, distance_m], dtype=torch.float64)
    found = maps(x, torch.zeros(2, dtype=torch.float64), 3000, 50.0, _generator())
    correlation = float(np.corrcoef(found.numpy())[0, 1])
    assert correlation == pytest.approx(math.exp(-distance_m / 50), abs=0.05)
    assert float(found.std()) == pytest.approx(1, abs=0.03)


def test_sectors_of_a_site_share_their_shadowing_and_sites_do_not() -> None:
    x, y = 400 * torch.rand(2, 3000, generator=_generator(), dtype=torch.float64)
    site = torch.tensor([0, 0, 1, 1])
    spread = torch.full((4,), 6.0, dtype=torch.float64)
    alone = shadowing_db(x, y, site, spread, 10.0, _generator())
    assert torch.equal(alone[:, 0], alone[:, 1])
    assert abs(np.corrcoef(alone[:, [0, 2]].numpy().T)[0, 1]) < 0.12
    both = shadowing_db(x, y, site, spread, 10.0, _generator(), between_sites=0.5)
    assert float(np.corrcoef(both[:, [0, 2]].numpy().T)[0, 1]) == pytest.approx(0.5, abs=0.12)


def test_without_an_edge_every_site_is_like_every_other() -> None:
    layout = Layout.of(hexagonal(sites=19, wraparound=True))
    dx, dy = layout.offsets_m(layout.x_m, layout.y_m)
    distances = torch.hypot(dx, dy).sort(dim=1).values
    assert torch.allclose(distances, distances[:1].expand_as(distances), atol=1e-6)
    network = Network.of(hexagonal(sites=7, wraparound=True), pixels_per_isd=40)
    zero = torch.zeros(21, dtype=torch.float64)
    gain = gain_dbi(network.seen, zero + 6, zero, network.layout.panels)
    areas = torch.bincount((gain - network.loss_db).argmax(dim=1), minlength=21).double()
    assert float(areas.max() / areas.min()) < 1.1


def test_a_layout_with_gaps_cannot_be_repeated() -> None:
    with pytest.raises(EmptyNetwork, match="whole rings"):
        hexagonal(sites=8, wraparound=True)


def test_carriers_share_a_mast_and_do_not_disturb_one_another() -> None:
    network = Network.of(hexagonal(sites=1, carriers_ghz=(0.7, 3.5)))
    assert len(network.cells) == len(set(network.cells)) == 6
    assert network.co_channel[0].tolist() == [True, True, True, False, False, False]
    assert float((network.loss_db[:, 3] - network.loss_db[:, 0]).min()) > 10


def test_a_rural_cell_reaches_further() -> None:
    urban = hexagonal(sites=1, height_m=35.0)
    rural = urban.model_copy(update={"cells": tuple(c.model_copy(update={"scenario": "RMa"}) for c in urban.cells)})
    assert float((Network.of(urban).loss_db - Network.of(rural).loss_db).median()) > 10


def test_walls_cost_and_upper_floors_gain() -> None:
    layout = hexagonal(sites=7, wraparound=True)
    out, inside = (drop(layout, 1500, 3, DropSettings(indoor_share=share)).gain_db for share in (0.0, 1.0))
    median = [float(g.max(dim=1).values.median()) for g in (out, inside)]
    assert 10 < median[0] - median[1] < 35
    low, high = (
        drop(layout, 1500, 3, DropSettings(indoor_share=1.0, floors=(f, f))).gain_db.max(dim=1).values.median()
        for f in (1, 8)
    )
    assert high > low


def test_sight_is_lost_with_distance_and_shared_by_a_site() -> None:
    drops = [drop(hexagonal(sites=1), 300, seed, OUTDOORS) for seed in range(12)]
    sight = torch.cat([d.line_of_sight for d in drops])
    assert torch.equal(sight[:, 0], sight[:, 2])
    away = torch.cat([torch.hypot(d.x_m, d.y_m) for d in drops])
    assert float(away.min()) >= 35
    # Sight is alike within 50 m, so that a drop is a few dozen independent places.
    expected = uma_los_probability(away)
    assert float(sight[:, 0].double().mean()) == pytest.approx(float(expected.mean()), abs=0.05)
    near = away < 120
    assert float(sight[near, 0].double().mean()) == pytest.approx(float(expected[near].mean()), abs=0.15)


def test_the_same_seed_draws_the_same_world() -> None:
    one, two, other = (drop(hexagonal(sites=1), 40, seed) for seed in (1, 1, 2))
    assert torch.equal(one.gain_db, two.gain_db)
    assert not torch.equal(one.gain_db, other.gain_db)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="at least 1"):
        drop(hexagonal(sites=1), 0, 1)
    with pytest.raises(InvalidSettings, match=r"0\.\.1"):
        DropSettings(indoor_share=1.5)
    with pytest.raises(InvalidSettings, match="no range"):
        replace(OUTDOORS, floors=(5, 3))
    with pytest.raises(InvalidSettings, match="lower nearest_m"):
        drop(hexagonal(sites=1), 5, 1, replace(OUTDOORS, nearest_m=1e5))


def test_environment_height_of_high_floors_is_one_of_the_steps() -> None:
    random = torch.rand(2, 5000, generator=_generator(), dtype=torch.float64)
    d, ut = torch.full((5000,), 300.0).double(), torch.full((5000,), 22.5).double()
    found = set(uma_environment_m(d, ut, random[0], random[1]).tolist())
    assert found == {1.0, 12.0, 15.0, 18.0, 21.0}
    assert set(uma_environment_m(d, ut * 0 + 1.5, random[0], random[1]).tolist()) == {1.0}


def _towards(azimuth_deg: float) -> Directions:
    return Directions(torch.zeros(1, 1).double(), torch.tensor([[azimuth_deg]], dtype=torch.float64))


def test_more_columns_make_a_narrower_beam_that_phases_turn() -> None:
    zero, panel = torch.zeros(1).double(), Panels.of([8], [4])
    ahead, beside = (float(gain_dbi(_towards(a), zero, zero, panel)) for a in (0.0, 20.0))
    assert ahead == pytest.approx(8 + 10 * math.log10(32))
    assert ahead - beside > 6
    turned = float(gain_dbi(_towards(20.0), zero, zero + 20, panel))
    assert ahead - 1.5 < turned < ahead


@pytest.mark.parametrize("shape", SHAPES_DEG)
def test_a_wider_common_beam_is_weaker_ahead_and_no_shape_makes_power(shape: int) -> None:
    zero = torch.zeros(1).double()
    widths = SHAPES_DEG[shape]
    ahead = float(gain_dbi(_towards(0.0), zero, zero, shape=torch.tensor([shape])))
    edge = float(gain_dbi(_towards(widths[0] / 2), zero, zero, shape=torch.tensor([shape])))
    assert ahead - edge == pytest.approx(3, abs=0.01)
    assert 10 ** (ahead / 10) * widths[0] * widths[1] < 41253  # directivity times solid angle, square degrees


def test_a_survey_replaces_what_the_report_expects() -> None:
    network = Network.of(hexagonal(sites=1))
    known = network.loss_db.clone()
    known[:5], known[5:10] = 77.0, torch.nan
    surveyed = network.surveyed(known)
    assert bool((surveyed.loss_db[:5] == 77).all())
    assert torch.equal(surveyed.loss_db[5:], network.loss_db[5:])
    with pytest.raises(InvalidSurvey, match="does not fit"):
        network.surveyed(known[:3])
    with pytest.raises(InvalidSurvey, match="below 0 dB"):
        network.surveyed(-known)

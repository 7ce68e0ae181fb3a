"""Handover flows: against walkers simulated one by one, and what must hold whatever the numbers are."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import dawsn

from schemas.counters import CELL_COUNTERS
from tests.walkers import LENGTH_M, WALL_M, Counts, rsrp_dbm, walk
from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.exceptions import InvalidConfiguration, InvalidSettings
from twin_core.flow.borders import gradient
from twin_core.flow.crossing import both_ways, passage
from twin_core.flow.mobility import Flows, handover_flows, mobility_kpis
from twin_core.flow.mobility_settings import MobilitySettings
from twin_core.grid import Grid
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.physics import corrected_rsrp
from twin_core.settings import TwinSettings

Tensor = torch.Tensor

FLOOR_DBM, LOAD, PIXELS = -125.0, 0.6, 38
# All walk, at one speed: what the walkers of the simulation do.
WALKING = MobilitySettings(moving_share=1.0, speed_variation=0.0, measurement_noise_db=0.0, mean_speed_mps=10.0)
CASES = (
    (WALKING, (0.0, 0.0)),
    (replace(WALKING, hysteresis_db=0.0, a3_offset_db=1.0), (0.0, 0.0)),
    (replace(WALKING, hysteresis_db=3.0), (0.0, 0.0)),
    (replace(WALKING, time_to_trigger_s=0.64), (0.0, 0.0)),
    (replace(WALKING, measurement_noise_db=1.4), (0.0, 0.0)),
    (replace(WALKING, mean_speed_mps=25.0), (0.0, 0.0)),
    (WALKING, (4.0, -4.0)),
    (WALKING, (4.0, 0.0)),
)


def _line(settings: MobilitySettings, cio_db: tuple[float, float] = (0.0, 0.0), load: float = LOAD) -> Flows:
    """Flows of one user spread over the walkers' strip."""
    step = LENGTH_M / PIXELS
    grid = Grid(step, WALL_M + step / 2, 0.0, PIXELS, 1, np.arange(PIXELS))
    cio = torch.tensor([[0.0, cio_db[0]], [cio_db[1], 0.0]], dtype=torch.float64)
    noise = torch.full((2,), FLOOR_DBM - settings.noise_figure_db, dtype=torch.float64)
    users = torch.full((PIXELS,), 1 / PIXELS, dtype=torch.float64)
    loads = torch.full((2,), load, dtype=torch.float64)
    return handover_flows(torch.from_numpy(rsrp_dbm(grid.x_m.numpy())), grid, users, loads, cio, noise, settings)


def _share(flow: Tensor, flows: Flows) -> float:
    return float(flow.sum() / flows.attempts.sum())


@cache
def _walked() -> Counts:
    return walk([s for s, _ in CASES], np.array([c for _, c in CASES]), LOAD, FLOOR_DBM, walkers=250, steps=1500)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_flows_agree_with_walkers_simulated_one_by_one(case: int) -> None:
    flows, walked = _line(*CASES[case]), _walked()
    attempts = walked.attempts[case].sum()
    assert float(flows.attempts.sum()) == pytest.approx(attempts, rel=0.15)
    assert _share(flows.ping_pong, flows) == pytest.approx(walked.ping_pong[case].sum() / attempts, rel=0.25, abs=0.02)
    late = walked.too_late[case] / attempts
    assert np.allclose(flows.too_late.sum(dim=1) / flows.attempts.sum(), late, rtol=0.35, atol=0.02)


# --- a network

NETWORK = Network.of(hexagonal(sites=3), 8)
_AREA = NETWORK.grid
assert isinstance(_AREA, Grid)
GRID: Grid = _AREA
TWIN = TwinSettings()
ENVIRONMENT = Environment.prior(NETWORK, TWIN)
CELLS = len(NETWORK.cells)
RSRP = corrected_rsrp(NETWORK, ENVIRONMENT, Configuration.default(NETWORK), TWIN)
HALF = torch.full((CELLS,), 0.5, dtype=torch.float64)
DEFAULT = MobilitySettings()
NONE = torch.zeros(CELLS, CELLS, dtype=torch.float64)


def _network(
    settings: MobilitySettings = DEFAULT,
    cio_db: Tensor = NONE,
    rsrp: Tensor = RSRP,
    on_air: Tensor | None = None,
    load: Tensor = HALF,
) -> Flows:
    return handover_flows(
        rsrp,
        GRID,
        ENVIRONMENT.users.to(rsrp),
        load.to(rsrp),
        cio_db.to(rsrp),
        NETWORK.thermal_noise_dbm.to(rsrp),
        settings,
        site_of=NETWORK.element_of,
        co_channel=NETWORK.co_channel,
        on_air=on_air,
    )


def _any_settings() -> st.SearchStrategy[MobilitySettings]:
    return st.builds(
        MobilitySettings,
        mean_speed_mps=st.sampled_from([0.0, 0.01, 1.0, 10.0, 80.0]),
        speed_variation=st.sampled_from([0.0, 1.0]),
        moving_share=st.floats(0, 1),
        a3_offset_db=st.floats(-3, 6),
        hysteresis_db=st.floats(0, 10),
        time_to_trigger_s=st.sampled_from([0.0, 0.04, 0.32, 1.28, 5.12]),
        filter_k=st.sampled_from([0.0, 4.0, 11.0]),
        shadow_db=st.sampled_from([0.0, 0.5, 6.0, 12.0]),
        decorrelation_m=st.sampled_from([1.0, 13.0, 50.0]),
        measurement_noise_db=st.sampled_from([0.0, 1.0, 4.0]),
        t310_s=st.sampled_from([0.05, 1.0, 2.0]),
    )


@settings(max_examples=15, deadline=None)
@given(_any_settings(), st.floats(-24, 24), st.floats(0, 1))
def test_flows_are_finite_parts_of_attempts_and_make_no_users(s: MobilitySettings, cio: float, load: float) -> None:
    offsets = NONE.clone()
    offsets[0, 1:], offsets[2, 4] = cio, -cio
    flows = _network(s, offsets, load=torch.full_like(HALF, load))
    slack = 1e-9 + 1e-6 * float(flows.attempts.max())
    for name, flow in vars(flows).items():
        assert bool(torch.isfinite(flow).all()), name
        assert float(flow.min()) >= 0, name
        assert float(flow.diagonal().abs().max()) == 0, name
    assert float((flows.success - flows.requests).max()) <= slack
    assert float((flows.requests - flows.attempts).max()) <= slack
    assert float((flows.ping_pong - flows.success).max()) <= slack
    parts = flows.too_late + flows.too_early + flows.wrong_cell
    assert float((parts - flows.attempts).max()) <= slack
    # Who stays in the target is balanced by who comes from there.
    stay = flows.attempts - flows.too_early - flows.wrong_cell
    assert float((stay - stay.T).abs().max()) <= slack


def test_two_equal_cells_exchange_as_many_users_either_way() -> None:
    flows = _line(WALKING)
    for flow in vars(flows).values():
        assert float(flow[0, 1] - flow[1, 0]) == pytest.approx(0, abs=1e-9 * float(flows.attempts.sum()))


@pytest.mark.parametrize(
    ("lever", "values"), [("hysteresis_db", (0.0, 1.0, 2.0, 4.0, 8.0)), ("time_to_trigger_s", (0.0, 0.32, 0.64, 1.28))]
)
def test_more_patience_means_fewer_ping_pongs_and_more_handovers_that_come_too_late(
    lever: str, values: tuple[float, ...]
) -> None:
    flows = [_network(replace(DEFAULT, **{lever: value})) for value in values]  # type: ignore[arg-type]
    ping_pongs, late = [float(f.ping_pong.sum()) for f in flows], [_share(f.too_late, f) for f in flows]
    assert ping_pongs == sorted(ping_pongs, reverse=True)
    assert ping_pongs[-1] < 0.2 * ping_pongs[0]
    assert late == sorted(late)
    assert late[-1] > 1.5 * late[0]


def test_faster_users_are_handed_over_more_often_and_too_late_more_often() -> None:
    flows = [_network(MobilitySettings(mean_speed_mps=v)) for v in (1.0, 3.0, 10.0, 30.0)]
    attempts, late = [float(f.attempts.sum()) for f in flows], [_share(f.too_late, f) for f in flows]
    assert attempts == sorted(attempts)
    assert late == sorted(late)
    assert late[-1] > 2 * late[0]


def test_offsets_that_trigger_prematurely_make_handovers_fail_in_the_target() -> None:
    shares = []
    for cio in (0.0, 3.0, 6.0, 9.0, 12.0):
        offsets = NONE.clone()
        offsets[0], offsets[:, 0] = cio, -cio
        flows = _network(MobilitySettings(mean_speed_mps=10.0), offsets)
        shares.append(float((flows.too_early + flows.wrong_cell)[0].sum() / flows.attempts[0].sum()))
    assert shares == sorted(shares)
    assert shares[-1] > 5 * shares[0]
    eager, patient = (_network(MobilitySettings(hysteresis_db=h, a3_offset_db=-4.0)) for h in (0.0, 6.0))
    assert _share(eager.too_early + eager.wrong_cell, eager) > 2 * _share(
        patient.too_early + patient.wrong_cell, patient
    )


def test_nobody_is_handed_over_where_nothing_moves() -> None:
    flows = _network(MobilitySettings(mean_speed_mps=0.0, measurement_noise_db=0.0))
    assert all(float(flow.sum()) == 0 for flow in vars(flows).values())


def test_without_fluctuation_every_crossing_is_one_handover() -> None:
    calm = replace(WALKING, shadow_db=0.0, time_to_trigger_s=0.0)
    crossings = 2 / np.pi * calm.mean_speed_mps / LENGTH_M  # mean of |cos|, over the strip's length
    assert float(_line(calm).attempts.sum()) == pytest.approx(crossings, rel=0.02)
    assert _share(_line(calm).ping_pong, _line(calm)) < 1e-6


def test_a_band_without_width_is_crossed_as_rice_says() -> None:
    drift, strength = torch.linspace(0, 4, 9, dtype=torch.float64), torch.tensor(1 / np.sqrt(2 * np.pi))
    towards, away = both_ways(drift, strength)
    rice = torch.exp(-(drift**2) / 2) / np.sqrt(2 * np.pi) + drift * (torch.special.ndtr(drift) - 0.5)
    assert torch.allclose((towards + away) / 2, rice, rtol=0.015)
    assert torch.allclose(towards - away, drift)


def test_passage_is_dawsons_integral() -> None:
    omega = torch.linspace(0, 8, 33, dtype=torch.float64)
    expected = np.sqrt(2) * dawsn(omega.numpy() / np.sqrt(2))
    assert np.allclose(passage(omega).numpy(), expected, rtol=2e-3)


def test_a_cell_off_the_air_takes_and_gives_nobody() -> None:
    on_air = torch.ones(CELLS, dtype=torch.bool)
    on_air[3] = False
    flows = _network(on_air=on_air)
    assert float(flows.attempts[3].sum() + flows.attempts[:, 3].sum()) == 0
    assert float(flows.attempts.sum()) > 0


def test_single_precision_agrees_with_double() -> None:
    double, single = _network(), _network(rsrp=RSRP.float())
    for name, flow in vars(double).items():
        assert torch.allclose(vars(single)[name].double(), flow, rtol=1e-3, atol=1e-5 * float(flow.max())), name


def test_flows_have_finite_gradients_that_are_those_of_the_flows() -> None:
    offsets = NONE.clone().requires_grad_()
    rsrp = RSRP.clone().requires_grad_()
    flows = _network(cio_db=offsets, rsrp=rsrp)
    cost = flows.ping_pong.sum() + flows.too_late.sum() + flows.too_early.sum()
    by_offset, by_rsrp = torch.autograd.grad(cost, (offsets, rsrp))
    assert bool(torch.isfinite(by_offset).all())
    assert bool(torch.isfinite(by_rsrp).all())
    step = NONE.clone()
    step[0, 1] = 1e-4

    def cost_of(cio_db: Tensor) -> float:
        f = _network(cio_db=cio_db)
        return float(f.ping_pong.sum() + f.too_late.sum() + f.too_early.sum())

    assert float(by_offset[0, 1]) == pytest.approx((cost_of(step) - cost_of(-step)) / 2e-4, rel=1e-3, abs=1e-9)


def test_counters_have_names_of_the_catalogue_and_split_by_managed_element() -> None:
    flows = _network()
    kpis = mobility_kpis(flows, NETWORK.element_of, 60.0)
    assert set(kpis) <= set(CELL_COUNTERS)
    requests = kpis["MM.HoExeInterReq"] + kpis["MM.HoExeIntraReq"]
    assert torch.allclose(requests, 60 * flows.requests.sum(dim=1))
    assert torch.allclose(kpis["MM.HoExeInterSucc"] + kpis["MM.HoExeInterFail"], kpis["MM.HoExeInterReq"])
    assert all(float(kpis[name].min()) > 0 for name in ("MM.HoExeInterReq", "MM.HoExeIntraReq", "TL.HoPingPong"))


def test_gradient_of_a_plane_is_its_slope_also_at_the_edge() -> None:
    plane = (0.03 * GRID.x_m - 0.01 * GRID.y_m)[:, None]
    east, north = gradient(GRID, plane)
    inside = (north != 0) & (east != 0)  # a pixel alone in its row or column has no slope along it
    assert float(inside.float().mean()) > 0.95
    assert torch.allclose(east[inside], torch.tensor(0.03, dtype=torch.float64))
    assert torch.allclose(north[inside], torch.tensor(-0.01, dtype=torch.float64))


def test_bad_input_is_refused_with_a_remedy() -> None:
    with pytest.raises(InvalidSettings, match="time_to_trigger_s is -1; give 0 or a positive"):
        MobilitySettings(time_to_trigger_s=-1.0)
    with pytest.raises(InvalidSettings, match="moving_share is 2; give a share"):
        MobilitySettings(moving_share=2.0)
    with pytest.raises(InvalidConfiguration, match="rsrp holds a number that is not finite"):
        _network(rsrp=RSRP * float("nan"))
    with pytest.raises(InvalidConfiguration, match="cio_db has shape"):
        _network(cio_db=NONE[:2])
    with pytest.raises(InvalidConfiguration, match="load holds a negative number"):
        _network(load=-HALF)

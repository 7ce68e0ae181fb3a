"""SINR at the best server: equal to CRRM's on CRRM's own gains, and to itself in all its forms."""

import contextlib
import io
from itertools import product

import numpy as np
import pytest
import torch

from twin_core.exceptions import InvalidScenarios
from twin_core.layouts import hexagonal
from twin_core.radio.best_server import best_server_sinr

with contextlib.redirect_stdout(io.StringIO()):
    import CRRM

P, C, N = 40, 7, 5


@pytest.mark.parametrize(("sectors", "in_sight"), [(1, True), (3, True), (3, False)])
def test_sinr_and_attachment_are_those_of_crrm_on_the_same_gains(sectors: int, in_sight: bool) -> None:
    random = np.random.default_rng(5)
    sites = np.array([(c.x_m, c.y_m, c.height_m) for c in hexagonal(sites=7).cells[::3]])

    def users() -> np.ndarray:
        return np.column_stack([random.uniform(-800, 800, (300, 2)), np.full(300, 1.5)])

    peer = CRRM.Simulator(
        CRRM.Parameters(
            cell_locations=sites, ue_initial_locations=users(), n_sectors=sectors, LOS=in_sight, smart_update=False
        )
    )
    for _ in range(3):
        peer.set_ue_locations(slice(None), users())
        peer.set_power_matrix(random.uniform(5, 40, (7, 1)))
        peer.sinr.update()
        gain, power = torch.from_numpy(peer.g.data), torch.from_numpy(peer.p.data[:, 0])
        noise = torch.tensor([peer.params.noise_power], dtype=torch.float64)
        serving, sinr = best_server_sinr(gain, power, torch.ones_like(power), noise)
        assert serving.tolist() == peer.a.data.tolist()
        assert sinr.numpy() == pytest.approx(peer.sinr.data[:, 0], rel=1e-9)


def _links(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    gain, power, load = 10 ** -(6 + 6 * torch.rand(P, C)), 1e4 * (1 + torch.rand(N, C)), torch.rand(N, C)
    return gain.to(dtype), power.to(dtype), load.to(dtype), torch.full((P,), 1e-7, dtype=dtype)


@pytest.mark.parametrize(("powers", "loads"), list(product((1, N), repeat=2)))
@pytest.mark.parametrize("servers", ["strongest", "held", "held in each scenario"])
def test_many_scenarios_are_each_as_it_would_be_alone(powers: int, loads: int, servers: str) -> None:
    gain, power, load, noise = _links()
    power, load = power[0] if powers == 1 else power, load[0] if loads == 1 else load
    held = {"strongest": None, "held": gain.argmax(dim=1), "held in each scenario": torch.randint(C, (N, P))}[servers]
    serving, sinr = best_server_sinr(gain, power, load, noise, held)
    for n in range(N):
        p, q = power if powers == 1 else power[n], load if loads == 1 else load[n]
        received = gain * p
        own = received.argmax(dim=1) if held is None else held if held.dim() == 1 else held[n]
        others = (received * q).scatter(1, own[:, None], 0.0).sum(dim=1)
        wanted = received.gather(1, own[:, None])[:, 0] / (others + noise)
        of = n if sinr.dim() == 2 else ...
        assert torch.equal(serving[of], own)
        assert torch.allclose(sinr[of], wanted, rtol=1e-11, atol=0)


def test_float32_is_within_a_hundredth_of_a_decibel() -> None:
    for held in (None, _links()[0].argmax(dim=1)):
        exact = best_server_sinr(*_links(), held)[1]
        off = 10 * torch.log10(best_server_sinr(*_links(torch.float32), held)[1].double() / exact)
        assert off.abs().max() < 0.01


def test_who_hears_nothing_has_no_sinr_and_who_hears_one_cell_has_its_snr() -> None:
    gain = torch.tensor([[0.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    one = torch.ones(2, dtype=torch.float64)
    for power in (one, one.expand(2, 2)):
        assert best_server_sinr(gain, power, one, one[:1])[1].reshape(-1, 2)[0].tolist() == [0.0, 3.0]


def test_shapes_that_do_not_fit_are_refused() -> None:
    gain, power, load, noise = _links()
    for given in (
        (gain[0], power, load, noise),
        (gain, power[:, 1:], load, noise),
        (gain, power, load, noise[1:]),
        (gain, power, load[1:], noise),
        (gain, power, load, noise, torch.zeros(3, dtype=torch.long)),
    ):
        with pytest.raises(InvalidScenarios, match=r"give \[P, C\]"):
            best_server_sinr(*given)

"""Peers of the roll-out bench: they run, they say what they compute, and they compute the same SINR."""

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from infra.benches import rollout_measure, rollout_peers
from infra.benches.rollout_drop import ISD_M, NOISE_MW, drop
from infra.benches.rollout_measure import NotRun, Plan, Work, measure
from infra.benches.rollout_peers import (
    Case,
    Form,
    Measured,
    bare_torch,
    crrm_all_users_moved,
    crrm_on_gains,
    crrm_power_only,
    crrm_sinr,
    mobile_env,
)
from infra.benches.rollout_torch import parts
from twin_core.radio.best_server import best_server_sinr

SMALL = Case(21, 210)
EAGER: tuple[Form, ...] = ("eager", "eager_strongest", "matmul", "matmul_others", "positions")


def _ran(found: Measured) -> None:
    assert found.not_run == ""
    assert found.steps_per_s > 0
    assert found.milliseconds > 0
    assert found.peak_bytes is not None
    assert found.computes


@pytest.mark.parametrize("peer", [crrm_all_users_moved, crrm_power_only])
def test_crrm_steps_and_prints_nothing(
    peer: Callable[[Case, float], Measured], capsys: pytest.CaptureFixture[str]
) -> None:
    _ran(peer(SMALL, 0.0))
    assert capsys.readouterr().out == ""


def test_mobile_env_steps_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = mobile_env(Case(6, 20), 0.0)
    _ran(found)
    assert "without interference" in found.computes
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("form", EAGER)
def test_torch_steps(form: Form) -> None:
    one, many = (bare_torch(SMALL, batch, form=form, seconds=0.0) for batch in (1, 8))
    _ran(one)
    _ran(many)
    assert many.steps_per_s == pytest.approx(8 * 1000 / many.milliseconds)


def test_crrm_and_torch_have_one_sinr_on_one_network() -> None:
    here = drop(SMALL)
    peer = crrm_on_gains(here)
    peer.set_power_matrix(here.powers_mw[1][:, None] / 1000)
    power, noise = torch.from_numpy(here.powers_mw[1]), torch.tensor([NOISE_MW], dtype=torch.float64)
    serving, sinr = best_server_sinr(torch.from_numpy(here.gain), power, torch.ones_like(power), noise)
    assert crrm_sinr(peer) == pytest.approx(sinr.numpy(), rel=1e-9)
    step, kept, _ = parts(here, 1, "cpu", "eager")
    torch_sinr, torch_serving = step(*kept, power[None].float())
    assert torch_serving[0].tolist() == serving.tolist() == peer.a.data.tolist()
    assert torch_sinr[0].numpy() == pytest.approx(sinr.numpy(), rel=1e-3)


@pytest.mark.parametrize("form", ["matmul", "matmul_others"])
def test_products_of_torch_have_the_sinr_of_held_attachment(form: Form) -> None:
    here = drop(SMALL)
    step, kept, given = parts(here, 3, "cpu", form)
    serving, (power, load) = kept[2], given[0]
    noise = torch.tensor([NOISE_MW], dtype=torch.float64)
    wanted = best_server_sinr(torch.from_numpy(here.gain), power.T.double(), load.T.double(), noise, serving)[1]
    assert step(*kept, power, load).T.numpy() == pytest.approx(wanted.numpy(), rel=1e-3)


def test_crrm_sees_the_same_sectors_from_its_own_path_loss() -> None:
    here = drop(SMALL)
    peer = rollout_peers._crrm(here, sectors=3)
    crrm_sinr(peer)
    # CRRM counts a site's sectors anticlockwise, the drop clockwise.
    gain = peer.g.data.reshape(210, 7, 3)[:, :, [0, 2, 1]].reshape(210, 21)
    assert np.abs(10 * np.log10(gain / here.gain)).max() < 0.01


def test_users_stand_all_over_the_area_of_their_sites() -> None:
    here = drop(Case(21, 3000))
    sites = here.cells_m[::3]
    users = here.users_m.reshape(-1, 2)
    far = np.linalg.norm(users[:, None] - sites, axis=2).min(axis=1)
    assert far.max() < ISD_M / np.sqrt(3)
    # Mean square distance of a hexagon's points to its middle: 5/12 of its side squared.
    assert np.mean(far**2) == pytest.approx(5 / 12 * ISD_M**2 / 3, rel=0.03)


@pytest.mark.parametrize("peer", [crrm_power_only, mobile_env])
def test_a_peer_that_is_missing_is_not_run_and_says_how_to_get_it(
    peer: Callable[[Case], Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] in ("CRRM", "mobile_env"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    found = peer(SMALL)
    assert "not installed" in found.not_run
    assert "twinloop[bench]" in found.not_run
    assert (found.steps_per_s, found.peak_bytes) == (0.0, None)
    assert found.computes


def test_what_would_not_fit_is_not_prepared() -> None:
    found = bare_torch(Case(513, 9000), 1024, form="eager")
    assert "GiB of memory" in found.not_run
    assert found.steps_per_s == 0


def test_what_would_last_too_long_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout_measure, "LIMIT_S", 1e-6)
    assert "longer than" in bare_torch(SMALL, form="eager").not_run
    assert "would take" in mobile_env(SMALL).not_run


def test_a_case_without_compiler_or_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no-such-compiler" in bare_torch(SMALL, form="compiled").not_run
    assert "no CUDA device" in bare_torch(SMALL, device="cuda").not_run


def test_memory_of_a_step_is_seen_and_torch_keeps_one_thread() -> None:
    threads: list[int] = []

    def step() -> None:
        threads.append(torch.get_num_threads())
        np.ones(4_000_000)

    before = torch.get_num_threads()
    found = measure(Plan("x", "a large array"), lambda: Work(step, 1000), 0.0)
    assert found.peak_bytes == pytest.approx(32e6, rel=0.1)
    assert set(threads) == {1}
    assert torch.get_num_threads() == before


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("Python.h: no such file\nand much more")

    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    found = bare_torch(SMALL, form="compiled")
    assert "fails: Python.h: no such file; see" in found.not_run


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_what_runs_out_of_memory_all_the_same_is_not_run(error: type[Exception]) -> None:
    def prepare() -> Work:
        raise error

    assert "memory ran out" in measure(Plan("x", "a large array"), prepare).not_run


@pytest.mark.parametrize(("cells", "users"), [(20, 100), (0, 100), (21, 0)])
def test_a_case_is_of_whole_sites_and_has_users(cells: int, users: int) -> None:
    with pytest.raises(NotRun, match="multiple of 3"):
        Case(cells, users)

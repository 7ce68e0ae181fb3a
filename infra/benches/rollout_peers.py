"""Other simulators on the network of the roll-out bench: CRRM and mobile-env, and the bare torch step."""

import gc
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import cycle
from typing import Any

import numpy as np

from infra.benches.rollout_drop import BANDWIDTH_HZ, CARRIER_GHZ, NOISE_MW, POWER_MW, USER_M, Array, Drop, drop
from infra.benches.rollout_measure import (
    CASES,
    SECONDS,
    Case,
    Measured,
    NotRun,
    Plan,
    Work,
    measure,
    refuse_slow,
    resident_bytes,
    shortest,
)
from infra.benches.rollout_torch import FORMS, Form, bare_torch
from twin_core.layouts import hexagonal

__all__ = ["CASES", "FORMS", "Case", "Form", "Measured", "bare_torch", "crrm_all_users_moved", "crrm_power_only",
           "mobile_env"]  # fmt: skip

# How many arrays of float64 [P, C] stand in memory at once: in CRRM's distances and UMa loss, in its SINR, in
# mobile-env's observation (which is of Python objects).
_WIDE_LOSS, _WIDE_SINR, _WIDE_OBSERVATION = 25, 4, 20
_STATIONS_APART = 80.0  # as in mobile-env's own scenarios, in its unit of length
_SMALL = Case(9, 40)


def crrm_all_users_moved(case: Case, seconds: float = SECONDS) -> Measured:
    """Every user at a new place in each step."""
    plan = Plan(
        "CRRM, all users moved",
        "CRRM, smart_update=False, float64: every user elsewhere; distance, its own UMa NLOS, horizontal pattern, "
        "RSRP, attachment, SINR with all cells busy; no CQI, MCS or throughput",
        peak_bytes=8.0 * _WIDE_LOSS * case.cells * case.users,
    )

    def prepare() -> Work:
        peer = _crrm(drop(case), sectors=3)
        places = cycle([_with_height(u) for u in _turned(drop(case).users_m)])

        def step() -> Array:
            peer.set_ue_locations(slice(None), next(places))
            return crrm_sinr(peer)

        step()
        return Work(step, _held(peer))

    return measure(plan, prepare, seconds)


def crrm_power_only(case: Case, seconds: float = SECONDS) -> Measured:
    """A new power of every cell in each step; gains are those of the bare torch step and stay."""
    plan = Plan(
        "CRRM, power only",
        "CRRM, smart_update=False, float64: the gains that torch has, another power in every step; RSRP, attachment, "
        "SINR with all cells busy; no CQI, MCS or throughput",
        peak_bytes=8.0 * _WIDE_SINR * case.cells * case.users,
    )

    def prepare() -> Work:
        peer = crrm_on_gains(drop(case))
        powers = cycle(drop(case).powers_mw[:, :, None] / 1000)

        def step() -> Array:
            peer.set_power_matrix(next(powers))
            return crrm_sinr(peer)

        step()
        return Work(step, _held(peer))

    return measure(plan, prepare, seconds)


def crrm_on_gains(here: Drop) -> Any:
    """A CRRM simulator that takes a drop's gains in place of its own."""
    peer = _crrm(here, sectors=1)
    peer.g[None] = here.gain
    peer.g.up_to_date = True
    return peer


def crrm_sinr(peer: Any) -> Array:
    """[P] linear, after what changed has been computed again."""
    peer.sinr.update()
    return np.asarray(peer.sinr.data[:, 0])


def _crrm(here: Drop, sectors: int) -> Any:
    with _quiet("crrm"):
        import CRRM
    gc.collect()  # a simulator before this one is a ring of nodes
    cells = _turned(here.cells_m)[::sectors]
    return CRRM.Simulator(
        CRRM.Parameters(
            cell_locations=np.column_stack([cells, np.full(len(cells), here.height_m)]),
            ue_initial_locations=_with_height(_turned(here.users_m[0])),
            n_sectors=sectors,
            pathloss_model_name="UMa",
            LOS=False,
            fc_GHz=CARRIER_GHZ,
            bw_MHz=BANDWIDTH_HZ / 1e6,
            σ2=NOISE_MW / 1000 / BANDWIDTH_HZ,
            p_W=POWER_MW / 1000,
            # With it on, what depends on powers keeps the RSRP of powers before.
            smart_update=False,
        )
    )


def _turned(places_m: Array) -> Array:
    """By 60 degrees clockwise, a turn that the hexagonal grid does not feel: CRRM's sectors look to 0, 120, 240."""
    cos, sin = 0.5, np.sqrt(0.75)
    return np.asarray(places_m @ np.array([[cos, -sin], [sin, cos]]))


def _with_height(users_m: Array) -> Array:
    return np.column_stack([users_m, np.full(len(users_m), USER_M)])


def _held(peer: Any) -> int:
    arrays = [a for node in (peer.ue_locations, peer.d, peer.g, peer.rsrp, peer.a, peer.sinr)
              for a in (node.data if isinstance(node.data, list) else [node.data])]  # fmt: skip
    return sum(np.asarray(a).nbytes for a in arrays if a is not None)


def mobile_env(case: Case, seconds: float = SECONDS) -> Measured:
    """Steps of its environment, with a station for each cell."""
    plan = Plan(
        "mobile-env",
        "mobile-env, its own map: every user walks; SNR of links by Okumura-Hata without interference, connections, "
        "rates, utility, observation; a station that sends all around for each cell",
        peak_bytes=8.0 * _WIDE_OBSERVATION * case.cells * case.users,
    )

    def prepare() -> Work:
        # It goes from link to link in Python: a small network tells how long a large one takes.
        links, small = case.cells * case.users / (_SMALL.cells * _SMALL.users), _mobile_step(_SMALL)
        refuse_slow(links * shortest(small), "would take")
        before = resident_bytes()
        step = _mobile_step(case)
        return Work(step, max(0, resident_bytes() - before))

    return measure(plan, prepare, seconds)


def _mobile_step(case: Case) -> Callable[[], object]:
    """One step of an environment in which every user that can is connected to its nearest station."""
    with _quiet("mobile-env"):
        from mobile_env.core.base import MComCore
        from mobile_env.core.entities import BaseStation, UserEquipment
    places = np.array([(c.x_m, c.y_m) for c in hexagonal(sites=case.cells, isd_m=_STATIONS_APART).cells[::3]])
    places -= places.min(axis=0) - _STATIONS_APART / 2
    width, height = places.max(axis=0) + _STATIONS_APART / 2
    usual, area = MComCore.default_config(), {"width": width, "height": height}
    endless = {"EP_MAX_TIME": sys.maxsize, "arrival_params": {"ep_time": sys.maxsize, "reset_rng_episode": False}}
    stations = [BaseStation(i, tuple(p), **usual["bs"]) for i, p in enumerate(places)]
    users = [UserEquipment(i, **usual["ue"]) for i in range(case.users)]
    peer = MComCore(stations, users, area | endless | {"movement_params": area | {"reset_rng_episode": False}})
    peer.reset(seed=1)
    off = np.array([(u.x, u.y) for u in users])[:, None] - places
    peer.step((1 + np.square(off).sum(axis=2).argmin(axis=1)).tolist())  # action 0 changes nothing
    nothing = [0] * case.users
    return lambda: peer.step(nothing)


@contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Import a peer that may be missing, and that may greet on standard output, where JSON is to stand."""
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except ModuleNotFoundError as missing:
        raise NotRun(
            f"{package} or what it needs is not installed ({missing})", "pip install 'twinloop[bench]'"
        ) from missing

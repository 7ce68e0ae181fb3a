"""Walkers between two cells, one by one: the process of which twin_core.flow.mobility predicts the flows.

Shares no formula with it: users move on a strip between walls, hear both cells through correlated shadowing, filter
what they measure, run the time to trigger, lose links and find cells again.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin_core.flow.mobility_settings import MobilitySettings

Floats = NDArray[np.float64]

DISTANCE_M, WALL_M, LENGTH_M = 500.0, 60.0, 380.0


def rsrp_dbm(x_m: Floats) -> Floats:
    """[..., 2] of two cells on a line, 500 m apart."""
    away = np.stack([x_m, DISTANCE_M - x_m], axis=-1)
    return -30.0 - 37.6 * np.log10(away)


@dataclass(frozen=True)
class Counts:
    """[B, 2] events of each source cell per user and second, for each case."""

    attempts: Floats
    too_late: Floats
    too_early: Floats
    ping_pong: Floats


def _column(settings: list[MobilitySettings], name: str) -> Floats:
    return np.array([[float(getattr(s, name))] for s in settings])


def walk(
    settings: list[MobilitySettings], cio_db: Floats, load: float, floor_dbm: float, walkers: int, steps: int
) -> Counts:
    """Let walkers of each case walk at its mean speed for so many samples.

    Parameters
    ----------
    cio_db
        [B, 2] offsets of the first cell towards the second, and back.
    """
    rng = np.random.default_rng(1)
    get = {name: _column(settings, name) for name in MobilitySettings.__dataclass_fields__}
    shape = (len(settings), walkers)
    dt = settings[0].sample_s
    speed, forget = get["mean_speed_mps"], 2 ** (-get["filter_k"] / 4)
    step = speed * np.cos(2 * np.pi * rng.random(shape)) * dt
    x = WALL_M + LENGTH_M * rng.random(shape)
    keep = np.exp(-speed * dt / get["decorrelation_m"])[..., None]
    fresh = np.sqrt(1 - keep**2)
    # Two cells whose shadowing is correlated: mixtures of two independent draws.
    angle = np.arcsin(get["site_correlation"]) / 2
    mine_db, other_db = get["shadow_db"] * np.cos(angle), get["shadow_db"] * np.sin(angle)

    def draw() -> Floats:
        a, b = rng.standard_normal((2, *shape))
        return np.stack([mine_db * a + other_db * b, other_db * a + mine_db * b], axis=-1)

    shadow = draw()
    level = rsrp_dbm(x) + shadow
    filtered, serving = level.copy(), level.argmax(axis=-1)
    edge = get["a3_offset_db"] + get["hysteresis_db"]
    need = np.ceil(get["time_to_trigger_s"] / dt - 1e-9).clip(1)
    timer, bad = np.zeros(shape), np.zeros(shape)
    moved = np.full(shape, -1e9)
    settle = steps // 8
    sums: dict[str, Any] = {n: np.zeros((len(settings), 2)) for n in ("attempts", "late", "early", "pong")}

    def count(name: str, which: Any, cell: Any) -> None:
        for c in (0, 1):
            sums[name][:, c] += (which & (cell == c)).sum(axis=1)

    for t in range(steps):
        if t == settle:
            for s in sums.values():
                s[:] = 0
        now = t * dt
        x = x + step
        out = (x < WALL_M) | (x > WALL_M + LENGTH_M)
        step = np.where(out, -step, step)
        x = np.where(x < WALL_M, 2 * WALL_M - x, np.where(out, 2 * (WALL_M + LENGTH_M) - x, x))
        shadow = keep * shadow + fresh * draw()
        level = rsrp_dbm(x) + shadow
        noise = get["measurement_noise_db"][..., None] * rng.standard_normal((*shape, 2))
        filtered += forget[..., None] * (level + noise - filtered)
        ahead = np.where(serving == 0, 1, -1) * (filtered[..., 1] - filtered[..., 0])
        timer = np.where(ahead + np.where(serving == 0, cio_db[:, :1], cio_db[:, 1:]) > edge, timer + 1, 0)

        mw = 10 ** (level / 10)
        disturbed = load * mw[..., ::-1] + 10 ** (floor_dbm / 10)
        sinr = 10 * np.log10(mw / disturbed)
        fading = get["sinr_spread_db"] * rng.standard_normal(shape)
        mine = np.take_along_axis(sinr, serving[..., None], -1)[..., 0]
        other = np.take_along_axis(sinr, 1 - serving[..., None], -1)[..., 0]
        bad = np.where(mine < get["qout_db"], bad + dt, 0)

        failed = bad >= get["t310_s"]
        best = level.argmax(axis=-1)
        recent = failed & (now - moved <= get["recent_s"])
        late = failed & ~recent & (best != serving)
        count("early", recent & (best != serving), best)
        count("attempts", late, serving)
        go = ~failed & (timer >= need)
        count("attempts", go, serving)
        unheard = go & (mine + fading < get["qout_db"])
        missed = go & ~unheard & (other + fading < get["access_sinr_db"])
        good = go & ~unheard & ~missed
        late |= unheard & (best != serving)
        count("late", late, serving)
        count("early", missed & (best == serving), serving)
        pong = good & (now - moved <= get["ping_pong_s"])
        count("pong", pong, 1 - serving)
        lost = failed | unheard | missed
        serving = np.where(good, 1 - serving, np.where(lost, best, serving))
        moved = np.where(good, now, np.where(lost, -1e9, moved))
        reset = good | lost
        timer, bad = np.where(reset, 0, timer), np.where(reset, 0, bad)
    seconds = (steps - settle) * dt * walkers
    return Counts(*(sums[n] / seconds for n in ("attempts", "late", "early", "pong")))

"""One network for all peers of the roll-out bench: hexagonal three-sector sites, users all over their area."""

from dataclasses import dataclass
from functools import lru_cache
from math import log10, pi, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from infra.benches.rollout_measure import Case
from twin_core.layouts import hexagonal

Array = NDArray[np.float64]
Tensor = torch.Tensor

ISD_M = 500.0
CARRIER_GHZ = 3.5
BANDWIDTH_HZ = 20e6
USER_M = 1.5
POWER_MW = 40_000.0
NOISE_MW = 10 ** ((-174 + 10 * log10(BANDWIDTH_HZ) + 7) / 10)  # thermal, and a noise figure of 7 dB
# So many different inputs go round: no step is the one before it.
INPUTS = 4


@dataclass(frozen=True, eq=False)
class Drop:
    """Places and gains.

    Attributes
    ----------
    cells_m
        [C, 2] x and y; a site's three cells after one another.
    height_m
        Of all antennas.
    boresight
        [C] radians counterclockwise from east.
    users_m
        [INPUTS, P, 2] where the users are in each of several steps.
    gain
        [P, C] linear, of the first of them, by `path_gain` in float64.
    powers_mw
        [INPUTS, C]
    """

    cells_m: Array
    height_m: float
    boresight: Array
    users_m: Array
    gain: Array
    powers_mw: Array


@lru_cache(maxsize=1)
def drop(case: Case, seed: int = 1) -> Drop:
    """Seeded, so that every peer gets the same."""
    random = np.random.default_rng(seed)
    cells = hexagonal(sites=case.cells // 3, isd_m=ISD_M).cells
    places = np.array([(c.x_m, c.y_m) for c in cells])
    boresight = np.radians([90 - c.azimuth_deg for c in cells])
    users = places[3 * random.integers(case.cells // 3, size=(INPUTS, case.users))]
    users = users + _in_hexagon(random, INPUTS * case.users).reshape(INPUTS, case.users, 2)
    users_t, places_t, boresight_t = (torch.from_numpy(a) for a in (users[0], places, boresight))
    gain = path_gain(users_t, places_t, boresight_t, cells[0].height_m).numpy()
    powers = POWER_MW * random.uniform(0.5, 1.0, (INPUTS, case.cells))
    return Drop(places, cells[0].height_m, boresight, users, gain, powers)


def _in_hexagon(random: np.random.Generator, count: int) -> Array:
    """[count, 2] uniform over the area nearer to a site than to its neighbours: three rhombi about the site."""
    turn = pi / 6 + 2 * pi / 3 * random.integers(3, size=count)
    along = ISD_M / sqrt(3) * random.random((2, count))
    x, y = (along[0] * f(turn) + along[1] * f(turn + 2 * pi / 3) for f in (np.cos, np.sin))
    return np.column_stack([x, y])


def path_gain(users_m: Tensor, cells_m: Tensor, boresight: Tensor, height_m: float) -> Tensor:
    """[.., P, C] linear: UMa without sight (TR 38.901 Table 7.4.1-1), and the horizontal pattern of Table 7.3-1.

    The plain way, with a logarithm, an arctangent and a power a link.
    """
    dx, dy = (users_m[..., :, None, i] - cells_m[:, i] for i in (0, 1))
    lg = 0.5 * torch.log10(dx * dx + dy * dy + (height_m - USER_M) ** 2)
    loss_db = 13.54 + 39.08 * lg + 20 * log10(CARRIER_GHZ)
    off = torch.atan2(dy, dx) - boresight
    off = torch.remainder(off + pi, 2 * pi) - pi
    antenna_db = 8 - (12 * (off * (180 / pi / 65)) ** 2).clamp_max(30)
    return 10 ** ((antenna_db - loss_db) / 10)

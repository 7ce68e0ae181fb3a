"""Path loss and probability of line of sight, TR 38.901 v19.4 Tables 7.4.1-1 and 7.4.2-1: UMa, UMi, RMa.

Valid for 0.5 to 100 GHz (RMa to 30 GHz) and 10 m to 5 km (RMa in sight to 10 km); nearer than 10 m the loss at 10 m
holds. Heights of users may differ from place to place: all arguments broadcast.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log10, pi
from typing import Literal

import torch

SPEED_OF_LIGHT = 3.0e8  # m/s, the value that TR 38.901 note 1 uses
UT_HEIGHT_M = 1.5
_NEAREST_M = 10.0
# Above this a site overlooks the roofs around it: UMa (25 m in the table) rather than UMi (10 m).
UMA_FROM_HEIGHT_M = 18.0
# RMa: average building height and street width (Table 7.4.1-1, its default values).
BUILDING_HEIGHT_M, STREET_WIDTH_M = 5.0, 20.0

Tensor = torch.Tensor
Scenario = Literal["UMa", "UMi", "RMa"]


def _tensor(value: Tensor | float, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def breakpoint_m(
    height_m: Tensor, fc_ghz: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M, environment_m: Tensor | float = 1.0
) -> Tensor:
    """Effective breakpoint distance d'BP = 4 h'BS h'UT fc / c (Table 7.4.1-1 note 1), metres."""
    effective = (height_m - environment_m).clamp_min(0.5) * (ut_height_m - _tensor(environment_m, height_m))
    return 4 * effective * fc_ghz * 1e9 / SPEED_OF_LIGHT


def distance_3d_m(d2d_m: Tensor, height_m: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M) -> Tensor:
    """Slant distance, metres."""
    return torch.sqrt(d2d_m**2 + (height_m - ut_height_m) ** 2)


def _two_slopes(
    d2d_m: Tensor,
    height_m: Tensor,
    fc_ghz: Tensor,
    ut_height_m: Tensor | float,
    environment_m: Tensor | float,
    intercept: float,
    slope: float,
    correction: float,
) -> Tensor:
    d2d_m = d2d_m.clamp_min(_NEAREST_M)
    lg = torch.log10(distance_3d_m(d2d_m, height_m, ut_height_m))
    frequency = 20 * torch.log10(fc_ghz)
    corner = breakpoint_m(height_m, fc_ghz, ut_height_m, environment_m)
    near = intercept + slope * lg + frequency
    far = intercept + 40 * lg + frequency - correction * torch.log10(corner**2 + (height_m - ut_height_m) ** 2)
    return torch.where(d2d_m <= corner, near, far)


def uma_los_db(
    d2d_m: Tensor,
    height_m: Tensor,
    fc_ghz: Tensor,
    ut_height_m: Tensor | float = UT_HEIGHT_M,
    environment_m: Tensor | float = 1.0,
) -> Tensor:
    """UMa, line of sight, dB; `environment_m` is hE of note 1, see `uma_environment_m`."""
    return _two_slopes(d2d_m, height_m, fc_ghz, ut_height_m, environment_m, 28.0, 22, 9)


def uma_nlos_db(
    d2d_m: Tensor,
    height_m: Tensor,
    fc_ghz: Tensor,
    ut_height_m: Tensor | float = UT_HEIGHT_M,
    environment_m: Tensor | float = 1.0,
) -> Tensor:
    """UMa, no line of sight, dB."""
    lg = torch.log10(distance_3d_m(d2d_m.clamp_min(_NEAREST_M), height_m, ut_height_m))
    nlos = 13.54 + 39.08 * lg + 20 * torch.log10(fc_ghz) - 0.6 * (_tensor(ut_height_m, lg) - 1.5)
    return torch.maximum(uma_los_db(d2d_m, height_m, fc_ghz, ut_height_m, environment_m), nlos)


def umi_los_db(d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M) -> Tensor:
    """UMi street canyon, line of sight, dB."""
    return _two_slopes(d2d_m, height_m, fc_ghz, ut_height_m, 1.0, 32.4, 21, 9.5)


def umi_nlos_db(d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M) -> Tensor:
    """UMi street canyon, no line of sight, dB."""
    lg = torch.log10(distance_3d_m(d2d_m.clamp_min(_NEAREST_M), height_m, ut_height_m))
    nlos = 35.3 * lg + 22.4 + 21.3 * torch.log10(fc_ghz) - 0.3 * (_tensor(ut_height_m, lg) - 1.5)
    return torch.maximum(umi_los_db(d2d_m, height_m, fc_ghz, ut_height_m), nlos)


def rma_breakpoint_m(height_m: Tensor, fc_ghz: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M) -> Tensor:
    """Breakpoint distance dBP = 2 pi hBS hUT fc / c (Table 7.4.1-1 note 5), metres."""
    return 2 * pi * height_m * ut_height_m * fc_ghz * 1e9 / SPEED_OF_LIGHT


def rma_los_db(
    d2d_m: Tensor,
    height_m: Tensor,
    fc_ghz: Tensor,
    ut_height_m: Tensor | float = UT_HEIGHT_M,
    building_m: float = BUILDING_HEIGHT_M,
) -> Tensor:
    """RMa, line of sight, dB."""
    d2d_m = d2d_m.clamp_min(_NEAREST_M)
    d3d, corner = distance_3d_m(d2d_m, height_m, ut_height_m), rma_breakpoint_m(height_m, fc_ghz, ut_height_m)
    rise: float = building_m**1.72
    steeper, intercept, linear = min(0.03 * rise, 10), min(0.044 * rise, 14.77), 0.002 * log10(building_m)

    def near(d: Tensor) -> Tensor:
        lg = torch.log10(d)
        free = 20 * (lg + torch.log10(40 * pi * fc_ghz / 3))
        return free + lg * steeper - intercept + d * linear

    return torch.where(d2d_m <= corner, near(d3d), near(corner) + 40 * torch.log10(d3d / corner))


def rma_nlos_db(
    d2d_m: Tensor,
    height_m: Tensor,
    fc_ghz: Tensor,
    ut_height_m: Tensor | float = UT_HEIGHT_M,
    building_m: float = BUILDING_HEIGHT_M,
    street_m: float = STREET_WIDTH_M,
) -> Tensor:
    """RMa, no line of sight, dB."""
    lg = torch.log10(distance_3d_m(d2d_m.clamp_min(_NEAREST_M), height_m, ut_height_m))
    mast = torch.log10(height_m)
    nlos = (
        161.04 - 7.1 * log10(street_m) + 7.5 * log10(building_m)
        - (24.37 - 3.7 * (building_m / height_m) ** 2) * mast
        + (43.42 - 3.1 * mast) * (lg - 3) + 20 * torch.log10(fc_ghz)
        - (3.2 * torch.log10(11.75 * _tensor(ut_height_m, lg)) ** 2 - 4.97)
    )  # fmt: skip
    return torch.maximum(rma_los_db(d2d_m, height_m, fc_ghz, ut_height_m, building_m), nlos)


def uma_los_probability(d2d_out_m: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M) -> Tensor:
    """Probability of line of sight in UMa.

    Examples
    --------
    >>> uma_los_probability(torch.tensor([10.0, 100.0, 500.0], dtype=torch.float64)).round(decimals=3).tolist()
    [1.0, 0.348, 0.036]
    """
    d = d2d_out_m.clamp_min(18.0)
    base = 18 / d + torch.exp(-d / 63) * (1 - 18 / d)
    rise = ((_tensor(ut_height_m, d) - 13).clamp(0, 10) / 10) ** 1.5
    lifted = 1 + rise * 1.25 * (d / 100) ** 3 * torch.exp(-d / 150)
    return torch.where(d2d_out_m <= 18, 1.0, base * lifted)


def umi_los_probability(d2d_out_m: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M) -> Tensor:
    """Probability of line of sight in UMi street canyon, the same at any height."""
    d = d2d_out_m.clamp_min(18.0)
    return 18 / d + torch.exp(-d / 36) * (1 - 18 / d)


def rma_los_probability(d2d_out_m: Tensor, ut_height_m: Tensor | float = UT_HEIGHT_M) -> Tensor:
    """Probability of line of sight in RMa, the same at any height."""
    return torch.exp(-(d2d_out_m - 10).clamp_min(0) / 1000)


def uma_environment_m(d2d_m: Tensor, ut_height_m: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """hE of UMa (Table 7.4.1-1 note 1): 1 m with probability 1 / (1 + C), else one of 12, 15, ... hUT - 1.5 m.

    Parameters
    ----------
    d2d_m, ut_height_m
        [...] metres.
    one, two
        [...] uniform random numbers in 0..1: whether, and which.
    """
    rise = ((ut_height_m - 13).clamp(0, 10) / 10) ** 1.5
    g = torch.where(d2d_m <= 18, 0.0, 1.25 * (d2d_m / 100) ** 3 * torch.exp(-d2d_m / 150))
    count = torch.floor((ut_height_m - 13.5) / 3).clamp_min(-1) + 1
    raised = 12 + 3 * torch.floor(two * count.clamp_min(1))
    return torch.where((one >= 1 / (1 + rise * g)) & (count > 0), raised, 1.0)


@dataclass(frozen=True)
class Model:
    """A row of Table 7.4.1-1, of Table 7.4.2-1, and of Table 7.5-6 as far as shadowing goes.

    Attributes
    ----------
    los_db, nlos_db
        (d2D, hBS, fc, hUT) to path loss.
    los_probability
        (d2D-out, hUT) to 0..1.
    shadow_db
        Standard deviation in sight, beyond the breakpoint in sight, and out of sight.
    shadow_m
        Correlation distance in sight, out of sight.
    """

    los_db: Callable[..., Tensor]
    nlos_db: Callable[..., Tensor]
    los_probability: Callable[..., Tensor]
    shadow_db: tuple[float, float, float]
    shadow_m: tuple[float, float]


MODELS: dict[Scenario, Model] = {
    "UMa": Model(uma_los_db, uma_nlos_db, uma_los_probability, (4.0, 4.0, 6.0), (37.0, 50.0)),
    "UMi": Model(umi_los_db, umi_nlos_db, umi_los_probability, (4.0, 4.0, 7.82), (10.0, 13.0)),
    "RMa": Model(rma_los_db, rma_nlos_db, rma_los_probability, (4.0, 6.0, 8.0), (37.0, 120.0)),
}


def scenario_of(height_m: float) -> Scenario:
    """UMa where an antenna stands high, UMi where it does not; rural cells say that they are."""
    return "UMa" if height_m >= UMA_FROM_HEIGHT_M else "UMi"


def losses_db(
    d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, scenarios: tuple[Scenario, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss in sight and out of sight, dB, and the probability of sight, [P, C] each; arguments as below."""
    in_sight, blocked, chance = (torch.empty_like(d2d_m) for _ in range(3))
    for name in sorted(set(scenarios)):
        model, own = MODELS[name], torch.tensor([n == name for n in scenarios])
        link = d2d_m[:, own], height_m[own], fc_ghz[own]
        in_sight[:, own], blocked[:, own] = model.los_db(*link), model.nlos_db(*link)
        chance[:, own] = model.los_probability(link[0])
    return in_sight, blocked, chance


def expected_loss_db(
    d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, scenarios: tuple[Scenario, ...] | None = None
) -> Tensor:
    """Mean loss over the two states of sight, dB.

    Parameters
    ----------
    d2d_m
        [P, C] horizontal distance.
    height_m, fc_ghz
        [C] antenna height and carrier.
    scenarios
        [C] of each cell; by the height of its antenna where not given.
    """
    names = scenarios or tuple(scenario_of(h) for h in height_m.tolist())
    in_sight, blocked, chance = losses_db(d2d_m, height_m, fc_ghz, names)
    return chance * in_sight + (1 - chance) * blocked

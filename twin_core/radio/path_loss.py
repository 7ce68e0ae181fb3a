"""Path loss and probability of line of sight, TR 38.901 v19.4 Tables 7.4.1-1 and 7.4.2-1.

Valid for 0.5 to 100 GHz and 10 m to 5 km; nearer than 10 m the loss at 10 m holds.
"""

import torch

SPEED_OF_LIGHT = 3.0e8  # m/s, the value that TR 38.901 note 1 uses
UT_HEIGHT_M = 1.5
_EFFECTIVE_ENVIRONMENT_M = 1.0  # hE: 1 m for UMi always, for UMa where hUT < 13 m
_NEAREST_M = 10.0
# Above this a site overlooks the roofs around it: UMa (25 m in the table) rather than UMi (10 m).
UMA_FROM_HEIGHT_M = 18.0

Tensor = torch.Tensor


def breakpoint_m(height_m: Tensor, fc_ghz: Tensor, ut_height_m: float = UT_HEIGHT_M) -> Tensor:
    """Effective breakpoint distance d'BP = 4 h'BS h'UT fc / c (Table 7.4.1-1 note 1), metres."""
    effective = (height_m - _EFFECTIVE_ENVIRONMENT_M).clamp_min(0.5) * (ut_height_m - _EFFECTIVE_ENVIRONMENT_M)
    return 4 * effective * fc_ghz * 1e9 / SPEED_OF_LIGHT


def distance_3d_m(d2d_m: Tensor, height_m: Tensor, ut_height_m: float = UT_HEIGHT_M) -> Tensor:
    """Slant distance, metres."""
    return torch.sqrt(d2d_m**2 + (height_m - ut_height_m) ** 2)


def _two_slopes(
    d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, intercept: float, slope: float, correction: float, ut: float
) -> Tensor:
    d2d_m = d2d_m.clamp_min(_NEAREST_M)
    lg = torch.log10(distance_3d_m(d2d_m, height_m, ut))
    frequency = 20 * torch.log10(fc_ghz)
    corner = breakpoint_m(height_m, fc_ghz, ut)
    near = intercept + slope * lg + frequency
    far = intercept + 40 * lg + frequency - correction * torch.log10(corner**2 + (height_m - ut) ** 2)
    return torch.where(d2d_m <= corner, near, far)


def uma_los_db(d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, ut_height_m: float = UT_HEIGHT_M) -> Tensor:
    """UMa, line of sight, dB."""
    return _two_slopes(d2d_m, height_m, fc_ghz, 28.0, 22, 9, ut_height_m)


def uma_nlos_db(d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, ut_height_m: float = UT_HEIGHT_M) -> Tensor:
    """UMa, no line of sight, dB."""
    lg = torch.log10(distance_3d_m(d2d_m.clamp_min(_NEAREST_M), height_m, ut_height_m))
    nlos = 13.54 + 39.08 * lg + 20 * torch.log10(fc_ghz) - 0.6 * (ut_height_m - 1.5)
    return torch.maximum(uma_los_db(d2d_m, height_m, fc_ghz, ut_height_m), nlos)


def umi_los_db(d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, ut_height_m: float = UT_HEIGHT_M) -> Tensor:
    """UMi street canyon, line of sight, dB."""
    return _two_slopes(d2d_m, height_m, fc_ghz, 32.4, 21, 9.5, ut_height_m)


def umi_nlos_db(d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor, ut_height_m: float = UT_HEIGHT_M) -> Tensor:
    """UMi street canyon, no line of sight, dB."""
    lg = torch.log10(distance_3d_m(d2d_m.clamp_min(_NEAREST_M), height_m, ut_height_m))
    nlos = 35.3 * lg + 22.4 + 21.3 * torch.log10(fc_ghz) - 0.3 * (ut_height_m - 1.5)
    return torch.maximum(umi_los_db(d2d_m, height_m, fc_ghz, ut_height_m), nlos)


def uma_los_probability(d2d_m: Tensor, ut_height_m: float = UT_HEIGHT_M) -> Tensor:
    """Probability of line of sight in UMa.

    Examples
    --------
    >>> uma_los_probability(torch.tensor([10.0, 100.0, 500.0], dtype=torch.float64)).round(decimals=3).tolist()
    [1.0, 0.348, 0.036]
    """
    d = d2d_m.clamp_min(18.0)
    base = 18 / d + torch.exp(-d / 63) * (1 - 18 / d)
    rise = (max(0.0, ut_height_m - 13) / 10) ** 1.5
    lifted: Tensor = 1 + rise * 1.25 * (d / 100) ** 3 * torch.exp(-d / 150) * (d2d_m > 18)
    return base * lifted


def umi_los_probability(d2d_m: Tensor) -> Tensor:
    """Probability of line of sight in UMi street canyon."""
    d = d2d_m.clamp_min(18.0)
    return 18 / d + torch.exp(-d / 36) * (1 - 18 / d)


def expected_loss_db(d2d_m: Tensor, height_m: Tensor, fc_ghz: Tensor) -> Tensor:
    """Mean loss over the two states of sight, dB; UMa where the antenna stands high, UMi where it does not.

    Parameters
    ----------
    d2d_m
        [P, C] horizontal distance.
    height_m, fc_ghz
        [C] antenna height and carrier.
    """
    p_uma, p_umi = uma_los_probability(d2d_m), umi_los_probability(d2d_m)
    uma = p_uma * uma_los_db(d2d_m, height_m, fc_ghz) + (1 - p_uma) * uma_nlos_db(d2d_m, height_m, fc_ghz)
    umi = p_umi * umi_los_db(d2d_m, height_m, fc_ghz) + (1 - p_umi) * umi_nlos_db(d2d_m, height_m, fc_ghz)
    return torch.where(height_m >= UMA_FROM_HEIGHT_M, uma, umi)

"""Antenna gain: element of TR 38.901 Table 7.3-1, column of elements with electrical tilt of Eq. 7.3-1.

Where a pixel lies in the antenna's own frame does not depend on configuration and is computed once with dot
products; of the pattern only the electrical tilt and the electrical azimuth change from step to step.
"""

from dataclasses import dataclass
from math import pi

import torch

from twin_core.radio.path_loss import UT_HEIGHT_M

ELEMENT_GAIN_DBI = 8.0
BEAMWIDTH_DEG = 65.0  # horizontal and vertical, Table 7.3-1
FLOOR_DB = 30.0  # A_max and SLA_V, Table 7.3-1
# Column of M = 8 elements half a wavelength apart: about 13 degrees of vertical beam, a common macro panel
# (assumption).
COLUMN = 8
SPACING_WAVELENGTHS = 0.5

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Directions:
    """Where each pixel lies as seen by each antenna, in the frame of the mechanically tilted panel.

    Attributes
    ----------
    cos_zenith
        [P, C] cosine of the zenith angle; 0 is boresight height, negative below.
    azimuth_deg
        [P, C] angle off boresight, degrees in [-180, 180].
    """

    cos_zenith: Tensor
    azimuth_deg: Tensor


def directions(dx_m: Tensor, dy_m: Tensor, height_m: Tensor, azimuth_deg: Tensor, tilt_deg: Tensor) -> Directions:
    """Project the rays from antennas to pixels on each panel's axes.

    Parameters
    ----------
    dx_m, dy_m
        [P, C] from antenna to pixel, east and north.
    height_m, azimuth_deg, tilt_deg
        [C] antenna height, boresight clockwise from north, mechanical down-tilt.
    """
    dz = (UT_HEIGHT_M - height_m).expand_as(dx_m)
    norm = torch.sqrt(dx_m**2 + dy_m**2 + dz**2).clamp_min(1.0)
    az, tilt = torch.deg2rad(azimuth_deg), torch.deg2rad(tilt_deg)
    forward = (dx_m * az.sin() + dy_m * az.cos()) / norm
    right = (dx_m * az.cos() - dy_m * az.sin()) / norm
    up = dz / norm
    ahead = forward * tilt.cos() - up * tilt.sin()
    above = forward * tilt.sin() + up * tilt.cos()
    return Directions(above.clamp(-1, 1), torch.rad2deg(torch.atan2(right, ahead)))


def gain_dbi(seen: Directions, tilt_deg: Tensor, azimuth_deg: Tensor) -> Tensor:
    """Gain of each antenna towards each pixel, dBi.

    Parameters
    ----------
    seen
        [P, C] from `directions`.
    tilt_deg, azimuth_deg
        [C] electrical tilt (positive is down) and electrical azimuth (positive is clockwise).

    Returns
    -------
    Tensor
        [P, C]; at most 8 + 10 lg 8 = 17.03 dBi, at least 30 dB less.
    """
    off = torch.remainder(seen.azimuth_deg - azimuth_deg + 180, 360) - 180
    above_deg = torch.rad2deg(torch.asin(seen.cos_zenith))
    vertical = (12 * (above_deg / BEAMWIDTH_DEG) ** 2).clamp_max(FLOOR_DB)
    horizontal = (12 * (off / BEAMWIDTH_DEG) ** 2).clamp_max(FLOOR_DB)
    element = -(vertical + horizontal).clamp_max(FLOOR_DB)
    # Array factor of Eq. 7.3-1 summed in closed form; the beam points where cos(zenith) = -sin(tilt).
    half = pi * SPACING_WAVELENGTHS * (seen.cos_zenith + torch.deg2rad(tilt_deg).sin())
    ratio = torch.where(half.abs() < 1e-6, torch.full_like(half, COLUMN), (COLUMN * half).sin() / half.sin())
    column = 10 * torch.log10((ratio**2 / COLUMN).clamp_min(1e-9))
    peak = 10 * torch.log10(torch.tensor(float(COLUMN), dtype=half.dtype))
    # Nulls are filled by scattering: nothing falls below the pattern's floor.
    return ELEMENT_GAIN_DBI + peak + (element + column - peak).clamp_min(-FLOOR_DB)

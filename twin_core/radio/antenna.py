"""Antenna gain: element of TR 38.901 Table 7.3-1, panels of elements with the electrical steering of Eq. 7.3-1.

Where a place lies in the antenna's own frame does not depend on configuration and is computed once with dot
products; of the pattern only the electrical tilt, the electrical azimuth and the shape of the common beam change from
step to step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import torch

from twin_core.radio.path_loss import UT_HEIGHT_M

ELEMENT_GAIN_DBI = 8.0
BEAMWIDTH_DEG = 65.0  # horizontal and vertical, Table 7.3-1
FLOOR_DB = 30.0  # A_max and SLA_V, Table 7.3-1
# Column of M = 8 elements half a wavelength apart: about 13 degrees of vertical beam, a common macro panel
# (assumption).
ROWS, COLUMNS = 8, 1
SPACING_WAVELENGTHS = 0.5
# Widths of the common beam by coverageShape (TS 28.541 leaves the numbers to the vendor; these are typical of macro
# radios and an assumption), degrees horizontal and vertical.
_GAIN_TIMES_SQUARE_DEG = 32_400  # of a beam with usual side lobes (Stutzman and Thiele, Antenna Theory, 9.3)
SHAPES_DEG: dict[int, tuple[float, float]] = {1: (65.0, 8.0), 2: (65.0, 30.0), 3: (30.0, 30.0), 4: (90.0, 10.0)}
OWN_SHAPE = 0  # the panel's own beam

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Panels:
    """How the antennas are built, [C] each.

    Attributes
    ----------
    rows, columns
        Elements above and beside one another, half a wavelength apart, all of one port.
    """

    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, rows: Sequence[int], columns: Sequence[int]) -> "Panels":
        """Of numbers of elements by cell."""
        return cls(torch.tensor(rows, dtype=torch.float64), torch.tensor(columns, dtype=torch.float64))

    def of_cells(self, which: Tensor) -> "Panels":
        """Those of some cells, by index or mask."""
        return Panels(self.rows[which], self.columns[which])


@dataclass(frozen=True, eq=False)
class Directions:
    """Where each place lies as seen by each antenna, in the frame of the mechanically tilted panel.

    Attributes
    ----------
    cos_zenith
        [P, C] cosine of the zenith angle; 0 is boresight height, negative below.
    azimuth_deg
        [P, C] angle off boresight, degrees in [-180, 180].
    """

    cos_zenith: Tensor
    azimuth_deg: Tensor

    def of(self, which: Tensor) -> "Directions":
        """As seen by some cells, by index or mask."""
        return Directions(self.cos_zenith[:, which], self.azimuth_deg[:, which])


def directions(
    dx_m: Tensor,
    dy_m: Tensor,
    height_m: Tensor,
    azimuth_deg: Tensor,
    tilt_deg: Tensor,
    ut_height_m: Tensor | float = UT_HEIGHT_M,
) -> Directions:
    """Project the rays from antennas to places on each panel's axes.

    Parameters
    ----------
    dx_m, dy_m
        [P, C] from antenna to place, east and north.
    height_m, azimuth_deg, tilt_deg
        [C] antenna height, boresight clockwise from north, mechanical down-tilt.
    ut_height_m
        [P, 1] or one height of the users.
    """
    dz = (ut_height_m - height_m).expand_as(dx_m)
    norm = torch.sqrt(dx_m**2 + dy_m**2 + dz**2).clamp_min(1.0)
    az, tilt = torch.deg2rad(azimuth_deg), torch.deg2rad(tilt_deg)
    forward = (dx_m * az.sin() + dy_m * az.cos()) / norm
    right = (dx_m * az.cos() - dy_m * az.sin()) / norm
    up = dz / norm
    ahead = forward * tilt.cos() - up * tilt.sin()
    above = forward * tilt.sin() + up * tilt.cos()
    return Directions(above.clamp(-1, 1), torch.rad2deg(torch.atan2(right, ahead)))


def gain_dbi(
    seen: Directions,
    tilt_deg: Tensor,
    azimuth_deg: Tensor,
    panels: Panels | None = None,
    shape: Tensor | None = None,
    *,
    filled: bool = True,
) -> Tensor:
    """Gain of each antenna towards each place, dBi.

    A panel of one column is turned electrically as a whole; more columns are steered by their phases, and the element
    keeps looking ahead.

    Parameters
    ----------
    seen
        [P, C] from `directions`.
    tilt_deg, azimuth_deg
        [C] electrical tilt (positive is down) and electrical azimuth (positive is clockwise).
    panels
        How they are built; one column of eight elements where not given.
    shape
        [C] coverageShape of the common beam, see SHAPES_DEG; the panel's own beam where not given.
    filled
        Whether scattering fills what lies more than 30 dB below the most, nulls above all. In the report it does not;
        over a pixel of many users it does.

    Returns
    -------
    Tensor
        [P, C]; of one column of eight at most 8 + 10 lg 8 = 17.03 dBi.
    """
    built = panels or Panels(torch.full_like(tilt_deg, ROWS), torch.full_like(tilt_deg, COLUMNS))
    wide = built.columns > 1
    turned = torch.where(wide, 0.0, azimuth_deg)
    off = torch.remainder(seen.azimuth_deg - turned + 180, 360) - 180
    above_deg = torch.rad2deg(torch.asin(seen.cos_zenith))
    peak = 10 * torch.log10(built.rows * built.columns)
    # The beam points where cos(zenith) = -sin(tilt).
    array = _array_db(built.rows, seen.cos_zenith + torch.deg2rad(tilt_deg).sin())
    if bool(wide.any()):
        flat = torch.sqrt((1 - seen.cos_zenith**2).clamp_min(0.0))
        beside = flat * torch.deg2rad(seen.azimuth_deg).sin() - torch.deg2rad(azimuth_deg).sin()
        array = array + torch.where(wide, _array_db(built.columns, beside), 0.0)
    element = (_parabola(above_deg, BEAMWIDTH_DEG) + _parabola(off, BEAMWIDTH_DEG)).clamp_min(-FLOOR_DB)
    off_peak = element + array - peak
    out = ELEMENT_GAIN_DBI + peak + (off_peak.clamp_min(-FLOOR_DB) if filled else off_peak)
    if shape is None or not bool(shape.any()):
        return out
    return torch.where(shape > 0, _shaped(seen, tilt_deg, azimuth_deg, shape), out)


def _parabola(off_deg: Tensor, width_deg: Tensor | float) -> Tensor:
    return -(12 * (off_deg / width_deg) ** 2).clamp_max(FLOOR_DB)


def _array_db(elements: Tensor, off: Tensor) -> Tensor:
    """Array factor of Eq. 7.3-1 summed in closed form, dB over one element; `off` is 0 where the beam points."""
    half = pi * SPACING_WAVELENGTHS * off
    ratio = torch.where(half.abs() < 1e-6, elements.expand_as(half), (elements * half).sin() / half.sin())
    return 10 * torch.log10((ratio**2 / elements).clamp_min(1e-9))


def _shaped(seen: Directions, tilt_deg: Tensor, azimuth_deg: Tensor, shape: Tensor) -> Tensor:
    """[P, C] of a common beam of given widths: what is wider is weaker by as much, so that no power is made."""
    widths = torch.tensor([SHAPES_DEG.get(int(s), (BEAMWIDTH_DEG,) * 2) for s in shape.tolist()], dtype=tilt_deg.dtype)
    off = torch.remainder(seen.azimuth_deg - azimuth_deg + 180, 360) - 180
    below = torch.rad2deg(torch.asin(seen.cos_zenith)) + tilt_deg
    most = 10 * torch.log10(_GAIN_TIMES_SQUARE_DEG / widths.prod(dim=1))
    return most + (_parabola(off, widths[:, 0]) + _parabola(below, widths[:, 1])).clamp_min(-FLOOR_DB)

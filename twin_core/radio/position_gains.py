"""Gains towards users wherever they are: a thousand users against 57 cells in well under a millisecond.

The same physics as a network's own map (expected path loss of TR 38.901, columns with mechanical and electrical tilt),
without angles or logarithms: directions are dot products; the square of the azimuth is a polynomial of its cosine; the
array factor one of a cosine; path loss, and the square of the elevation, are read off tables that the exponent and the
first mantissa bits of a squared distance, or of a squared sine, index. A table's steps are a thousandth of an octave
squared, so that reading without interpolation is off by no more than 0.01 dB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log2, pi

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.topology import Topology
from twin_core.exceptions import InvalidSettings
from twin_core.radio.antenna import BEAMWIDTH_DEG, ELEMENT_GAIN_DBI, FLOOR_DB, ROWS
from twin_core.radio.layout import Layout
from twin_core.radio.path_loss import UT_HEIGHT_M, Scenario, expected_loss_db, scenario_of

Array = NDArray[np.float64]
Tensor = torch.Tensor

# 1024 steps an octave of squared distance from 8 m to 16 km; nearer than 10 m the loss at 10 m holds anyway.
_LOW_OCTAVE, _HIGH_OCTAVE, _STEP_BITS = 6, 28, 10
_STEPS = (_HIGH_OCTAVE - _LOW_OCTAVE) << _STEP_BITS
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23  # of a float32
_OCTAVES_PER_DB = log2(10) / 10
_OCTAVES_PER_RADIAN2 = 12 / (BEAMWIDTH_DEG * pi / 180) ** 2 * _OCTAVES_PER_DB
_FLOOR_OCTAVES = FLOOR_DB * _OCTAVES_PER_DB
# Cosine of the azimuth beyond which the element has reached its floor.
_LEAST_COSINE = -0.25


def _squared_angle(degree: int, low: float, high: float, angle: Callable[[Array], Array]) -> list[float]:
    """Gain, in octaves and so negative, as a polynomial of a cosine or of a squared sine, lowest power first."""
    at = low + (high - low) * (1 - np.cos(np.linspace(0, pi, 400))) / 2
    fitted = np.polynomial.Chebyshev.fit(at, -_OCTAVES_PER_RADIAN2 * angle(at) ** 2, degree)
    return [float(c) for c in fitted.convert(kind=np.polynomial.Polynomial).coef]


_AZIMUTH = _squared_angle(5, _LEAST_COSINE, 1.0, np.arccos)
_ELEVATION = _squared_angle(4, 0.0, 0.75, lambda v: np.arcsin(np.sqrt(v)))  # up to 60 degrees


def _horner(x: Tensor, coefficients: list[float]) -> Tensor:
    """The polynomial but for its constant."""
    out = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        out.add_(c).mul_(x)
    return out


@dataclass(frozen=True, eq=False)
class PositionGains:
    """Path gain from every cell to any place, antennas included, float32.

    Attributes
    ----------
    turn, shift
        [2, 2 C] and [2 C] that turn a place (east, north) into metres ahead and to the right of each antenna.
    drop_m
        [C] height of the users above the antenna, negative.
    mechanical
        [2, C] cosine and sine of the mechanical tilt; None where there is none.
    aim
        [C] pi times the sine of the electrical tilt.
    gain
        [K] linear path gain by squared distance, half the antenna's gain at its peak counted in.
    lift
        [K] gain in octaves that elevation costs an element without mechanical tilt, by squared distance, and with it
        what the azimuth's polynomial begins with.
    first
        [C] where each cell's part of the tables begins; None where all share one.
    """

    turn: Tensor
    shift: Tensor
    drop_m: Tensor
    mechanical: Tensor | None
    aim: Tensor
    gain: Tensor
    lift: Tensor
    first: Tensor | None

    @classmethod
    def of(
        cls, topology: Topology, tilt_deg: Tensor, azimuth_deg: Tensor, device: torch.device | str = "cpu"
    ) -> "PositionGains":
        """For cells under electrical tilts and azimuths ([C] each).

        Raises
        ------
        InvalidSettings
            For wraparound, or panels that are no single column of eight: those need the network's own map.
        """
        if topology.images_m or any(c.panel_rows != ROWS or c.panel_columns != 1 for c in topology.cells):
            raise InvalidSettings(
                f"gains by position are for layouts without wraparound and columns of {ROWS}; use Network.at(x, y)"
            )
        layout = Layout.of(topology)
        look = torch.deg2rad(layout.azimuth_deg + azimuth_deg)
        ahead, right = torch.stack([look.sin(), look.cos()]), torch.stack([look.cos(), -look.sin()])
        turn = torch.cat([ahead, right], dim=1)
        shift = -torch.cat([c[0] * layout.x_m + c[1] * layout.y_m for c in (ahead, right)])
        tilt = torch.deg2rad(layout.mechanical_tilt_deg)
        mechanical = torch.stack([tilt.cos(), tilt.sin()]) if bool(tilt.any()) else None
        kinds = [(c.height_m, c.carrier_ghz, c.scenario or scenario_of(c.height_m)) for c in topology.cells]
        distinct = sorted(set(kinds))
        tables = [_tables(*kind) for kind in distinct]
        first = torch.tensor([distinct.index(kind) * _STEPS for kind in kinds], dtype=torch.int32)

        def there(t: Tensor) -> Tensor:
            return t.to(device, torch.float32).contiguous()

        return cls(
            there(turn),
            there(shift),
            there(UT_HEIGHT_M - layout.height_m),
            None if mechanical is None else there(mechanical),
            there(pi * torch.deg2rad(tilt_deg).sin()),
            there(torch.cat([gain for gain, _ in tables])),
            there(torch.cat([lift for _, lift in tables])),
            None if len(distinct) == 1 else first.to(device),
        )

    def at(self, x_m: Tensor, y_m: Tensor) -> Tensor:
        """[P, C] linear path gain at places ([P] each, float32).

        Examples
        --------
        >>> from twin_core.layouts import hexagonal
        >>> six = torch.full((3,), 6.0, dtype=torch.float64)
        >>> gains = PositionGains.of(hexagonal(sites=1), six, torch.zeros_like(six))
        >>> gain = gains.at(torch.tensor([100.0]), torch.tensor([173.2]))
        >>> gain.log10().mul(10).round().tolist()
        [[-94.0, -124.0, -124.0]]
        """
        places = torch.stack([x_m, y_m], dim=1)
        cells = len(self.aim)
        # Two small products rather than one and two strided halves: what follows runs over whole rows.
        ahead = torch.addmm(self.shift[:cells], places, self.turn[:, :cells])
        right = torch.addmm(self.shift[cells:], places, self.turn[:, cells:])
        d2 = right.mul_(right).addcmul_(ahead, ahead).clamp_(2.0**_LOW_OCTAVE, 2.0**_HIGH_OCTAVE * (1 - 1e-6))
        step = d2.view(torch.int32) >> (_MANTISSA_BITS - _STEP_BITS)
        step.sub_((_EXPONENT_BIAS + _LOW_OCTAVE) << _STEP_BITS)
        if self.first is not None:
            step.add_(self.first)
        step = step.view(-1)
        gain = self.gain.index_select(0, step).view_as(d2)
        slant = (d2 + self.drop_m**2).rsqrt_()
        if self.mechanical is None:
            octaves = self.lift.index_select(0, step).view_as(d2)
            phase = torch.addcmul(self.aim, slant, pi * self.drop_m)
            cosine = d2.rsqrt_().mul_(ahead)
        else:
            cos, sin = self.mechanical
            above = torch.addcmul(cos * self.drop_m, ahead, sin).mul_(slant)
            octaves = _horner((above * above).clamp_max_(0.75), _ELEVATION).add_(_AZIMUTH[0] + _ELEVATION[0])
            phase = torch.addcmul(self.aim, above, self.aim.new_tensor(pi))
            beside2 = d2.addcmul_(ahead, ahead, value=-1)
            turned = ahead * cos - sin * self.drop_m
            cosine = beside2.addcmul_(turned, turned).clamp_min_(1.0).rsqrt_().mul_(turned)
        octaves.add_(_horner(cosine.clamp_(_LEAST_COSINE, 1.0), _AZIMUTH)).clamp_(-_FLOOR_OCTAVES, 0.0)
        pattern = octaves.exp2_().mul_(_column(phase)).clamp_min_(2.0 ** (1 - _FLOOR_OCTAVES))
        return pattern.mul_(gain)


def _column(phase: Tensor) -> Tensor:
    """Twice the array factor of eight elements half a wavelength apart over its peak, 0..2.

    sin(8x) / (8 sin x) = cos x cos 2x cos 4x, with 2x the phase from one element to the next.
    """
    c = phase.cos_()
    four = (c * c).mul_(2).sub_(1).mul_(c).square_()
    return torch.addcmul(four, four, c)


def _tables(height_m: float, carrier_ghz: float, scenario: Scenario) -> tuple[Tensor, Tensor]:
    """[steps] each of one kind of cell: linear path gain and what elevation costs, in the middle of every step."""
    octave = torch.arange(_LOW_OCTAVE, _HIGH_OCTAVE, dtype=torch.float64)[:, None]
    inside = (torch.arange(1 << _STEP_BITS, dtype=torch.float64) + 0.5) / (1 << _STEP_BITS)
    d2 = (2.0**octave * (1 + inside)).ravel()
    height, carrier = torch.tensor([[height_m], [carrier_ghz]], dtype=torch.float64)
    loss = expected_loss_db(d2.sqrt()[:, None], height, carrier, (scenario,))[:, 0]
    gain = ROWS / 2 * 10 ** ((ELEMENT_GAIN_DBI - loss) / 10)
    elevation = torch.atan2(UT_HEIGHT_M - height, d2.sqrt())
    return gain, _AZIMUTH[0] - _OCTAVES_PER_RADIAN2 * elevation**2

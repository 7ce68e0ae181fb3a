"""Gains towards users wherever they are: a thousand users against 57 cells in well under a millisecond.

The same physics as a network's own map (expected path loss of TR 38.901, columns with mechanical and electrical tilt),
without angles: directions are dot products, squares of angles polynomials of cosines, the array factor a polynomial of
one cosine, and path loss is read off a table over the squared distance that a float's own exponent and first mantissa
bits index.
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
from twin_core.radio.path_loss import UT_HEIGHT_M, expected_loss_db, scenario_of

Array = NDArray[np.float64]
Tensor = torch.Tensor

# 64 nodes an octave of squared distance from 8 m to 16 km; nearer than 10 m the loss at 10 m holds anyway.
_LOW_OCTAVE, _HIGH_OCTAVE, _NODE_BITS = 6, 28, 6
_NODES = (_HIGH_OCTAVE - _LOW_OCTAVE) << _NODE_BITS
_EXPONENT_BIAS, _MANTISSA_BITS = 127, 23  # of a float32
_OCTAVES_PER_DB = log2(10) / 10
_OCTAVES_PER_RADIAN2 = 12 / (BEAMWIDTH_DEG * pi / 180) ** 2 * _OCTAVES_PER_DB
_FLOOR_OCTAVES = FLOOR_DB * _OCTAVES_PER_DB


def _squared_angle(
    degree: int, high: float, angle: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> list[float]:
    """Attenuation, in octaves, as a polynomial over 0..high, lowest power first."""
    at = high * (1 - np.cos(np.linspace(0, pi, 400))) / 2
    fitted = np.polynomial.Chebyshev.fit(at, _OCTAVES_PER_RADIAN2 * angle(at) ** 2, degree)
    return [float(c) for c in fitted.convert(kind=np.polynomial.Polynomial).coef]


# Over 1 - cos up to where the element has reached its floor; over sin^2 up to 60 degrees.
_AZIMUTH = _squared_angle(5, 1.25, lambda u: np.arccos(1 - u))
_ELEVATION = _squared_angle(4, 0.75, lambda v: np.arcsin(np.sqrt(v)))


def _horner(x: Tensor, coefficients: list[float]) -> Tensor:
    out = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        out.add_(c).mul_(x)
    return out.add_(coefficients[0])


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
        [C] sine of the electrical tilt.
    table
        [K, 2] intercept and slope of linear path gain, antenna gain at the peak counted in, over squared distance.
    first
        [C] where each cell's part of the table begins; None where all share one.
    """

    turn: Tensor
    shift: Tensor
    drop_m: Tensor
    mechanical: Tensor | None
    aim: Tensor
    table: Tensor
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
        table = torch.cat([_loss_table(*kind) for kind in distinct])
        first = torch.tensor([distinct.index(kind) * _NODES for kind in kinds], dtype=torch.int32)

        def there(t: Tensor) -> Tensor:
            return t.to(device, torch.float32).contiguous()

        return cls(
            there(turn),
            there(shift),
            there(UT_HEIGHT_M - layout.height_m),
            None if mechanical is None else there(mechanical),
            there(torch.deg2rad(tilt_deg).sin()),
            there(table),
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
        [[-96.0, -126.0, -126.0]]
        """
        places = torch.stack([x_m, y_m], dim=1)
        cells = len(self.aim)
        # Two small products rather than one and two strided halves: what follows runs over whole rows.
        ahead = torch.addmm(self.shift[:cells], places, self.turn[:, :cells])
        right = torch.addmm(self.shift[cells:], places, self.turn[:, cells:])
        d2 = right.mul_(right).addcmul_(ahead, ahead)
        loss = self._table(d2)
        slant = (d2 + self.drop_m**2).rsqrt_()
        if self.mechanical is None:
            above = slant * self.drop_m
            cosine = ahead.mul_(d2.clamp_min_(1.0).rsqrt_())
        else:
            cos, sin = self.mechanical
            above = torch.addcmul(cos * self.drop_m, ahead, sin).mul_(slant)
            level2 = d2.addcmul_(ahead, ahead, value=-1)  # what lies to the right, squared
            ahead = ahead * cos - sin * self.drop_m
            cosine = ahead * level2.addcmul_(ahead, ahead).clamp_min_(1.0).rsqrt_()
        off = _horner(cosine.neg_().add_(1).clamp_(0, 1.25), _AZIMUTH).clamp_max_(_FLOOR_OCTAVES)
        off.add_(_horner((above * above).clamp_max_(0.75), _ELEVATION).clamp_max_(_FLOOR_OCTAVES))
        pattern = off.clamp_max_(_FLOOR_OCTAVES).neg_().exp2_().mul_(_column(above.add_(self.aim)))
        return pattern.clamp_min_(2.0**-_FLOOR_OCTAVES).mul_(loss)

    def _table(self, d2: Tensor) -> Tensor:
        held = d2.clamp(2.0**_LOW_OCTAVE, 2.0**_HIGH_OCTAVE * (1 - 1e-6))
        node = held.view(torch.int32) >> (_MANTISSA_BITS - _NODE_BITS)
        node.sub_((_EXPONENT_BIAS + _LOW_OCTAVE) << _NODE_BITS)
        if self.first is not None:
            node.add_(self.first)
        line = self.table.index_select(0, node.view(-1)).view(*d2.shape, 2)
        return torch.addcmul(line[..., 0], line[..., 1], held)


def _column(off: Tensor) -> Tensor:
    """Array factor of eight elements half a wavelength apart over its peak, 0..1.

    sin(8x) / (8 sin x) = cos x cos 2x cos 4x, with 2x = pi off.
    """
    c = off.mul_(pi).cos_()
    four = c * c
    half = four * (c.add_(1).mul_(0.5))  # cos^2 2x cos^2 x
    return four.mul_(2).sub_(1).square_().mul_(half)


def _loss_table(height_m: float, carrier_ghz: float, scenario: str) -> Tensor:
    """[nodes, 2] lines between nodes of linear gain over squared distance, for one kind of cell."""
    octave = torch.arange(_LOW_OCTAVE, _HIGH_OCTAVE, dtype=torch.float64)[:, None]
    step = torch.arange(1 << _NODE_BITS, dtype=torch.float64) / (1 << _NODE_BITS)
    nodes = torch.cat([(2.0**octave * (1 + step)).ravel(), torch.tensor([2.0**_HIGH_OCTAVE], dtype=torch.float64)])
    height, carrier = torch.tensor([[height_m], [carrier_ghz]], dtype=torch.float64)
    loss = expected_loss_db(nodes.sqrt()[:, None], height, carrier, (scenario,))[:, 0]  # type: ignore[arg-type]
    gain = 10 ** ((ELEMENT_GAIN_DBI + 10 * np.log10(ROWS) - loss) / 10)
    slope = gain.diff() / nodes.diff()
    return torch.stack([gain[:-1] - slope * nodes[:-1], slope], dim=1)

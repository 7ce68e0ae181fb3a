"""From outdoors to indoors: loss through walls and in cars, TR 38.901 v19.4 clause 7.4.3.

PL = PL_b + PL_tw + PL_in + N(0, sigma_P): the loss outdoors, through the wall, 0.5 dB a metre inside, and how buildings
differ. The loss of a wall is a mean, in power, over its materials.
"""

from dataclasses import dataclass
from typing import Literal

import torch

Tensor = torch.Tensor

Material = Literal["glass", "irr_glass", "concrete", "plywood", "wood"]
# Table 7.4.3-1: loss of a material, dB, as intercept and slope over GHz. IRR glass as of Release 19; before, and so in
# calibrations of that time, it was 23 + 0.3 f.
MATERIAL_DB: dict[str, tuple[float, float]] = {
    "glass": (2.0, 0.2),
    "irr_glass": (25.4, 0.11),
    "concrete": (5.0, 4.0),
    "plywood": (1.03, 0.17),
    "wood": (4.85, 0.12),
}
IRR_GLASS_BEFORE_R19 = (23.0, 0.3)
INSIDE_DB_PER_M = 0.5
# Wall at oblique incidence.
_OBLIQUE_DB = 5.0
# Metres behind the wall at most (UMa, UMi; RMa 10 m); the lesser of two uniform draws.
DEEPEST_M = {"UMa": 25.0, "UMi": 25.0, "RMa": 10.0}


@dataclass(frozen=True)
class WallModel:
    """A row of Table 7.4.3-2: which share of a wall is of which material, and how buildings differ (sigma_P, dB)."""

    shares: tuple[tuple[float, Material], ...]
    spread_db: float


LOW_LOSS = WallModel(((0.3, "glass"), (0.7, "concrete")), 4.4)
LOW_LOSS_A = WallModel(((0.3, "glass"), (0.7, "plywood")), 4.4)
HIGH_LOSS = WallModel(((0.7, "irr_glass"), (0.3, "concrete")), 6.5)
# Clause 7.4.3.2: mean and spread of the loss into a car; the former 20 dB where its windows are coated.
CAR_DB, COATED_CAR_DB, CAR_SPREAD_DB = 9.0, 20.0, 5.0


def material_db(material: Material, fc_ghz: Tensor, irr_glass: tuple[float, float] | None = None) -> Tensor:
    """Loss of one material, dB."""
    intercept, slope = irr_glass if irr_glass and material == "irr_glass" else MATERIAL_DB[material]
    return intercept + slope * fc_ghz


def wall_db(wall: WallModel, fc_ghz: Tensor, irr_glass: tuple[float, float] | None = None) -> Tensor:
    """Loss PL_tw through a wall (Eq. 7.4-2, Table 7.4.3-2), dB.

    Examples
    --------
    >>> [round(float(wall_db(wall, torch.tensor(3.5))), 1) for wall in (LOW_LOSS, HIGH_LOSS)]
    [12.7, 27.5]
    """
    through = sum(share * 10 ** (-material_db(material, fc_ghz, irr_glass) / 10) for share, material in wall.shares)
    return _OBLIQUE_DB - 10 * torch.log10(torch.as_tensor(through))


def inside_db(depth_m: Tensor) -> Tensor:
    """Loss PL_in of so many metres behind the wall, dB."""
    return INSIDE_DB_PER_M * depth_m

"""Path loss of a twin's area from buildings that are known: the prior of its pixels in place of a probability of sight.

A pixel is a square in which users are anywhere, so its loss is the mean, in dB, over places spread evenly in it, at
1.5 m above ground. Places inside a footprint are users on the ground floor: the wall and the way inside count. So a
pixel that is half building is half as much harder to reach, as its users' reports will say too.

Beyond the buildings nothing is known: a link counts as known where antenna and pixel lie within the convex hull of all
footprints, widened by `MARGIN_M`. Elsewhere the expected loss of TR 38.901 holds.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from twin_core.exceptions import InvalidSurvey
from twin_core.exchange.libraries import needed_for
from twin_core.network import Network
from twin_core.radio.buildings import Buildings
from twin_core.radio.path_loss import UT_HEIGHT_M, losses_db
from twin_core.radio.sight import loss_db, sight_past

Tensor = torch.Tensor

# A street's width: so far from the outermost buildings their file still says what stands there.
MARGIN_M = 50.0


@dataclass(frozen=True, eq=False)
class Survey:
    """Known path loss of a network.

    Attributes
    ----------
    loss_db
        [P, C] without antennas; NaN where unknown.
    under_roof
        Cells (DNs) whose antenna stands below the roof of a building around it. Where that is no indoor cell, its
        height or the roof's is wrong, and its column too low.
    """

    loss_db: Tensor
    under_roof: tuple[str, ...] = ()

    @property
    def known(self) -> float:
        """Share of the links that are known."""
        return float((~self.loss_db.isnan()).double().mean())


def survey_of(network: Network, buildings: Buildings, places_per_side: int = 2) -> Survey:
    """Reckon the path loss of every link of an area among buildings.

    Parameters
    ----------
    network
        Its cells and pixels.
    buildings
        In the network's metres.
    places_per_side
        Places along each side of a pixel; cost grows with their square.

    Raises
    ------
    InvalidSurvey
        If the network repeats, so that its buildings would have to, or no link lies within the buildings' area.
    MissingLibrary
        Without shapely.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> from twin_core.radio.buildings import Building
    >>> corners = [(-300, -300), (300, -300), (300, 300), (-300, 300)]
    >>> sheds = [Building((((x, y), (x + 5, y), (x + 5, y + 5), (x, y + 5)),), height_m=3) for x, y in corners]
    >>> survey = survey_of(Network.of(hexagonal(sites=1)), Buildings(tuple(sheds)))
    >>> survey.loss_db.shape, round(survey.known, 2)
    (torch.Size([197, 3]), 0.91)
    """
    if len(network.layout.images_m) > 1:
        raise InvalidSurvey(
            f"network {network.topology.network_id} repeats (images_m), and buildings stand in one place; "
            "give a topology without images_m"
        )
    if places_per_side < 1:
        raise InvalidSurvey(f"{places_per_side} places a side is none; give at least 1")
    layout, count = network.layout, places_per_side**2
    antennas = torch.stack([layout.x_m, layout.y_m, layout.height_m], dim=1)
    places = _places(network, places_per_side)
    known = _inside(buildings, places[:, :2].reshape(-1, count, 2).mean(dim=1).numpy())[:, None]
    known = known & _inside(buildings, antennas[:, :2].numpy())
    if not known.any():
        raise InvalidSurvey(
            f"no link of network {network.topology.network_id} lies among the buildings: both its antenna and its "
            f"pixel must stand within {MARGIN_M:g} m of their area; check that both use one coordinate system"
        )
    sight = sight_past(buildings, antennas, places, layout.carrier_ghz)
    d2d = torch.hypot(*layout.offsets_m(places[:, 0], places[:, 1]))
    los, nlos, _ = losses_db(d2d, layout.height_m, layout.carrier_ghz, layout.scenarios)
    loss = loss_db(sight, los, nlos).reshape(-1, count, len(network.cells)).mean(dim=1)
    loss = torch.where(torch.from_numpy(known), loss, torch.nan)
    return Survey(loss, tuple(c for c, under in zip(network.cells, sight.antenna_indoor, strict=True) if under))


def _places(network: Network, per_side: int) -> Tensor:
    """[P * per_side², 3] places spread evenly over the pixels, those of a pixel together."""
    grid = network.grid
    step = ((torch.arange(per_side, dtype=torch.float64) + 0.5) / per_side - 0.5) * grid.spacing_m
    east, north = torch.meshgrid(step, step, indexing="ij")
    x = (grid.x_m[:, None] + east.reshape(-1)).reshape(-1)
    y = (grid.y_m[:, None] + north.reshape(-1)).reshape(-1)
    return torch.stack([x, y, torch.full_like(x, UT_HEIGHT_M)], dim=1)


def _inside(buildings: Buildings, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[N] points within the area that the buildings are about."""
    with needed_for("buildings"):
        import shapely
    corners = [corner for building in buildings.buildings for corner in building.footprint[0]]
    area = shapely.MultiPoint(corners).convex_hull.buffer(MARGIN_M)
    found: NDArray[np.bool_] = shapely.contains_xy(area, points[:, 0], points[:, 1])
    return found

"""What is known of a network's propagation beforehand, from files: path gains of others, buildings, or both."""

from collections.abc import Collection
from pathlib import Path

import torch

from twin_core.exceptions import InvalidFile, InvalidGeometry, InvalidSurvey
from twin_core.exchange.gain_map import read_map
from twin_core.exchange.projection import Projection
from twin_core.network import Network
from twin_core.radio.buildings import Buildings
from twin_core.radio.survey import Survey, survey_of


def read_survey(
    network: Network, gains: Path | None = None, buildings: Path | None = None, *, elsewhere: Collection[str] = ()
) -> Survey:
    """Known path loss on a network's pixels, for `Twin.create`.

    Parameters
    ----------
    network
        Its cells and pixels.
    gains
        A map of path gains (``.tif`` or ``.npz``, see `twin_core.exchange.gain_map`).
    buildings
        GeoJSON (see `twin_core.radio.buildings`), in longitude and latitude where the network has an origin, else in
        its metres. They hold where the gains are unknown.
    elsewhere
        Cells that the gains may hold beside the network's: those of other regions.

    Raises
    ------
    InvalidFile
        If a file cannot be used, naming it and what is wrong.
    MissingLibrary
        Without rasterio for GeoTIFF, or shapely for buildings.
    OSError
        If a file is not there or may not be read.
    """
    known = Survey(torch.full((network.grid.pixels, len(network.cells)), torch.nan, dtype=torch.float64))
    if buildings is not None:
        try:
            known = survey_of(network, _buildings(buildings, network))
        except (InvalidGeometry, InvalidSurvey) as error:
            raise InvalidFile(f"{buildings}: {error}") from error
    if gains is not None:
        gain_db = read_map(gains, network, elsewhere=elsewhere)
        known = Survey(torch.where(gain_db.isnan(), known.loss_db, -gain_db), known.under_roof)
    if known.known == 0:
        raise InvalidFile(
            f"{gains or 'no file'}: nothing is known of any link of network {network.topology.network_id}; check that "
            "the map covers the network's area, in its metres"
        )
    return known


def _buildings(path: Path, network: Network) -> Buildings:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{path}: no text in UTF-8 ({error.reason}); give buildings as GeoJSON") from error
    origin = network.topology.origin
    return Buildings.from_geojson(text, None if origin is None else Projection(origin).to_metres)

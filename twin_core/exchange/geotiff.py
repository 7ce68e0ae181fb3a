"""Radio maps as GeoTIFF: float32, a band for each cell, described by its name.

A network with an origin has the transverse Mercator about it as coordinate system. One without has a local system,
metres east and north of a place that nobody told: geographic software shows it, but nowhere on the earth.
"""

import json
from typing import TYPE_CHECKING

import numpy as np

from schemas.topology import Topology
from twin_core.exchange.libraries import needed_for
from twin_core.exchange.projection import Projection
from twin_core.exchange.radio_map import RadioMap

if TYPE_CHECKING:
    from rasterio.crs import CRS

LOCAL = "local metres: the network's topology has no origin, so its place on the earth is unknown"


def crs_of(topology: Topology) -> "CRS":
    """Coordinate system of a network's metres."""
    with needed_for("GeoTIFF"):
        from rasterio.crs import CRS
    if topology.origin is not None:
        return CRS.from_wkt(Projection(topology.origin).crs.to_wkt())
    name = f"network {topology.network_id}, {LOCAL}"
    return CRS.from_wkt(f'LOCAL_CS["{name}",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]')


def geotiff(radio_map: RadioMap) -> bytes:
    """A map as the bytes of a GeoTIFF file.

    Besides pixels it holds, as tags, the network, the twin's revision, the quantity with its note, and the cells in
    their order (to which a best server's index refers).

    Raises
    ------
    MissingLibrary
        Without rasterio.
    """
    with needed_for("GeoTIFF"):
        from rasterio.io import MemoryFile
        from rasterio.transform import Affine
    twin, grid = radio_map.twin, radio_map.twin.network.grid
    topology, spacing = twin.network.topology, grid.spacing_m
    west, north = grid.x0_m - spacing / 2, grid.y0_m + (grid.ny - 0.5) * spacing
    tags = {
        "network_id": topology.network_id,
        "revision": twin.revision,
        "quantity": radio_map.quantity.name,
        "note": radio_map.note,
        "coordinates": "metres east and north of the network's origin" if topology.origin else LOCAL,
        "cells": json.dumps(twin.network.cells),
    }
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=grid.nx,
            height=grid.ny,
            count=len(radio_map.bands),
            dtype="float32",
            nodata=np.nan,
            crs=crs_of(topology),
            transform=Affine(spacing, 0, west, 0, -spacing, north),
            compress="deflate",
            tiled=False,
        ) as file:
            file.write(np.ascontiguousarray(radio_map.rectangles))
            file.descriptions = radio_map.bands
            file.units = [radio_map.quantity.unit] * len(radio_map.bands)
            file.update_tags(**tags)
        return bytes(memory.read())

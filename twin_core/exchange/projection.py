"""Latitude and longitude to the network's metres and back.

A transverse Mercator on WGS 84 about the network's origin with scale 1: x east, y north, angles kept. Within 100 km
of the origin distances are true to 1.3 parts in ten thousand; grid north leaves true north by about 0.1 degree in
10 km east or west at latitude 50, which azimuths do without.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.topology import Origin
from twin_core.exceptions import InvalidFile
from twin_core.exchange.libraries import needed_for

if TYPE_CHECKING:
    from pyproj import CRS, Transformer

Floats = NDArray[np.float64]
# An origin is a choice, so that a short number does: a tenth of a metre.
_ORIGIN_DECIMALS = 6
DECIMALS = 9  # of degrees that are written: a tenth of a millimetre


class Projection:
    """The plane of a network's metres.

    Parameters
    ----------
    origin
        Where x = y = 0.

    Examples
    --------
    >>> plane = Projection(Origin(latitude=50.1, longitude=8.6))
    >>> x, y = plane.to_metres([50.11], [8.61])
    >>> x.round(1), y.round(1)
    (array([715.3]), array([1112.4]))
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    @cached_property
    def crs(self) -> "CRS":
        """The plane as a coordinate reference system."""
        with needed_for("latitude and longitude"):
            from pyproj import CRS
        place = f"+lat_0={self.origin.latitude!r} +lon_0={self.origin.longitude!r}"
        return CRS.from_proj4(f"+proj=tmerc {place} +k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs")

    @cached_property
    def _transformer(self) -> "Transformer":
        with needed_for("latitude and longitude"):
            from pyproj import Transformer
        return Transformer.from_crs("OGC:CRS84", self.crs, always_xy=True)

    def to_metres(
        self, latitude: Sequence[float] | Floats, longitude: Sequence[float] | Floats
    ) -> tuple[Floats, Floats]:
        """[N] metres east and north of places on the earth; infinite where the plane has no such place."""
        x, y = self._transformer.transform(np.asarray(longitude, float), np.asarray(latitude, float))
        return np.asarray(x), np.asarray(y)

    def to_degrees(self, x_m: Sequence[float] | Floats, y_m: Sequence[float] | Floats) -> tuple[Floats, Floats]:
        """[N] latitude and longitude of places in the plane."""
        longitude, latitude = self._transformer.transform(
            np.asarray(x_m, float), np.asarray(y_m, float), direction="INVERSE"
        )
        return np.asarray(latitude), np.asarray(longitude)


def centre_of(latitude: Sequence[float], longitude: Sequence[float]) -> Origin:
    """The middle of places, by medians: one place gone astray does not move it.

    Raises
    ------
    InvalidFile
        If there is no place.

    Examples
    --------
    >>> centre_of([50.0, 50.2, 50.1], [179.9, -179.8, 180.0])
    Origin(latitude=50.1, longitude=180.0)
    """
    if not len(latitude):
        raise InvalidFile("no place to lay an origin into; give at least one cell")
    # Turned to lie about the first, so that a network on the 180th meridian is in one piece.
    east = np.remainder(np.asarray(longitude, float) - longitude[0] + 180, 360) - 180
    middle = (float(longitude[0] + np.median(east)) + 180) % 360 - 180
    return Origin(
        latitude=round(float(np.median(latitude)), _ORIGIN_DECIMALS),
        longitude=round(middle if middle > -180 else 180.0, _ORIGIN_DECIMALS),
    )

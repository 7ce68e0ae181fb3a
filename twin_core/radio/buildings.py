"""Buildings as extruded footprints: flat roofs over polygons, on flat ground, with walls of one make."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Self, get_args

import numpy as np
from numpy.typing import NDArray

from twin_core.exceptions import InvalidGeometry
from twin_core.exchange.libraries import needed_for
from twin_core.radio.penetration import HIGH_LOSS, LOW_LOSS, Material, WallModel

if TYPE_CHECKING:
    import shapely

Floats = NDArray[np.float64]
Ring = tuple[tuple[float, float], ...]
ToMetres = Callable[[Floats, Floats], tuple[Floats, Floats]]

LEVEL_M = 3.0  # height of a storey where only `building:levels` is known (assumption)
HIGHEST_M = 1000.0
FURTHEST_M = 1e6
# A footprint below this many square metres is a mistake of units: a house in degrees is some 1e-8.
SMALLEST_M2 = 1e-2
DEFAULT_MATERIAL = "low_loss"
# The two mixtures of TR 38.901 Table 7.4.3-2, and walls all of one material of Table 7.4.3-1.
WALLS: dict[str, WallModel] = {
    "low_loss": LOW_LOSS,
    "high_loss": HIGH_LOSS,
    **{material: WallModel(((1.0, material),), LOW_LOSS.spread_db) for material in get_args(Material)},
}


@dataclass(frozen=True)
class Building:
    """One building.

    Attributes
    ----------
    footprint
        Outline, then courtyards: rings of (x, y) in the network's metres, closed or not.
    height_m
        Roof above ground.
    material
        Walls: a key of `WALLS`. Without knowledge the low-loss mixture of TR 38.901 Table 7.4.3-2, 30 % glass and
        70 % concrete.
    name
        What errors call it.

    Raises
    ------
    InvalidGeometry
        If a number is not finite, the height not above 0, or the material unknown.
    """

    footprint: tuple[Ring, ...]
    height_m: float
    material: str = DEFAULT_MATERIAL
    name: str = "a building"

    def __post_init__(self) -> None:
        if not 0 < self.height_m <= HIGHEST_M:
            _refuse(self.name, f"a height of {self.height_m} m", f"give one above 0 and up to {HIGHEST_M:g} m")
        if self.material not in WALLS:
            _refuse(self.name, f"material {self.material!r}", f"known are {', '.join(WALLS)}")
        if not self.footprint:
            _refuse(self.name, "no outline", "give at least three corners")
        for ring in self.footprint:
            if len(set(ring)) < 3:
                _refuse(self.name, f"a ring of {len(set(ring))} different corners", "give at least three")
            if not all(math.isfinite(v) and abs(v) <= FURTHEST_M for corner in ring for v in corner):
                _refuse(
                    self.name,
                    "a corner that is not finite or beyond 1000 km",
                    "give metres from the network's origin, or longitude and latitude with their projection",
                )


@dataclass(frozen=True)
class Buildings:
    """All buildings of an area, with the index by which a path finds those in its way.

    Raises
    ------
    InvalidGeometry
        If an outline crosses itself or encloses nothing.
    MissingLibrary
        If there are buildings and shapely is not installed.
    """

    buildings: tuple[Building, ...] = ()

    def __post_init__(self) -> None:
        if not self.buildings:
            return
        with needed_for("buildings"):
            import shapely
        wrong = np.flatnonzero(~shapely.is_valid(self._polygons))
        if len(wrong):
            first = self.buildings[wrong[0]]
            reason = shapely.is_valid_reason(self._polygons[wrong[0]])
            _refuse(first.name, f"an outline that is no polygon ({reason})", "redraw it without crossings")
        small = np.flatnonzero(shapely.area(self._polygons) < SMALLEST_M2)
        if len(small):
            area = float(shapely.area(self._polygons[small[0]]))
            _refuse(
                self.buildings[small[0]].name,
                f"a footprint of {area:.1e} m²",
                "if its corners are longitude and latitude, the network needs an origin (to_metres); else leave it out",
            )

    @classmethod
    def from_geojson(
        cls, text: str, to_metres: ToMetres | None = None, origin_m: tuple[float, float] = (0.0, 0.0)
    ) -> Self:
        """Read a FeatureCollection of Polygons and MultiPolygons.

        Properties: `height_m` or `height` (metres, "12 m" too) or else `building:levels` (3 m each); `material`, a key
        of `WALLS`.

        Parameters
        ----------
        text
            GeoJSON.
        to_metres
            From (latitude [N], longitude [N]) to the network's metres (east [N], north [N]), as
            `Projection.to_metres` does. Without it the coordinates are metres already.
        origin_m
            Where the network's origin lies in those metres; taken off.

        Raises
        ------
        InvalidGeometry
            If the text or a feature cannot be used; the message names the feature.

        Examples
        --------
        >>> square = "[[[0, 0], [20, 0], [20, 10], [0, 10], [0, 0]]]"
        >>> feature = ('{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": ' + square + '},'
        ...            ' "properties": {"building:levels": 4, "material": "concrete"}}')
        >>> found = Buildings.from_geojson('{"type": "FeatureCollection", "features": [' + feature + ']}')
        >>> found.buildings[0].height_m, found.buildings[0].material
        (12.0, 'concrete')
        """
        try:
            # NaN and Infinity are no JSON, though the parser would let them pass: as text they fail with their feature.
            document = json.loads(text, parse_constant=str)
        except json.JSONDecodeError as error:
            _refuse("the file", f"no JSON ({error})", "give GeoJSON")
        if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
            _refuse("the file", "no FeatureCollection", "give GeoJSON of that type")
        features = document.get("features")
        if not isinstance(features, list) or not features:
            _refuse("the file", "no features", "give at least one building, or none at all by Buildings()")
        found = [b for i, feature in enumerate(features) for b in _read(feature, i, to_metres, origin_m)]
        return cls(tuple(found))

    @cached_property
    def _polygons(self) -> "NDArray[Any]":
        import shapely

        return np.array([shapely.Polygon(b.footprint[0], b.footprint[1:]) for b in self.buildings], dtype=object)

    @cached_property
    def tree(self) -> "shapely.STRtree":
        """Index of the footprints by place."""
        import shapely

        return shapely.STRtree(self._polygons)

    @cached_property
    def height_m(self) -> Floats:
        """[B] roofs."""
        return np.array([b.height_m for b in self.buildings], dtype=np.float64)

    @cached_property
    def material(self) -> NDArray[np.int64]:
        """[B] position of each one's material in `WALLS`."""
        position = {name: i for i, name in enumerate(WALLS)}
        return np.array([position[b.material] for b in self.buildings], dtype=np.int64)

    @cached_property
    def circle(self) -> tuple[Floats, Floats]:
        """[B, 2] and [B] middle and radius of a circle around each footprint."""
        import shapely

        box = shapely.bounds(self._polygons)
        return (box[:, :2] + box[:, 2:]) / 2, np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) / 2

    @cached_property
    def walls(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
        """First wall [B] and how many [B] of each building; where the walls [W] begin and end ([W, 2] each)."""
        rings = [[_open(ring) for ring in b.footprint] for b in self.buildings]
        count = np.array([sum(map(len, own)) for own in rings], dtype=np.int64)
        flat = [np.array(ring, dtype=np.float64) for own in rings for ring in own]
        begin = np.concatenate(flat)
        end = np.concatenate([np.roll(ring, -1, axis=0) for ring in flat])
        return np.cumsum(count) - count, count, begin, end


def _open(ring: Ring) -> Ring:
    return ring[:-1] if ring[0] == ring[-1] else ring


def _refuse(what: str, has: str, remedy: str) -> NoReturn:
    raise InvalidGeometry(f"{what} has {has}; {remedy}")


def _read(feature: Any, index: int, to_metres: ToMetres | None, origin_m: tuple[float, float]) -> Iterator[Building]:
    name = f"feature {index}"
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        _refuse(name, "no type Feature", "give one, or leave it out")
    properties = feature.get("properties") or {}
    label = feature.get("id", properties.get("name"))
    if label is not None:
        name += f" ({label})"
    geometry = feature.get("geometry") or {}
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        _refuse(name, f"the geometry {kind}", "buildings are Polygon or MultiPolygon; leave it out")
    if not coordinates:
        _refuse(name, "an empty geometry", "give its outline, or leave it out")
    height = _height_m(name, properties)
    material = properties.get("material") or DEFAULT_MATERIAL
    for polygon in [coordinates] if kind == "Polygon" else coordinates:
        try:
            rings = [np.array([corner[:2] for corner in ring], dtype=np.float64).reshape(-1, 2) for ring in polygon]
        except (TypeError, ValueError, IndexError):
            _refuse(name, "coordinates that are not rings of number pairs", "give [[[x, y], …], …]")
        footprint = tuple(_in_metres(name, ring, to_metres, origin_m) for ring in rings)
        yield Building(footprint, height, str(material), name)


def _in_metres(name: str, ring: Floats, to_metres: ToMetres | None, origin_m: tuple[float, float]) -> Ring:
    x, y = ring[:, 0], ring[:, 1]
    if to_metres is not None:
        if not (np.all(np.abs(x) <= 180) and np.all(np.abs(y) <= 90)):
            _refuse(
                name,
                "coordinates that are no longitude and latitude",
                "metres are for a network without an origin (leave to_metres out)",
            )
        x, y = to_metres(y, x)
    return tuple(zip((x - origin_m[0]).tolist(), (y - origin_m[1]).tolist(), strict=True))


def _height_m(name: str, properties: dict[str, Any]) -> float:
    for key, factor in (("height_m", 1.0), ("height", 1.0), ("building:levels", LEVEL_M)):
        value = properties.get(key)
        if value is None:
            continue
        try:
            return factor * float(str(value).removesuffix("m"))
        except ValueError:
            _refuse(name, f"{key} {value!r}", "give a number of metres, or of storeys for building:levels")
    return _refuse(name, "no height", "give height_m, height or building:levels, or leave it out")

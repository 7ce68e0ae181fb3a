"""Topologies as GeoJSON (RFC 7946): a FeatureCollection with a Point for each cell.

Coordinates are WGS 84, longitude first. Properties are the fields of `schemas.topology.CellSite` without `x_m` and
`y_m`; `site` and `sector` may stand in place of `cell`. What belongs to the network stands in the collection's member
`twinloop`, which may miss.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from schemas.topology import NetworkSlice, Origin, Topology
from twin_core.exceptions import InvalidFile
from twin_core.exchange.cells import DEGREES, METRES, NAME, OTHERS, Draft, check_names, draft, topology_of
from twin_core.exchange.projection import DECIMALS, Projection

_MEMBER = "twinloop"
# How the crs member of GeoJSON before RFC 7946 spells the only system that the RFC knows.
_CRS84 = ("CRS84", "4326")


def read_geojson(
    text: str,
    network_id: str | None = None,
    *,
    otherwise: str | None = None,
    granularity_s: int | None = None,
    slices: tuple[NetworkSlice, ...] | None = None,
    origin: Origin | None = None,
    ignore: Collection[str] = (),
) -> Topology:
    """Read a topology.

    Parameters
    ----------
    text
        Of the file, see `files.text_of`.
    network_id, granularity_s, slices, origin
        Of the network; what the file says where not given, then what `Topology` has as default, then the middle of
        the cells as origin.
    otherwise
        Network id where neither says one.
    ignore
        Properties to pass over.

    Raises
    ------
    InvalidFile
        If the text is no topology, naming the features.
    """
    collection = _collection(text)
    network = _network(collection)
    given = {"network_id": network_id, "granularity_s": granularity_s, "slices": slices, "origin": origin}
    network |= {name: value for name, value in given.items() if value is not None}
    if otherwise is not None:
        network.setdefault("network_id", otherwise)
    if "network_id" not in network:
        raise InvalidFile("the file does not say which network it is; give a network id")
    stands = network.pop("origin", None)
    problems: list[str] = []
    drafts = [
        found
        for i, feature in enumerate(collection["features"], start=1)
        if (found := _draft(f"feature {i}", feature, ignore, problems)) is not None
    ]
    return topology_of(drafts, problems, network, stands)


def write_geojson(topology: Topology) -> str:
    """Write a topology whose origin is known.

    Raises
    ------
    InvalidFile
        If it has no origin.
    """
    if topology.origin is None:
        raise InvalidFile(
            f"network {topology.network_id} has no origin, and GeoJSON has no metres; give it an origin "
            "(latitude and longitude of x = y = 0), or write CSV"
        )
    x, y = ([getattr(c, name) for c in topology.cells] for name in METRES)
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Point",
                "coordinates": [round(float(longitude), DECIMALS), round(float(latitude), DECIMALS)],
            },
            "properties": {name: value for name in (NAME, *OTHERS) if (value := getattr(cell, name)) is not None},
        }
        for cell, latitude, longitude in zip(topology.cells, *Projection(topology.origin).to_degrees(x, y), strict=True)
    ]
    network = topology.model_dump(mode="json", exclude={"cells"})
    document = {"type": "FeatureCollection", _MEMBER: network, "features": features}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _collection(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidFile(f"line {error.lineno}: no JSON ({error.msg}); save the layer again as GeoJSON") from error
    except (ValueError, RecursionError) as error:
        raise InvalidFile(f"no JSON ({error}); leave out what is missing, or write null") from error
    if not isinstance(found, dict) or found.get("type") != "FeatureCollection":
        kind = found.get("type") if isinstance(found, dict) else type(found).__name__
        raise InvalidFile(f"the file is a {kind} and no FeatureCollection; save the layer as GeoJSON (RFC 7946)")
    if not isinstance(found.get("features"), list) or not found["features"]:
        raise InvalidFile("the collection has no features; give at least one cell as a Point")
    if "crs" in found and not any(name in json.dumps(found["crs"]) for name in _CRS84):
        raise InvalidFile(
            f"coordinates stand in {json.dumps(found['crs'])}; RFC 7946 knows longitude and latitude on WGS 84 only: "
            "save the layer in EPSG:4326"
        )
    return found


def _network(collection: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of the network."""
    said = collection.get(_MEMBER, {})
    known = Topology.model_fields.keys() - {"cells"}
    if not isinstance(said, dict) or said.keys() - known:
        raise InvalidFile(f"member {_MEMBER!r} may have {', '.join(sorted(known))} and nothing else")
    network = {name: value for name, value in said.items() if value is not None}
    if "origin" in network:
        try:
            network["origin"] = Origin.model_validate(network["origin"])
        except ValueError as error:
            raise InvalidFile(
                f"member {_MEMBER!r}: origin is {network['origin']!r}; write latitude and longitude in degrees"
            ) from error
    return network


def _draft(where: str, feature: Any, ignore: Collection[str], problems: list[str]) -> Draft | None:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.get("type") != "Point":
        kind = geometry.get("type") if isinstance(geometry, dict) else "nothing"
        problems.append(f"{where}: the geometry is {kind}; a cell is a Point where its antenna stands")
        return None
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, list) or len(coordinates) not in (2, 3):
        problems.append(f"{where}: coordinates are {coordinates!r}; write [longitude, latitude]")
        return None
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        problems.append(f"{where}: no properties; they hold the cell's fields (cell, height_m, azimuth_deg, …)")
        return None
    wrong = check_names(properties, ignore, where)
    wrong += [
        f"{where}: {name} stands in the coordinates"
        for name in (*DEGREES, *METRES)
        if name in properties and name not in ignore
    ]
    if wrong:
        problems += wrong
        return None
    values = {n: v for n, v in properties.items() if v is not None and n not in ignore}
    return draft(where, {**values, "longitude": coordinates[0], "latitude": coordinates[1]}, problems)

"""Topology files by their suffix: .csv (also .tsv, .txt), .geojson, and .json for twinloop's own form or GeoJSON."""

import json
import re
from collections.abc import Collection
from pathlib import Path

from pydantic import ValidationError

from schemas.topology import NetworkSlice, Origin, Topology
from twin_core.exceptions import InvalidFile
from twin_core.exchange.files import text_of, write
from twin_core.exchange.topology_csv import read_csv, write_csv
from twin_core.exchange.topology_geojson import read_geojson, write_geojson

_TABLES, _GEOJSON, _JSON = (".csv", ".tsv", ".txt"), ".geojson", ".json"
_SUFFIXES = ", ".join((*_TABLES, _GEOJSON, _JSON))


def read_topology(
    path: Path,
    network_id: str | None = None,
    *,
    granularity_s: int | None = None,
    slices: tuple[NetworkSlice, ...] | None = None,
    origin: Origin | None = None,
    ignore: Collection[str] = (),
) -> Topology:
    """Read a topology of any known form.

    Parameters
    ----------
    path
        Its suffix says which form.
    network_id, granularity_s, slices, origin
        Win over what the file says of them. Without any network id, the file's name is taken.
    ignore
        Columns or properties to pass over.

    Raises
    ------
    InvalidFile
        If it cannot be read as one, naming file and line or feature.
    OSError
        If there is no such file, or it may not be read.
    """
    suffix = path.suffix.lower()
    if suffix not in (*_TABLES, _GEOJSON, _JSON):
        raise InvalidFile(f"{path}: a topology has one of the suffixes {_SUFFIXES}")
    stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:63] or "network"
    try:
        text = text_of(path.read_bytes())
        if suffix in _TABLES:
            return read_csv(
                text,
                network_id or stem,
                granularity_s=granularity_s or 60,
                slices=slices or (),
                origin=origin,
                ignore=ignore,
            )
        if suffix == _GEOJSON or '"FeatureCollection"' in text:
            return read_geojson(
                text,
                network_id,
                otherwise=stem,
                granularity_s=granularity_s,
                slices=slices,
                origin=origin,
                ignore=ignore,
            )
        given = {"network_id": network_id, "granularity_s": granularity_s, "slices": slices, "origin": origin}
        return _read_json(text, {name: value for name, value in given.items() if value is not None})
    except InvalidFile as error:
        raise InvalidFile(f"{path}: {error}") from error


def _read_json(text: str, given: dict[str, object]) -> Topology:
    try:
        found = json.loads(text)
        return Topology.model_validate({**found, **given})
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(str(step) for step in first['loc']) or 'topology'}: {first['msg']}"
        raise InvalidFile(f"no topology ({reason}); make one with `twinloop topology import`") from error


def write_topology(path: Path, topology: Topology) -> None:
    """Write a topology in the form that the suffix says, whole or not at all.

    Raises
    ------
    InvalidFile
        If the suffix is unknown, or a GeoJSON is asked for of a network without origin.
    """
    suffix = path.suffix.lower()
    if suffix in _TABLES[:1]:
        text = write_csv(topology)
    elif suffix == _GEOJSON:
        text = write_geojson(topology)
    elif suffix == _JSON:
        text = topology.model_dump_json(indent=1) + "\n"
    else:
        raise InvalidFile(f"{path}: a topology is written as .csv, .geojson or .json; choose one of these suffixes")
    write(path, text.encode())

"""Cells from named values: what the rows of a CSV and the features of a GeoJSON have in common.

A cell's values are the fields of `schemas.topology.CellSite` by name, with two liberties: `latitude` and `longitude`
(WGS 84, degrees) may stand in place of `x_m` and `y_m`, and `site` and `sector` in place of the distinguished name
`cell`. A sector with several carriers is several cells, named by their carriers: `NRCellDU=<sector>.<MHz>`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any

from pydantic import ValidationError

from schemas.names import cell_dn
from schemas.topology import CellSite, Origin, Topology
from twin_core.exceptions import InvalidFile
from twin_core.exchange.files import refuse
from twin_core.exchange.projection import Projection, centre_of

NAME, PARTS = "cell", ("site", "sector")
METRES, DEGREES = ("x_m", "y_m"), ("latitude", "longitude")
OTHERS = tuple(name for name in CellSite.model_fields if name not in (NAME, *METRES))
REQUIRED = tuple(name for name in OTHERS if CellSite.model_fields[name].is_required())
# Every name a value may have.
NAMES = (NAME, *PARTS, *DEGREES, *METRES, *OTHERS)
_NUMBERS = {*DEGREES, *(name for name, f in CellSite.model_fields.items() if f.annotation in (float, int))}
_BOUNDS = {"latitude": 90.0, "longitude": 180.0}
_MICROMETRE = 6  # finer than the degrees that are written, so that these come back as they were


@dataclass
class Draft:
    """A cell as a file tells it.

    Attributes
    ----------
    where
        Place in the file, for a person: "line 7", "feature 3".
    values
        By name, numbers as numbers; what is missing is left out.
    """

    where: str
    values: dict[str, Any]


def number(text: Any) -> float:
    """A finite number; raises ValueError for anything else, truth values among them."""
    if isinstance(text, bool) or not isinstance(text, str | int | float) or not isfinite(found := float(text)):
        raise ValueError(text)
    return found


def check_names(names: Iterable[str], ignore: Collection[str], where: str) -> list[str]:
    """Problems with the names of values: unknown ones with the nearest known one, double ones."""
    counted = Counter(list(names))
    problems = [f"{where}: {name!r} stands twice; keep one" for name, count in counted.items() if count > 1]
    for name in counted.keys() - {*NAMES, *ignore}:
        near = get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(NAMES)}:"
        problems.append(f"{where}: unknown name {name!r}; {hint} remove it, or ignore it (--ignore)")
    return sorted(problems)


def draft(where: str, values: Mapping[str, Any], problems: list[str]) -> Draft:
    """Read numbers of one cell; what is none becomes a problem."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if name in _NUMBERS:
            try:
                out[name] = number(value)
            except ValueError:
                problems.append(f"{where}: {name} is {value!r}, which is no number; {_meaning(name)}")
        else:
            whole = isinstance(value, float) and value.is_integer()
            out[name] = str(int(value) if whole else value)
    return Draft(where, out)


def topology_of(
    drafts: Sequence[Draft], problems: list[str], network: Mapping[str, Any], origin: Origin | None
) -> Topology:
    """All cells as a topology.

    Parameters
    ----------
    drafts
        In the order of the cells.
    problems
        Found so far.
    network
        Fields of the topology other than `cells` and `origin`.
    origin
        Where x = y = 0; the middle of the cells where not given and they stand by latitude and longitude.

    Raises
    ------
    InvalidFile
        If anything is wrong with it, with the place of each problem.
    """
    if not drafts and not problems:
        raise InvalidFile("the file has no cells; give at least one")
    refuse(problems)
    origin = _place(drafts, problems, origin)
    refuse(problems)
    _name(drafts, problems)
    refuse(problems)
    cells, first = [], dict[str, str]()
    for d in drafts:
        try:
            cell = CellSite.model_validate(d.values)
        except ValidationError as error:
            problems += [f"{d.where}: {text}" for text in _explained(error)]
            continue
        if cell.cell in first:
            problems.append(
                f"{d.where}: {cell.cell} stands at {first[cell.cell]} already; give each cell a name of its own"
            )
        first.setdefault(cell.cell, d.where)
        cells.append(cell)
    refuse(problems)
    try:
        return Topology(cells=tuple(cells), origin=origin, **network)
    except ValidationError as error:
        raise InvalidFile("the network: " + "; ".join(_explained(error))) from error


def _place(drafts: Sequence[Draft], problems: list[str], origin: Origin | None) -> Origin | None:
    """Turn latitude and longitude into metres, all cells alike; the origin of those metres."""
    here = []
    for d in drafts:
        degrees, metres = (tuple(n for n in names if n in d.values) for names in (DEGREES, METRES))
        if len(degrees) + len(metres) != 2 or len(degrees) == 1:
            has = ", ".join((*degrees, *metres)) or "neither"
            problems.append(f"{d.where}: give either latitude and longitude or x_m and y_m; it has {has}")
        elif degrees:
            bad = [n for n in DEGREES if abs(d.values[n]) > _BOUNDS[n]]
            problems += [
                f"{d.where}: {n} is {d.values[n]:g}, beyond {_BOUNDS[n]:g} degrees; are latitude and longitude swapped?"
                for n in bad
            ]
            here.append(d)
    if problems or not here:
        return origin
    if len(here) < len(drafts):
        other = next(d for d in drafts if d not in here)
        problems.append(f"{other.where}: stands in metres, {here[0].where} in degrees; place all cells in one way")
        return origin
    latitude, longitude = ([d.values.pop(name) for d in here] for name in DEGREES)
    origin = origin or centre_of(latitude, longitude)
    for d, lat, lon, x, y in zip(
        here, latitude, longitude, *Projection(origin).to_metres(latitude, longitude), strict=True
    ):
        if not max(abs(x), abs(y)) <= 1e6:
            problems.append(
                f"{d.where}: latitude {lat:g}, longitude {lon:g} lies more than 1,000 km from the network's origin "
                f"({origin.latitude:g}, {origin.longitude:g}); correct it, or import far networks apart"
            )
        d.values |= {"x_m": round(float(x), _MICROMETRE), "y_m": round(float(y), _MICROMETRE)}
    return origin


def _name(drafts: Sequence[Draft], problems: list[str]) -> None:
    """Make names of sites and sectors."""
    sectors = Counter(tuple(d.values.get(part) for part in PARTS) for d in drafts if NAME not in d.values)
    for d in drafts:
        site, sector = (d.values.pop(part, None) for part in PARTS)
        if NAME in d.values:
            if site or sector:
                problems.append(f"{d.where}: give either cell or site and sector")
        elif not site or not sector:
            problems.append(f"{d.where}: no name; give cell (a distinguished name), or site and sector")
        elif set(",=") & set(site + sector):
            problems.append(f"{d.where}: a site or sector with ',' or '='; put a distinguished name under cell")
        else:
            carrier = f".{d.values.get('carrier_ghz', 0) * 1000:.0f}" if sectors[site, sector] > 1 else ""
            d.values[NAME] = cell_dn(f"SubNetwork=1,ManagedElement={site}", sector + carrier)


def _meaning(name: str) -> str:
    described = CellSite.model_fields.get(name)
    return f"{name} is: {described.description}" if described and described.description else f"{name} is in degrees"


def _explained(error: ValidationError) -> list[str]:
    out = []
    for e in error.errors(include_url=False):
        name = ".".join(str(step) for step in e["loc"])
        what = e["msg"].removeprefix("Value error, ")
        if e["type"] == "missing":
            out.append(f"{name} is missing; {_meaning(name)}")
        elif not name:
            out.append(what)
        else:
            meaning = f" ({_meaning(name)})" if name in _NUMBERS else ""
            out.append(f"{name} is {e['input']!r}: {what}{meaning}")
    return out

"""`twinloop topology`: networks in from CSV and GeoJSON and out again, and maps of their radio."""

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from infra.cli.errors import reports_errors
from infra.cli.moments import moment
from infra.cli.options import Json, print_json, say
from schemas.names import short_name
from schemas.topology import NetworkSlice, Origin, Topology

if TYPE_CHECKING:
    from twin_core.exchange.radio_map import RadioMap
    from twin_core.radio.survey import Survey
    from twin_core.twin import Twin

app = typer.Typer(
    no_args_is_help=True, help="Networks as files: import and export topologies, draw and export radio maps."
)
_PICTURES, _RASTERS = (".png",), (".tif", ".tiff")


class Show(StrEnum):
    """What a map shows."""

    BEST_RSRP = "best-rsrp"
    SERVER = "server"
    SINR = "sinr"
    RSRP = "rsrp"
    GAIN = "gain"


def _place(text: str | Origin) -> Origin:
    if isinstance(text, Origin):
        return text
    try:
        latitude, longitude = (float(part) for part in text.split(","))
        return Origin(latitude=latitude, longitude=longitude)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no place; write LATITUDE,LONGITUDE in degrees: 50.11,8.68") from None


def _slice(text: str | NetworkSlice) -> NetworkSlice:
    if isinstance(text, NetworkSlice):
        return text
    s_nssai, _, name = text.partition("=")
    try:
        return NetworkSlice(s_nssai=s_nssai, name=name)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


OriginOption = Annotated[
    Origin | None,
    typer.Option("--origin", parser=_place, metavar="LAT,LON", help="Place of x = y = 0 on the earth, degrees WGS 84."),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--topology", exists=True, dir_okay=False, help="Topology file; the network of the database if left out."
    ),
]


@app.command("import")
@reports_errors
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A .csv or .geojson file.")],
    network_id: Annotated[
        str | None, typer.Option(help="Name of the network; what the file says, or the file's own name.")
    ] = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="Topology file to write.")] = Path("topology.json"),
    origin: OriginOption = None,
    slices: Annotated[
        list[NetworkSlice] | None,
        typer.Option("--slice", parser=_slice, metavar="S-NSSAI[=NAME]", help="A slice of all cells; repeatable."),
    ] = None,
    granularity_s: Annotated[int | None, typer.Option(min=1, max=3600, help="Reporting interval, seconds.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Column or property to pass over; repeatable. Unknown ones are errors.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read a network from CSV or GeoJSON, check it, and write it as a topology file.

    A CSV has a header and one line for each cell: cell (its DN) or site and sector; latitude and longitude or x_m and
    y_m; height_m, azimuth_deg, carrier_ghz, prbs, max_tx_power_mw; optional: mechanical_tilt_deg, scs_khz, region and
    the other fields of a cell. Commas, semicolons or tabs between. A GeoJSON has a Point for each cell, with the same
    names as properties. A sector with several carriers is several cells. What is wrong is told by line or feature, and
    then nothing is written.

    Example: twinloop topology import sites.csv --network-id town --slice 1-000001=eMBB
    """
    from twin_core.exchange.topology_files import read_topology, write_topology

    topology = read_topology(
        file,
        network_id,
        granularity_s=granularity_s,
        slices=tuple(slices) if slices else None,
        origin=origin,
        ignore=ignore or (),
    )
    write_topology(_with_suffix(out, (".json",)), topology)
    _say_topology(topology, out, as_json)


@app.command("export")
@reports_errors
def export(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="File to write: .csv, .geojson or .json.")],
    source: From = None,
    origin: OriginOption = None,
    as_json: Json = False,
) -> None:
    """Write a network as CSV, GeoJSON or topology file.

    A network that stands in metres only, as simulators do, needs --origin to become GeoJSON. A CSV holds cells alone:
    slices, reporting interval and wraparound are left out of it.

    Example: twinloop topology export network.geojson --origin 50.11,8.68
    """
    from twin_core.exchange.topology_files import write_topology

    topology = _topology(source)
    if origin is not None:
        topology = topology.model_copy(update={"origin": origin})
    write_topology(out, topology)
    _say_topology(topology, out, as_json)


@app.command("map")
@reports_errors
def map_(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="File to write: .png for eyes, .tif for GIS.")],
    show: Annotated[
        Show,
        typer.Option(
            help="RSRP of the strongest cell; which cell that is; its SINR; RSRP of each cell; path gain of each cell "
            "without antennas."
        ),
    ] = Show.BEST_RSRP,
    cell: Annotated[
        str | None, typer.Option(help="The cell of rsrp or gain: DN, or short as gnb7-3. A .png shows one cell.")
    ] = None,
    load: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Load of all cells for sinr, percent; what the twin expects if left out."),
    ] = None,
    source: From = None,
    at: Annotated[
        str | None, typer.Option(help="Revision or time of the twin in the database; the newest if left out.")
    ] = None,
    gains: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="With --topology: path gains, .tif or .npz, to start from."),
    ] = None,
    buildings: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="With --topology: buildings (GeoJSON) to start from, where gains are unknown.",
        ),
    ] = None,
    pixels_per_isd: Annotated[
        int, typer.Option(min=4, max=100, help="With --topology: pixels between neighbouring sites.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Draw or export a radio map: of the twin in the database, or of a topology file before any telemetry.

    A GeoTIFF has a band for each cell, named by its DN, and the network's coordinate system; without an origin in the
    topology it stands in local metres. Best servers are numbered from 0 in the order of the tag `cells`.

    Examples: twinloop topology map best.png --topology topology.json;
    twinloop topology map sinr.tif --show sinr --load 50;
    twinloop topology map best.png --topology topology.json --buildings town.geojson;
    twinloop topology map gnb1-1.png --show rsrp --cell gnb1-1 --at 17
    """
    from twin_core.exchange.files import write

    suffix = _with_suffix(out, (*_PICTURES, *_RASTERS)).suffix.lower()
    per_cell = show in (Show.RSRP, Show.GAIN)
    if cell and not per_cell:
        raise typer.BadParameter("--cell goes with --show rsrp or gain")
    if per_cell and not cell and suffix in _PICTURES:
        raise typer.BadParameter("a picture shows one cell; name it with --cell, or write .tif")
    if (gains or buildings) and source is None:
        raise typer.BadParameter(f"--{'gains' if gains else 'buildings'} goes with --topology")
    if at is not None and source is not None:
        raise typer.BadParameter("--at goes with the twin in the database, not with --topology")
    survey = None
    if source is None:
        twin = _twin_at(at)
    else:
        twin, survey = _twin_of(_topology(source), pixels_per_isd, gains, buildings)
    drawn = _map_of(twin, show, load, cell)
    if suffix in _PICTURES:
        from twin_core.exchange.picture import png

        write(out, png(drawn))
    else:
        from twin_core.exchange.geotiff import geotiff

        write(out, geotiff(drawn))
    grid = twin.network.grid
    origin = twin.network.topology.origin
    if as_json:
        print_json(
            {
                "file": str(out),
                "show": show.value,
                "bands": list(drawn.bands),
                "revision": twin.revision,
                "pixel_m": grid.spacing_m,
                "size": [grid.nx, grid.ny],
                "origin": origin.model_dump() if origin else None,
                "known_share": survey.known if survey else None,
                "under_roof": list(survey.under_roof) if survey else [],
            }
        )
        return
    say(
        f"{out}: {drawn.quantity.title} {drawn.note}".rstrip()
        + f"; {len(drawn.bands)} band(s) of {grid.nx} x {grid.ny} pixels, {grid.spacing_m:g} m each"
    )
    if origin is None and suffix in _RASTERS:
        say("The topology has no origin: the map stands in local metres, nowhere on the earth.")

    if survey is not None:
        _say_survey(survey)


def _map_of(twin: "Twin", show: Show, load: float | None, cell: str | None) -> "RadioMap":
    from twin_core.exchange import radio_map

    if show is Show.SINR:
        return radio_map.sinr_map(twin, None if load is None else load / 100)
    if show is Show.BEST_RSRP:
        return radio_map.best_rsrp_map(twin)
    if show is Show.SERVER:
        return radio_map.server_map(twin)
    found = radio_map.rsrp_map(twin) if show is Show.RSRP else radio_map.gain_map(twin)
    return found.of_cell(cell) if cell else found


def _with_suffix(path: Path, known: tuple[str, ...]) -> Path:
    if path.suffix.lower() not in known:
        raise typer.BadParameter(f"{path} should end in {' or '.join(known)}")
    return path


def _topology(source: Path | None) -> Topology:
    """The topology of a file, or of the network in the database."""
    from infra.roles.base import Context
    from infra.settings import load_settings
    from infra.topologies import topology_or_explain
    from twin_core.exchange.topology_files import read_topology

    if source is not None:
        return read_topology(source)
    context = Context.of(load_settings())
    with context.database("topology") as database:
        return topology_or_explain(database, context.network_id)


def _twin_at(at: str | None) -> "Twin":
    from infra.replaying import twin_at
    from infra.roles.base import Context
    from infra.settings import load_settings

    return twin_at(Context.of(load_settings()), moment(at)).twin


def _twin_of(
    topology: Topology, pixels_per_isd: int, gains: Path | None, buildings: Path | None
) -> "tuple[Twin, Survey | None]":
    from twin_core.exchange.survey_files import read_survey
    from twin_core.network import Network
    from twin_core.settings import PhysicsSettings, TwinSettings
    from twin_core.twin import Twin

    settings = TwinSettings(physics=PhysicsSettings(pixels_per_isd=pixels_per_isd))
    if gains is None and buildings is None:
        return Twin.create(topology, settings), None
    survey = read_survey(Network.of(topology, pixels_per_isd), gains, buildings)
    return Twin.create(topology, settings, survey.loss_db), survey


def _say_survey(survey: "Survey") -> None:
    say(f"Path loss is known of {survey.known:.0%} of the links, expected by TR 38.901 of the others.")
    if survey.under_roof:
        names = ", ".join(map(short_name, survey.under_roof[:6])) + (" …" if len(survey.under_roof) > 6 else "")
        say(f"Antennas under a roof: {names}. If they stand outdoors, mend their height or the roof's.")


def _say_topology(topology: Topology, out: Path, as_json: bool) -> None:
    carriers = Counter(f"{c.carrier_ghz:g} GHz" for c in topology.cells)
    document = {
        "file": str(out),
        "network_id": topology.network_id,
        "cells": len(topology.cells),
        "managed_elements": len(topology.managed_elements),
        "carriers": dict(carriers),
        "slices": [s.s_nssai for s in topology.slices],
        "origin": topology.origin.model_dump() if topology.origin else None,
    }
    if as_json:
        print_json(document)
        return
    where = "no origin: metres only"
    if topology.origin is not None:
        where = f"origin {topology.origin.latitude:g}, {topology.origin.longitude:g}"
    say(
        f"{out}: network {topology.network_id}, {len(topology.cells)} cells of {document['managed_elements']} managed "
        f"elements ({', '.join(f'{n} at {c}' for c, n in carriers.items())}), {len(topology.slices)} slices, {where}"
    )
    if out.suffix.lower() == ".csv" and topology.slices:
        say("Slices are no part of a CSV; give them again at import (--slice).")

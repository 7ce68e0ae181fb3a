"""Topologies as CSV: a header, then one cell a line.

Columns: `cell`, or `site` and `sector`; `latitude` and `longitude`, or `x_m` and `y_m`; then the other fields of
`schemas.topology.CellSite`, of which those with a default may be left out or empty. Separated by comma, semicolon or
tab; numbers may have decimal commas unless the comma separates. What belongs to the network and not to a cell
(slices, granularity, origin, wraparound) has no place in it and is given at reading.
"""

import csv
import io
from collections.abc import Collection

from schemas.topology import NetworkSlice, Origin, Topology
from twin_core.exceptions import InvalidFile
from twin_core.exchange.cells import (
    DEGREES,
    METRES,
    NAME,
    OTHERS,
    PARTS,
    REQUIRED,
    check_names,
    draft,
    topology_of,
)
from twin_core.exchange.files import refuse
from twin_core.exchange.projection import DECIMALS, Projection


def read_csv(
    text: str,
    network_id: str,
    *,
    granularity_s: int = 60,
    slices: tuple[NetworkSlice, ...] = (),
    origin: Origin | None = None,
    ignore: Collection[str] = (),
) -> Topology:
    """Read a topology.

    Parameters
    ----------
    text
        Of the file, see `files.text_of`.
    network_id, granularity_s, slices
        Of the network.
    origin
        Where x = y = 0; by default the middle of the sites, or unknown where they stand in metres.
    ignore
        Columns to pass over.

    Raises
    ------
    InvalidFile
        If the text is no topology, naming the lines.

    Examples
    --------
    >>> topology = read_csv('''site;sector;latitude;longitude;height_m;azimuth_deg;carrier_ghz;prbs;max_tx_power_mw
    ... north;1;50,11;8,68;25;30;3,5;51;40000
    ... north;2;50,11;8,68;25;150;3,5;51;40000''', "town")
    >>> topology.cell_names[1], topology.cells[1].azimuth_deg, topology.origin
    ('SubNetwork=1,ManagedElement=north,GNBDUFunction=1,NRCellDU=2', 150.0, Origin(latitude=50.11, longitude=8.68))
    """
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((s for s in ";\t" if s in header_line), ",")
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    problems: list[str] = []
    drafts = []
    start = 0  # a quoted value may hold line ends, so that a row begins after the end of the one before
    try:
        for row in rows:
            where, start = f"line {start + 1}", rows.line_num
            if not any(value.strip() for value in row):
                continue
            if not header:
                header = [name.strip() for name in row]
                _check_header(header, ignore, where)
                continue
            if len(row) != len(header):
                hint = "; put names that hold commas into quotes" if separator == "," and len(row) > len(header) else ""
                problems.append(f"{where}: {len(row)} values under {len(header)} columns{hint}")
                continue
            values = {n: v.strip() for n, v in zip(header, row, strict=True) if v.strip() and n not in ignore}
            if separator != ",":
                values = {n: v if n in (NAME, *PARTS) else v.replace(",", ".") for n, v in values.items()}
            drafts.append(draft(where, values, problems))
    except csv.Error as error:
        raise InvalidFile(f"line {rows.line_num}: no CSV ({error}); save the table again as CSV UTF-8") from error
    if not header:
        raise InvalidFile("the file is empty; give a header and at least one cell")
    network = {"network_id": network_id, "granularity_s": granularity_s, "slices": slices}
    return topology_of(drafts, problems, network, origin)


def _check_header(header: list[str], ignore: Collection[str], where: str) -> None:
    problems = check_names(header, ignore, where)
    missing = [name for name in REQUIRED if name not in header]
    if NAME not in header and not {*PARTS} <= {*header}:
        missing.insert(0, "cell (or site and sector)")
    if not {*DEGREES} <= {*header} and not {*METRES} <= {*header}:
        missing.append("latitude and longitude (or x_m and y_m)")
    if missing:
        problems.append(f"{where}: the header lacks {', '.join(missing)}; the first line names the columns")
    refuse(problems)


def write_csv(topology: Topology) -> str:
    """Write the cells of a topology: by latitude and longitude where its origin is known, else in metres.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> read_csv(write_csv(hexagonal(sites=1)), "example") == hexagonal(sites=1)
    True
    """
    out = io.StringIO()
    places = METRES if topology.origin is None else DEGREES
    table = csv.writer(out, lineterminator="\n")
    table.writerow((NAME, *places, *OTHERS))
    x, y = [c.x_m for c in topology.cells], [c.y_m for c in topology.cells]
    if topology.origin is not None:
        x, y = ([round(float(d), DECIMALS) for d in axis] for axis in Projection(topology.origin).to_degrees(x, y))
    for cell, first, second in zip(topology.cells, x, y, strict=True):
        others = (getattr(cell, name) for name in OTHERS)
        table.writerow((cell.cell, first, second, *("" if value is None else value for value in others)))
    return out.getvalue()

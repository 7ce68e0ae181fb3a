"""CICV5G: drives with a 5G modem, logged at 20 Hz, as measurement reports of five seconds.

The log repeats what the modem last measured until it measures again, every 13 s: of 240 rows in such a *hold*, one is
a measurement. Every row becomes a report with its position, but RSRP and SINR stand only where they are new; elsewhere
they are missing, not repeated. See ``docs/recordings.md``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from infra.datasets.exceptions import EmptyDataset
from infra.datasets.reading import read_recording
from infra.datasets.recording import Period, clean
from schemas.base import Event
from schemas.names import cell_dn, managed_element_of
from schemas.telemetry import MeasurementReport
from schemas.topics import Topic, topic
from schemas.topology import CellSite, Topology

NAME = "cicv5g"
PERIOD_MS = 5000  # some hundred reports a message; each keeps its own time
_NUMBERS = ("pub_ms", "utm_x", "utm_y", "sinr_db", "rsrp_dbm")
_TEXTS = ("cell_id", "run", "band", "road")
_LEAST_ROWS = 200  # ten seconds
# RSRP, SINR and cell of one measurement are logged within this time of each other, usually in the next row.
_SETTLE_MS = 2000
_POSSIBLE = {"rsrp_dbm": (-156.0, -31.0), "sinr_db": (-23.0, 40.0)}  # TS 38.133 reporting ranges
_FARTHEST_M, _FASTEST_MPS = 20_000.0, 70.0
# Not recorded; usual for the bands: GHz, PRB, subcarrier spacing kHz.
_CARRIERS = {"n8": (0.94, 52, 15), "n78": (3.5, 273, 30)}
_GNB_DIGITS = 6  # of the 9 hexadecimal digits of an NR cell identity, if its gNB id has 24 bits


@dataclass(frozen=True, eq=False)
class DriveRecording:
    """The recording as rows.

    Attributes
    ----------
    rows
        In order of time: ``time_ms, x_m, y_m, cell`` (index)``, rsrp_dbm, sinr_db`` as recorded, ``fresh`` (whether
        measured anew), ``hold`` (number of the measurement that is repeated, over all drives), ``drive``, ``day``
        (indices), ``band, road, run``, ``period_end_ms``.
    days
        Name of each day.
    """

    topology: Topology
    traps: dict[str, int]
    rows: pd.DataFrame
    days: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.rows["period_end_ms"].nunique())

    def periods(self) -> Iterator[Period]:
        """One measurement report message per managed element and period."""
        mr, network, names = topic("telemetry.mr"), self.topology.network_id, self.topology.cell_names
        elements = self.topology.managed_elements
        element_of = np.array([elements.index(managed_element_of(name)) for name in names])
        cells_of = [np.flatnonzero(element_of == e) for e in range(len(elements))]
        rows = self.rows.assign(element=element_of[self.rows["cell"].to_numpy()])
        rows = rows.sort_values(["period_end_ms", "element"], kind="stable")
        end, element, fresh = (rows[c].to_numpy() for c in ("period_end_ms", "element", "fresh"))
        columns = {c: rows[c].to_numpy() for c in ("time_ms", "x_m", "y_m", "cell", "drive")}
        rsrp = rows["rsrp_dbm"].where(rows["fresh"]).to_numpy()
        sinr = rows["sinr_db"].where(rows["fresh"]).to_numpy()
        starts = np.flatnonzero((np.diff(end, prepend=-1) != 0) | (np.diff(element, prepend=-1) != 0))
        at, events = -1, list[tuple[Topic, Event]]()
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(end)], strict=True):
            if at >= 0 and end[first] != at:
                yield Period(at, tuple(events))
                events = list[tuple[Topic, Event]]()
            at, part, cells = int(end[first]), slice(first, last), cells_of[element[first]]
            name = elements[element[first]]
            serving = np.searchsorted(cells, columns["cell"][part])
            block = np.full((last - first, len(cells)), np.nan)
            new = np.flatnonzero(fresh[part])
            block[new, serving[new]] = rsrp[part][new]
            report = MeasurementReport(
                network_id=network,
                event_id=f"mr-{name.rpartition('=')[2]}-{at}",
                managed_element=name,
                time_ms=at,
                cells=[names[i] for i in cells],
                report_ms=columns["time_ms"][part].tolist(),
                ue=[f"drive-{d}" for d in columns["drive"][part]],
                x_m=columns["x_m"][part].tolist(),
                y_m=columns["y_m"][part].tolist(),
                serving=serving.tolist(),
                sinr_db=sinr[part].tolist(),
                rsrp_dbm=block.ravel().tolist(),
            )
            events.append((mr, report))
        if events:
            yield Period(at, tuple(events))


def read(path: Path, network_id: str = NAME, limit: int | None = None) -> DriveRecording:
    """Read the drives; ``limit`` keeps the first so many periods.

    Raises
    ------
    DatasetError
        See :mod:`infra.datasets.exceptions`.
    """
    cleaned = clean(read_recording(NAME, path, _NUMBERS, _TEXTS), ["run"], "pub_ms", [], _LEAST_ROWS)
    if cleaned.rows.empty:
        raise EmptyDataset(f"no row of {path} has a time", "give a recording whose pub_ms is epoch milliseconds")
    rows, traps = _placed(cleaned.rows)
    rows["fresh"], rows["hold"] = _fresh(rows)
    traps["rows that repeat a measurement (RSRP and SINR left out)"] = int((~rows["fresh"]).sum())
    rows["period_end_ms"] = -(-rows["time_ms"] // PERIOD_MS) * PERIOD_MS
    rows = rows.sort_values(["time_ms", "drive"], kind="stable")
    if limit is not None:
        last = np.unique(rows["period_end_ms"].to_numpy())[: max(limit, 1)][-1]
        rows = rows[rows["period_end_ms"] <= last]
    day_names = pd.to_datetime(rows["time_ms"], unit="ms").dt.strftime("%Y-%m-%d")
    days = tuple(sorted(day_names.unique()))
    rows["day"] = day_names.map(days.index)
    names = {band: sorted(part["cell_id"].unique()) for band, part in rows.groupby("band", sort=True)}
    cells = [(str(band), cell) for band, ids in names.items() for cell in ids]
    # The topology names cells in order of managed element, so that a report's cells ascend.
    cells.sort(key=lambda c: _identity(c[1]))
    rows["cell"] = rows["cell_id"].map({cell: i for i, (_, cell) in enumerate(cells)})
    return DriveRecording(_topology(cells, rows, network_id), cleaned.traps | traps, rows.reset_index(drop=True), days)


def _placed(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Metres from the middle of the site, NaN where impossible; impossible measurements NaN; drives numbered."""
    rows = rows.rename(columns={"pub_ms": "time_ms"})
    runs = rows.groupby("run")["time_ms"].min().sort_values(kind="stable").index.tolist()
    rows["drive"] = rows["run"].map(runs.index)
    rows = rows.sort_values(["drive", "time_ms"], kind="stable").reset_index(drop=True)
    origin = np.round(rows[["utm_x", "utm_y"]].median().to_numpy(), -2)
    place = rows[["utm_x", "utm_y"]].to_numpy(dtype=np.float64) - origin
    impossible = ~(np.hypot(*place.T) < _FARTHEST_M)
    impossible |= _jumps(place, rows["time_ms"].to_numpy(), rows["drive"].to_numpy(), impossible)
    place[impossible] = np.nan
    rows["x_m"], rows["y_m"] = place.T
    absurd = np.zeros(len(rows), dtype=bool)
    for name, (low, high) in _POSSIBLE.items():
        bad = ~rows[name].between(low, high).to_numpy()
        rows[name] = rows[name].mask(bad)
        absurd |= bad
    return rows, {
        "rows with an impossible position (left out)": int(impossible.sum()),
        "rows with an impossible RSRP or SINR (left out)": int(absurd.sum()),
    }


def _jumps(
    place: NDArray[np.float64], time_ms: NDArray[np.int64], drive: NDArray[np.int64], known_bad: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Rows that cannot be reached from the row before nor left for the row after at a possible speed."""
    out = np.zeros(len(place), dtype=bool)
    good = np.flatnonzero(~known_bad)
    step = np.hypot(*np.diff(place[good], axis=0).T)
    seconds = np.maximum(np.diff(time_ms[good]) / 1000, 0.05)
    far = (step / seconds > _FASTEST_MPS) & (np.diff(drive[good]) == 0)
    edge = np.diff(drive[good]) != 0
    before = np.concatenate([[True], far | edge])
    after = np.concatenate([far | edge, [True]])
    any_far = np.concatenate([[False], far]) | np.concatenate([far, [False]])
    out[good] = before & after & any_far
    return out


def _fresh(rows: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which rows are the first to show a new measurement in full, and the number of the measurement each row shows.

    RSRP, SINR or cell changes when the modem has measured. The first rows of a drive show a measurement of unknown
    age: it is none of this drive's.
    """
    drive, time = rows["drive"].to_numpy(), rows["time_ms"].to_numpy()
    start = np.concatenate([[True], np.diff(drive) != 0])
    changed = np.zeros(len(rows), dtype=bool)
    for name in ("rsrp_dbm", "sinr_db", "cell_id"):
        value = rows[name].to_numpy() if name == "cell_id" else rows[name].fillna(0.0).to_numpy()
        changed[1:] |= value[1:] != value[:-1]
    changed &= ~start
    fresh = np.zeros(len(rows), dtype=bool)
    hold = np.cumsum(start) - 1
    began = last = -1
    extra = np.zeros(len(rows), dtype=np.int64)
    for i in np.flatnonzero(changed).tolist():
        if began >= 0 and drive[i] == drive[began] and time[i] - time[began] <= _SETTLE_MS:
            fresh[last] = False
            extra[last] = 0
        else:
            began = i
        fresh[i], extra[i], last = True, 1, i
    measured = np.isfinite(rows["rsrp_dbm"].to_numpy()) & np.isfinite(rows["x_m"].to_numpy())
    return fresh & measured, hold + np.cumsum(extra)


def _identity(cell_id: str) -> tuple[str, str]:
    """Managed element and cell of an NR cell identity in hexadecimal."""
    text = re.sub(r"[^A-Za-z0-9._:-]", "-", cell_id) or "unknown"
    return (text[:_GNB_DIGITS], text[_GNB_DIGITS:]) if len(text) > _GNB_DIGITS else (text, "1")


def _topology(cells: list[tuple[str, str]], rows: pd.DataFrame, network_id: str) -> Topology:
    """Sites in the middle of what they served, for want of their positions; 10 W, no direction."""
    sites = []
    middle = rows.groupby(rows["cell_id"].map({cell: _identity(cell)[0] for _, cell in cells}))[["x_m", "y_m"]].median()
    for band, cell in cells:
        element, number = _identity(cell)
        x, y = middle.loc[element].fillna(0.0).to_numpy(dtype=np.float64)
        ghz, prbs, scs = _CARRIERS.get(band, _CARRIERS["n78"])
        sites.append(
            CellSite(
                cell=cell_dn(f"SubNetwork={NAME},ManagedElement={element}", number),
                x_m=round(float(x), 1),
                y_m=round(float(y), 1),
                height_m=25.0,
                azimuth_deg=0.0,
                carrier_ghz=ghz,
                prbs=prbs,
                scs_khz=scs,
                max_tx_power_mw=10_000.0,
            )
        )
    return Topology(network_id=network_id, granularity_s=PERIOD_MS // 1000, cells=tuple(sites))

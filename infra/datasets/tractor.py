"""TRACTOR: per-UE rows every 250 ms from 5G-like cells, as PM reports of one second.

Each recording (``cond``: so many users on one base station) is a cell of its own; trials are stretches of time.
A row says what happened in the 250 ms before its timestamp. See ``docs/recordings.md`` for the mapping.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infra.datasets.exceptions import EmptyDataset
from infra.datasets.reading import read_recording
from infra.datasets.recording import Period, clean
from schemas.counters import Layout, register_layout
from schemas.names import cell_dn
from schemas.telemetry import CellCounters, PmReport
from schemas.topics import topic
from schemas.topology import CellSite, Topology

NAME = "tractor"
BIN_MS, PERIOD_MS = 250, 1000
PRBS = 50
# 50 PRB in each of the 250 TTI of 1 ms: more cannot be granted in a bin, so a larger sum is a fault of the recorder.
BIN_LIMIT_PRB = PRBS * BIN_MS
_LEAST_ROWS = 40  # ten seconds of one UE

LAYOUT = register_layout(
    Layout(
        "tractor-cell-v1",
        cell=(
            "RRU.PrbTotDl",
            "RRU.PrbUsedDl",
            "RRU.PrbAvailDl",
            "DRB.UEThpDl",
            "DRB.PdcpSduVolumeDL",
            "DRB.PdcpSduVolumeUL",
            "DRB.MeanActiveUeDl",
            "RRC.ConnMean",
            "RRC.ConnMax",
            "TB.TotNbrDl",
            "TB.ErrTotNbrDl",
            "TL.MeanCqiDl",
        ),
    )
)
_NUMBERS = (
    "Timestamp", "IMSI", "dl_buffer_bytes", "dl_mbps", "dl_pkts", "dl_err_pct", "dl_cqi", "ul_mbps", "sum_granted_prbs",
)  # fmt: skip
_TEXTS = ("trial", "cond")
# Possible values of one row; outside them the bin is suspect. A 10 MHz carrier cannot carry 100 Mbit/s.
_POSSIBLE = {
    "dl_buffer_bytes": (0, 1e9),
    "dl_mbps": (0, 100),
    "dl_pkts": (0, 1e4),
    "dl_err_pct": (0, 100),
    "dl_cqi": (0, 15),
    "ul_mbps": (0, 100),
    "sum_granted_prbs": (0, BIN_LIMIT_PRB),
}


@dataclass(frozen=True, eq=False)
class TractorRecording:
    """The recording as cells and periods.

    Attributes
    ----------
    reports
        One row per cell and period: ``cell`` (index), ``period_end_ms``, ``trial``, ``suspect`` and the counters.
    """

    topology: Topology
    traps: dict[str, int]
    reports: pd.DataFrame

    def __len__(self) -> int:
        return int(self.reports["period_end_ms"].nunique())

    def periods(self) -> Iterator[Period]:
        """PM reports, one per cell and period."""
        pm, network = topic("telemetry.pm"), self.topology.network_id
        elements = [c.rpartition(",GNBDUFunction")[0] for c in self.topology.cell_names]
        values = self.reports[list(LAYOUT.cell)].to_numpy(dtype=np.float64)
        ends, cells, suspect = (self.reports[c].to_numpy() for c in ("period_end_ms", "cell", "suspect"))
        starts = np.flatnonzero(np.diff(ends, prepend=-1))
        for first, last in zip(starts, [*starts[1:], len(ends)], strict=True):
            end = int(ends[first])
            events = []
            for i in range(first, last):
                element = elements[cells[i]]
                report = PmReport(
                    network_id=network,
                    event_id=f"pm-{element.rpartition('=')[2]}-{end}",
                    managed_element=element,
                    period_end_ms=end,
                    granularity_s=PERIOD_MS // 1000,
                    layout=LAYOUT.name,
                    cells=[
                        CellCounters(
                            cell=self.topology.cell_names[cells[i]], values=values[i].tolist(), suspect=bool(suspect[i])
                        )
                    ],
                )
                events.append((pm, report))
            yield Period(end, tuple(events))


def read(path: Path, network_id: str = NAME, limit: int | None = None) -> TractorRecording:
    """Read the recording; ``limit`` keeps the first so many periods.

    Raises
    ------
    DatasetError
        See :mod:`infra.datasets.exceptions`.
    """
    cleaned = clean(read_recording(NAME, path, _NUMBERS, _TEXTS), ["trial", "cond"], "Timestamp", ["IMSI"], _LEAST_ROWS)
    if cleaned.rows.empty:
        raise EmptyDataset(
            f"no row of {path} has a timestamp", "give a recording whose Timestamp is epoch milliseconds"
        )
    bins, traps = _bins(cleaned.rows)
    names = sorted(bins["cond"].unique(), key=_natural)
    reports = _periods(bins, names)
    if limit is not None:
        last = np.unique(reports["period_end_ms"].to_numpy())[: max(limit, 1)][-1]
        reports = reports[reports["period_end_ms"] <= last]
    return TractorRecording(_topology(names, network_id), cleaned.traps | traps, reports.reset_index(drop=True))


def _bins(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows of users to bins of cells; impossible values are left out of sums and make their bin suspect."""
    rows = rows.copy()
    rows["bin"] = -(-rows["Timestamp"] // BIN_MS)
    jitter = rows.duplicated(["trial", "cond", "IMSI", "bin"])  # two rows of a UE that jitter put into one bin
    rows = rows[~jitter]
    rows["recorded"] = rows["sum_granted_prbs"]
    wrong = pd.Series(False, index=rows.index)
    for name, (low, high) in _POSSIBLE.items():
        bad = ~rows[name].between(low, high)
        wrong |= bad
        rows[name] = rows[name].mask(bad)
    rows["active"] = (rows["dl_buffer_bytes"].gt(0) | rows["dl_pkts"].gt(0)).astype(float)
    rows["errors"] = rows["dl_pkts"] * rows["dl_err_pct"] / 100
    rows["wrong"] = wrong
    grouped = rows.groupby(["trial", "cond", "bin"], sort=True)
    bins = grouped.agg(
        granted=("sum_granted_prbs", "sum"),
        recorded=("recorded", "sum"),
        dl=("dl_mbps", "sum"),
        ul=("ul_mbps", "sum"),
        blocks=("dl_pkts", "sum"),
        errors=("errors", "sum"),
        connected=("IMSI", "size"),
        active=("active", "sum"),
        cqi=("dl_cqi", "mean"),
        wrong=("wrong", "max"),
    ).reset_index()
    above = bins["recorded"] > BIN_LIMIT_PRB
    bins["suspect"] = bins["wrong"] | above
    return bins, {
        "rows of one UE in the same bin (dropped)": int(jitter.sum()),
        "rows with an impossible value (their bin suspect)": int(wrong.sum()),
        f"bins above {BIN_LIMIT_PRB} granted PRB (suspect)": int(above.sum()),
    }


def _periods(bins: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Bins to one-second periods. Rates are means over the bins that were recorded, volumes are of the whole second."""
    bins = bins.assign(period=-(-bins["bin"] * BIN_MS // PERIOD_MS), cell=bins["cond"].map(names.index))
    # Two trials of one cell in the same second do not occur; if they did, the later trial would be a rerun.
    grouped = bins.groupby(["period", "cell", "trial"], sort=True)
    p = grouped.agg(
        granted=("granted", "mean"),
        dl=("dl", "mean"),
        ul=("ul", "mean"),
        blocks=("blocks", "sum"),
        errors=("errors", "sum"),
        connected=("connected", "mean"),
        most=("connected", "max"),
        active=("active", "mean"),
        cqi=("cqi", "mean"),
        suspect=("suspect", "max"),
        bins=("bin", "size"),
    ).reset_index()
    p = p.drop_duplicates(["period", "cell"], keep="last")
    seconds = PERIOD_MS / 1000
    used = p["granted"] / BIN_MS
    columns: dict[str, Any] = {
        "RRU.PrbTotDl": 100 * used / PRBS,
        "RRU.PrbUsedDl": used,
        "RRU.PrbAvailDl": float(PRBS),
        "DRB.UEThpDl": (1000 * p["dl"] / p["active"]).where(p["active"] > 0),
        "DRB.PdcpSduVolumeDL": 1000 * seconds * p["dl"],
        "DRB.PdcpSduVolumeUL": 1000 * seconds * p["ul"],
        "DRB.MeanActiveUeDl": p["active"],
        "RRC.ConnMean": p["connected"],
        "RRC.ConnMax": p["most"].astype(float),
        "TB.TotNbrDl": p["blocks"],
        "TB.ErrTotNbrDl": p["errors"],
        "TL.MeanCqiDl": p["cqi"],
    }
    head = {
        "period_end_ms": p["period"] * PERIOD_MS,
        "cell": p["cell"],
        "trial": p["trial"],
        "suspect": p["suspect"].astype(bool),
    }
    return pd.DataFrame({**head, **columns})


def _topology(names: list[str], network_id: str) -> Topology:
    """One cell per recording. Positions and power were not recorded: apart enough not to be neighbours, 1 W."""
    sites = []
    for i, name in enumerate(names):
        element = f"SubNetwork={NAME},ManagedElement={re.sub(r'[^A-Za-z0-9._:-]', '-', name) or 'cell'}"
        sites.append(
            CellSite(
                cell=cell_dn(element, 1),
                x_m=2000.0 * i,
                y_m=0.0,
                height_m=10.0,
                azimuth_deg=0.0,
                carrier_ghz=1.0,  # the emulator's RF lies near 1 GHz
                prbs=PRBS,
                scs_khz=15,
                max_tx_power_mw=1000.0,
            )
        )
    return Topology(network_id=network_id, granularity_s=PERIOD_MS // 1000, cells=tuple(sites))


def _natural(name: str) -> tuple[str, int, str]:
    """multi9 before multi10."""
    head, digits = re.fullmatch(r"(.*?)(\d*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    return head, int(digits or 0), name

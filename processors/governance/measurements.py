"""Measurement reports of an epoch as columns on the cell axis of the topology."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.telemetry import MeasurementReport

Floats = NDArray[np.float64]


class Measurements(NamedTuple):
    """N measurements: ``rsrp_dbm`` [N, C], ``serving`` [N], ``sinr_db``, ``x_m``, ``y_m`` [N]; NaN where missing."""

    rsrp_dbm: Floats
    serving: NDArray[np.int64]
    sinr_db: Floats
    x_m: Floats
    y_m: Floats


def measurements_of(
    reports: Sequence[MeasurementReport], cell_index: Callable[[str], int | None], cells: int
) -> Measurements:
    """Columns of all reports, one below the other, in the order of the reports.

    All cells must be known to ``cell_index``; governance has checked that.
    """
    n = sum(len(r.ue) for r in reports)
    rsrp = np.full((n, cells), np.nan)
    serving = np.zeros(n, dtype=np.int64)
    sinr, x, y = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    start = 0
    for report in reports:
        stop = start + len(report.ue)
        at = np.array([cell_index(name) for name in report.cells], dtype=np.int64)
        rsrp[start:stop, at] = np.reshape(report.rsrp_dbm, (len(report.ue), len(at)))
        serving[start:stop] = at[np.array(report.serving, dtype=np.int64)]
        sinr[start:stop], x[start:stop], y[start:stop] = report.sinr_db, report.x_m, report.y_m
        start = stop
    return Measurements(rsrp, serving, sinr, x, y)

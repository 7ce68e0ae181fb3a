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

    What is heard of cells that ``cell_index`` does not know, as they are of another region, is left out, and users
    whom such a cell serves altogether.
    """
    n = sum(len(r.ue) for r in reports)
    rsrp = np.full((n, cells), np.nan)
    serving = np.zeros(n, dtype=np.int64)
    sinr, x, y = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    start = 0
    for report in reports:
        stop = start + len(report.ue)
        found = [cell_index(name) for name in report.cells]
        at = np.array([-1 if c is None else c for c in found], dtype=np.int64)
        here = at >= 0
        rsrp[start:stop, at[here]] = np.reshape(report.rsrp_dbm, (len(report.ue), len(at)))[:, here]
        serving[start:stop] = at[np.array(report.serving, dtype=np.int64)]
        sinr[start:stop], x[start:stop], y[start:stop] = report.sinr_db, report.x_m, report.y_m
        start = stop
    known = serving >= 0
    return Measurements(rsrp[known], serving[known], sinr[known], x[known], y[known])

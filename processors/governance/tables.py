"""PM reports to one table a period: deltas of cumulative counters, NaN for what is missing or suspect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from processors.governance.cumulative import Baseline, Deltas, to_deltas
from processors.governance.grid import Grid
from processors.governance.limits import CELL_COLUMNS, ELEMENT_COLUMNS, Floats, Ints
from processors.governance.pm import PmReports
from processors.governance.settings import GovernanceSettings
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, Kind


class PeriodTable(NamedTuple):
    """PM of one period.

    ``counters`` [C, len(CELL_COLUMNS)], ``elements`` [E, len(ELEMENT_COLUMNS)], which cells ``reported`` [C].
    """

    period_end_ms: int
    counters: Floats
    elements: Floats
    reported: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Quality:
    """What was wrong with the PM of an epoch without making it unusable.

    Attributes
    ----------
    silent_cells
        Cells without a report for the closed period.
    missing
        Counter to the number of reporting cells whose layout has it and that did not send it.
    suspect_cells
        Reports of cells that the producer doubts; they became NaN.
    wraps, resets, gaps
        Cumulative counters that wrapped (corrected), were reset or had skipped a period (NaN).
    """

    silent_cells: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    suspect_cells: int = 0
    wraps: int = 0
    resets: int = 0
    gaps: int = 0


class Stragglers(NamedTuple):
    """R rows of late PM: ``cell``, ``period_end_ms`` [R], ``counters`` [R, len(CELL_COLUMNS)]."""

    cell: Ints
    period_end_ms: Ints
    counters: Floats


def stragglers_of(reports: PmReports, late: NDArray[np.bool_]) -> Stragglers:
    """Rows of the reports that ``late`` [N] marks; running totals tell nothing without their neighbours in time."""
    rows = (late & ~reports.cumulative)[reports.row_report] & ~reports.suspect
    return Stragglers(reports.cell[rows], reports.period_end_ms[reports.row_report[rows]], reports.values[rows])


class Tables(NamedTuple):
    """Tables of all periods in an epoch, in order, the baselines after them, and their quality."""

    tables: tuple[PeriodTable, ...]
    cells: Baseline
    elements: Baseline
    quality: Quality


class _Axis(NamedTuple):
    """The counters along one axis: which accumulate, and what one period can bring."""

    accumulates: NDArray[np.intp]
    low: Floats
    high: Floats


class Tabulator:
    """Makes tables of accepted PM reports."""

    def __init__(self, cells: int, elements: int, settings: GovernanceSettings) -> None:
        self._shape = (cells, elements)

        def axis(names: tuple[str, ...]) -> _Axis:
            catalogue = {**CELL_COUNTERS, **ELEMENT_COUNTERS}
            which = [i for i, n in enumerate(names) if catalogue[n].kind is Kind.CC]
            ranges = [settings.range_of(names[i]) for i in which]
            return _Axis(
                np.array(which, dtype=np.intp), np.array([r.low for r in ranges]), np.array([r.high for r in ranges])
            )

        self._cell_axis, self._element_axis = axis(CELL_COLUMNS), axis(ELEMENT_COLUMNS)

    def empty_baselines(self) -> tuple[Baseline, Baseline]:
        """Baselines of cells and managed elements before the first report."""
        cells, elements = self._shape
        return (
            Baseline.empty(cells, len(self._cell_axis.accumulates)),
            Baseline.empty(elements, len(self._element_axis.accumulates)),
        )

    def tabulate(
        self, reports: PmReports, applied: NDArray[np.bool_], cells: Baseline, elements: Baseline, grid: Grid
    ) -> Tables:
        """Tables of the reports that ``applied`` [N] marks, period by period; a later report of a cell replaces it."""
        tables: list[PeriodTable] = []
        wraps = resets = gaps = 0
        row_applied = applied[reports.row_report]
        for end in np.unique(reports.period_end_ms[applied]).tolist():
            which = applied & (reports.period_end_ms == end)
            rows = _last_of_each(reports.cell, np.flatnonzero(which[reports.row_report]))
            values = np.where(reports.suspect[rows][:, None], np.nan, reports.values[rows])
            counters, step = self._deltas(
                self._cell_axis,
                cells,
                reports.cell[rows],
                values,
                reports.cumulative[reports.row_report[rows]],
                end,
                grid,
            )
            of = _last_of_each(reports.element, np.flatnonzero(which))
            power, power_step = self._deltas(
                self._element_axis, elements, reports.element[of], reports.element_values[of],
                reports.cumulative[of], end, grid,
            )  # fmt: skip
            cells, elements = step.baseline, power_step.baseline
            wraps += step.wraps + power_step.wraps
            resets += step.resets + power_step.resets
            gaps += step.gaps + power_step.gaps
            table = self._blank(end)
            table.counters[reports.cell[rows]] = counters
            table.elements[reports.element[of]] = power
            table.reported[reports.cell[rows]] = True
            tables.append(table)
        now = row_applied & (reports.period_end_ms[reports.row_report] == grid.end_ms) & ~reports.suspect
        absent = (reports.asked[now] & np.isnan(reports.values[now])).sum(axis=0)
        reported = tables[-1].reported if tables and tables[-1].period_end_ms == grid.end_ms else None
        quality = Quality(
            silent_cells=self._shape[0] - (0 if reported is None else int(reported.sum())),
            missing={CELL_COLUMNS[k]: int(absent[k]) for k in np.flatnonzero(absent)},
            suspect_cells=int((row_applied & reports.suspect).sum()),
            wraps=wraps,
            resets=resets,
            gaps=gaps,
        )
        return Tables(tuple(tables), cells, elements, quality)

    def blank(self, period_end_ms: int) -> PeriodTable:
        """The table of a period for which nobody reported."""
        return self._blank(period_end_ms)

    def _blank(self, end: int) -> PeriodTable:
        cells, elements = self._shape
        return PeriodTable(
            end,
            np.full((cells, len(CELL_COLUMNS)), np.nan),
            np.full((elements, len(ELEMENT_COLUMNS)), np.nan),
            np.zeros(cells, dtype=bool),
        )

    def _deltas(
        self,
        axis: _Axis,
        baseline: Baseline,
        rows: Ints,
        values: Floats,
        cumulative: NDArray[np.bool_],
        end: int,
        grid: Grid,
    ) -> tuple[Floats, Deltas]:
        """Values with their cumulative columns as deltas; a delta beyond what a period can bring is unknown."""
        if not cumulative.any():
            return values, Deltas(values, baseline, 0, 0, 0)
        running = np.flatnonzero(cumulative)
        at = np.ix_(running, axis.accumulates)
        step = to_deltas(baseline, rows[running], values[at], end, grid.granularity_ms)
        delta = step.delta
        with np.errstate(invalid="ignore"):
            delta = np.where((delta < axis.low) | (delta > axis.high), np.nan, delta)
        out = values.copy()
        out[at] = delta
        return out, step


def _last_of_each(of: Ints, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The last of the rows about each cell (or element), in order."""
    if len(rows) == len(np.unique(of[rows])):
        return rows
    backwards = rows[::-1]
    _, first = np.unique(of[backwards], return_index=True)
    return np.sort(backwards[first])

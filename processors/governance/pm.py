"""Checks of PM reports, as columns: a Python step per report, none per counter.

What repeats from period to period (managed element, cells, layout) is judged once per form of report and remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from processors.governance.events import problem_with_key
from processors.governance.grid import Grid
from processors.governance.limits import CELL_COLUMNS, ELEMENT_COLUMNS, Floats, Ints, Limits
from processors.governance.network import NetworkIndex
from processors.governance.settings import GovernanceSettings
from processors.governance.verdict import Refusal
from schemas.counters import layout
from schemas.dead_letters import Reason
from schemas.exceptions import UnknownLayout
from streams.pm_columns import PmColumns, PmForm
from streams.serde import Serde
from streams.transport import Message

_FORMS_KEPT = 50_000


class _Plan(NamedTuple):
    """What is known of all reports of one form: whom they are about, and where their counters belong."""

    element: int
    cells: Ints
    layout: str
    cumulative: bool


@dataclass(frozen=True, slots=True)
class PmReports:
    """N usable reports with R rows, one row per cell, on the axes of the topology and the catalogue.

    Attributes
    ----------
    message
        [N] position of each report in the given messages.
    event_id, element, period_end_ms, cumulative
        [N]
    row_report, cell, suspect
        [R] the report, the cell and the suspect flag of each row.
    values
        [R, len(CELL_COLUMNS)], NaN where missing.
    asked
        [R, len(CELL_COLUMNS)] which counters the row's layout has.
    element_values
        [N, len(ELEMENT_COLUMNS)], NaN where missing.
    """

    message: Ints
    event_id: list[str]
    element: Ints
    period_end_ms: Ints
    cumulative: NDArray[np.bool_]
    row_report: Ints
    cell: Ints
    suspect: NDArray[np.bool_]
    values: Floats
    asked: NDArray[np.bool_]
    element_values: Floats


class PmInspector:
    """Judges messages of ``telemetry.pm``."""

    def __init__(self, network: NetworkIndex, serde: Serde, settings: GovernanceSettings) -> None:
        self._network, self._serde, self._settings = network, serde, settings
        self._plans: dict[PmForm, _Plan | Refusal] = {}
        self._limits: dict[tuple[str, bool], tuple[Limits, Limits]] = {}

    def inspect(self, messages: Sequence[Message], grid: Grid) -> tuple[PmReports, dict[int, Refusal]]:
        """The usable reports among the messages, and why the others cannot be used, by position."""
        columns = self._serde.decode_pm_columns(messages)
        refusals = {i: Refusal(error.reason, error.cause) for i, error in columns.errors}
        plans = [self._plan(form) for form in columns.forms]
        good = np.zeros(len(columns), dtype=bool)
        on_grid = (columns.period_end_ms - grid.end_ms) % grid.granularity_ms == 0
        at, form_of = columns.message.tolist(), columns.form.tolist()
        for i, (position, form) in enumerate(zip(at, form_of, strict=True)):
            refusal = self._problem(messages[position], columns, i, plans[form], grid, bool(on_grid[i]))
            if refusal is None:
                good[i] = True
            else:
                refusals[position] = refusal
        reports, absurd = self._table(columns, plans, np.flatnonzero(good))
        refusals.update(absurd)
        return reports, refusals

    def _problem(
        self, message: Message, columns: PmColumns, i: int, plan: "_Plan | Refusal", grid: Grid, on_grid: bool
    ) -> Refusal | None:
        form = columns.forms[columns.form[i]]
        wrong = problem_with_key(message.key, f"{form.network_id}|{form.managed_element}")
        if wrong is not None or isinstance(plan, Refusal):
            return wrong or cast(Refusal, plan)
        if form.granularity_s * 1000 != grid.granularity_ms:
            return Refusal(
                Reason.BAD_TIME,
                f"granularity {form.granularity_s} s, where the network's is {grid.granularity_ms // 1000} s",
            )
        if not on_grid:
            return Refusal(
                Reason.BAD_TIME,
                f"{int(columns.period_end_ms[i])} ms is no end of a period of {form.granularity_s} s "
                f"aligned to {grid.end_ms} ms",
            )
        return None

    def _plan(self, form: PmForm) -> "_Plan | Refusal":
        plan = self._plans.get(form)
        # A refusal is not remembered: the layout may be registered in the meantime.
        if plan is None or isinstance(plan, Refusal):
            plan = self._new_plan(form)
            if len(self._plans) >= _FORMS_KEPT:
                self._plans.clear()
            self._plans[form] = plan
        return plan

    def _new_plan(self, form: PmForm) -> "_Plan | Refusal":
        element = self._network.elements.get(form.managed_element)
        if element is None:
            return Refusal(Reason.UNKNOWN_ELEMENT, f"the topology has no managed element {form.managed_element}")
        cells = []
        for name in form.cells:
            index = self._network.cell(name)
            if index is None or self._network.element_of_cell[index] != element:
                return Refusal(Reason.UNKNOWN_ELEMENT, f"{form.managed_element} has no cell {name} in the topology")
            cells.append(index)
        if len(set(cells)) != len(cells):
            return Refusal(Reason.INVALID, "a cell stands twice in the report")
        try:
            known = layout(form.layout)
        except UnknownLayout as problem:
            return Refusal(Reason.UNKNOWN_LAYOUT, str(problem))
        wrong = [n for n in form.widths if n != len(known.cell)]
        if wrong:
            return Refusal(
                Reason.UNKNOWN_LAYOUT, f"layout {known.name} has {len(known.cell)} counters a cell, not {wrong[0]}"
            )
        if form.element_width not in (0, len(known.element)):
            return Refusal(
                Reason.UNKNOWN_LAYOUT,
                f"layout {known.name} has {len(known.element)} counters a managed element, not {form.element_width}",
            )
        return _Plan(
            element,
            np.array(cells, dtype=np.int64),
            known.name,
            form.collection == "cumulative",
        )

    def _table(
        self, columns: PmColumns, plans: "list[_Plan | Refusal]", good: NDArray[np.intp]
    ) -> tuple[PmReports, dict[int, Refusal]]:
        """Rows and values of the good reports on common axes; reports with absurd values are left out and refused."""
        usable = {f: plan for f, plan in enumerate(plans) if isinstance(plan, _Plan)}
        form = columns.form[good]
        starts, stops = columns.row_start[good], columns.row_start[good + 1]
        row_report = np.repeat(np.arange(len(good)), stops - starts)
        source = _ranges(starts, stops)
        cell = _concatenate([usable[f].cells for f in form.tolist()])
        suspect = columns.suspect[source]
        values = np.full((len(source), len(CELL_COLUMNS)), np.nan)
        asked = np.zeros(values.shape, dtype=bool)
        element_values = np.full((len(good), len(ELEMENT_COLUMNS)), np.nan)
        absurd: dict[int, Refusal] = {}

        kinds: dict[tuple[str, bool], list[int]] = {}
        for f in sorted(set(form.tolist())):
            kinds.setdefault((usable[f].layout, usable[f].cumulative), []).append(f)
        for (name, cumulative), forms in kinds.items():
            limits, element_limits = self._limits_of(name, cumulative)
            mine = np.isin(form, forms)
            rows = np.flatnonzero(mine[row_report])
            first = columns.value_start[source[rows]]
            block = columns.values[first[:, None] + np.arange(limits.at.size)]
            outside = limits.outside(block) & ~suspect[rows][:, None]
            for r in np.flatnonzero(outside.any(axis=1)):
                k = int(np.argmax(outside[r]))
                i = int(row_report[rows[r]])
                where = self._network.topology.cell_names[cell[rows[r]]]
                absurd.setdefault(i, limits.refusal(k, float(block[r, k]), where))
            values[np.ix_(rows, limits.at)] = block
            asked[np.ix_(rows, limits.at)] = True
            self._element_values(columns, good, np.flatnonzero(mine), element_limits, element_values, absurd)

        keep = np.ones(len(good), dtype=bool)
        keep[list(absurd)] = False
        kept_rows = keep[row_report]
        renumbered = np.cumsum(keep) - 1
        message = columns.message[good]
        ids = [columns.event_id[i] for i in good.tolist()]
        flags = {f: (plan.element, plan.cumulative) for f, plan in usable.items()}
        about = np.array([flags[f] for f in form.tolist()], dtype=np.int64).reshape(-1, 2)
        return PmReports(
            message=message[keep],
            event_id=[ids[i] for i in np.flatnonzero(keep)],
            element=about[keep, 0],
            period_end_ms=columns.period_end_ms[good][keep],
            cumulative=about[keep, 1].astype(bool),
            row_report=renumbered[row_report[kept_rows]],
            cell=cell[kept_rows],
            suspect=suspect[kept_rows],
            values=values[kept_rows],
            asked=asked[kept_rows],
            element_values=element_values[keep],
        ), {int(message[i]): refusal for i, refusal in absurd.items()}

    def _element_values(
        self,
        columns: PmColumns,
        good: NDArray[np.intp],
        which: NDArray[np.intp],
        limits: Limits,
        out: Floats,
        absurd: dict[int, Refusal],
    ) -> None:
        starts = columns.element_start[good[which]]
        sent = which[columns.element_start[good[which] + 1] > starts]
        if not len(sent) or not limits.at.size:
            return
        first = columns.element_start[good[sent]]
        block = columns.element_values[first[:, None] + np.arange(limits.at.size)]
        outside = limits.outside(block)
        for r in np.flatnonzero(outside.any(axis=1)):
            k = int(np.argmax(outside[r]))
            absurd.setdefault(int(sent[r]), limits.refusal(k, float(block[r, k]), "the managed element"))
        out[np.ix_(sent, limits.at)] = block

    def _limits_of(self, name: str, cumulative: bool) -> tuple[Limits, Limits]:
        known = self._limits.get((name, cumulative))
        if known is None:
            known = self._limits[name, cumulative] = (
                Limits.of_cells(name, cumulative, self._settings),
                Limits.of_elements(name, cumulative, self._settings),
            )
        return known


def _ranges(starts: Ints, stops: Ints) -> Ints:
    """All integers of the ranges start..stop, one range after the other."""
    lengths = stops - starts
    total = int(lengths.sum())
    before = np.cumsum(lengths) - lengths
    out: Ints = np.arange(total, dtype=np.int64) - np.repeat(before - starts, lengths)
    return out


def _concatenate(arrays: list[Ints]) -> Ints:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)

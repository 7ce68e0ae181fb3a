"""A report of KPIs for the terminal and as JSON."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.rendering.words import number
from schemas.counters import sliced
from schemas.names import short_name
from twin_core.reporting.catalogue import unit_of
from twin_core.reporting.crowd import RSRP_EDGES_DBM
from twin_core.reporting.report import Report

Tensor = torch.Tensor


def kpis_page(report: Report, cells: Sequence[int] = ()) -> RenderableType:
    """The network beside the spread of its cells, or some cells (positions) beside each other."""
    headers = [short_name(report.cells[c]) for c in cells] or ["network", "least cell", "median", "greatest cell"]
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("KPI", no_wrap=True)
    table.add_column("unit", style="dim", no_wrap=True)
    for header in headers:
        table.add_column(header, justify="right")
    for name, of_cells in _per_cell(report):
        values = [float(of_cells[c]) for c in cells] or [report.network.get(name, math.nan), *_spread(of_cells)]
        table.add_row(name, unit_of(name), *map(number, values))
    if not cells:
        for name, of_elements in report.by_element.items():
            table.add_row(
                name, f"{unit_of(name)} (element)", *map(number, [report.network[name], *_spread(of_elements)])
            )
    parts: list[RenderableType] = [table]
    if not report.converged:
        parts.append(Text("The load coupling did not converge within tolerance.", style="yellow"))
    reasons: dict[str, list[str]] = {}
    for name, why in report.missing.items():
        reasons.setdefault(why, []).append(name)
    parts.extend(Text(f"not computed: {', '.join(names)}: {why}", style="dim") for why, names in reasons.items())
    return Group(*parts)


def _per_cell(report: Report) -> Iterator[tuple[str, Tensor]]:
    """Names and [C] values, those of slices after those of whole cells."""
    yield from report.by_cell.items()
    for k, s_nssai in enumerate(report.slices):
        yield from ((sliced(name, s_nssai), value[:, k]) for name, value in report.by_slice.items())


def _spread(values: Tensor) -> tuple[float, float, float]:
    """Least, median, greatest of those known."""
    known = values[values.isfinite()]
    if not len(known):
        return math.nan, math.nan, math.nan
    return float(known.min()), float(known.quantile(0.5)), float(known.max())


def kpis_json(report: Report, cells: Sequence[int] = ()) -> dict[str, Any]:
    """Everything a report holds, with units; of some cells (positions), or of all."""
    per_cell = dict(_per_cell(report))
    chosen = list(cells) or range(len(report.cells))
    return {
        "network": {name: _plain(value) for name, value in report.network.items()},
        "cells": {report.cells[c]: {name: _plain(float(v[c])) for name, v in per_cell.items()} for c in chosen},
        "elements": {
            element: {name: _plain(float(v[e])) for name, v in report.by_element.items()}
            for e, element in enumerate(report.elements)
        },
        "distributions": {
            name: {report.cells[c]: [_plain(v) for v in bins[c].tolist()] for c in chosen}
            for name, bins in report.distributions.items()
        },
        "rsrp_edges_dbm": list(RSRP_EDGES_DBM),
        "units": {name: unit_of(name) for name in (*per_cell, *report.by_element, *report.distributions)},
        "missing": report.missing,
        "converged": report.converged,
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""Counter layouts of a network's own, brought into the one that all of twinloop reads.

Processes that read Kafka know the layouts of ``schemas.counters`` and no others; so a network that orders its counters
otherwise, or lacks some, is translated where it comes in. What it lacks is missing (NaN), never zero.
"""

from collections.abc import Iterable
from typing import Any

from infra.line_protocol.messages import CounterLayout
from schemas.counters import NR_CELL_V1

TARGET = NR_CELL_V1


class Translation:
    """From the layouts of a hello into ``nr-cell-v1``.

    Attributes
    ----------
    left_out
        Counters that the network sends and the layout has no place for.
    """

    def __init__(self, layouts: Iterable[CounterLayout]) -> None:
        known = [layout for layout in layouts if layout.name != TARGET.name]
        self._layouts = {layout.name: layout for layout in known}
        self.left_out = tuple(
            dict.fromkeys(
                name
                for layout in known
                for names, target in ((layout.cell, TARGET.cell), (layout.element, TARGET.element))
                for name in names
                if name not in target
            )
        )

    def apply(self, report: dict[str, Any]) -> str:
        """Translate a PM report (as JSON) in place; returns what is wrong with it, or ""."""
        layout = self._layouts.get(report.get("layout", ""))
        if layout is None:
            return ""
        cells = report.get("cells")
        if not isinstance(cells, list) or not all(isinstance(c, dict) for c in cells):
            return "cells: is no list of objects"
        for cell in cells:
            if not _fits(cell.get("values"), layout.cell):
                return f"cells.values: not the {len(layout.cell)} counters of layout {layout.name}"
        own = report.get("element_values") or []
        if own and not _fits(own, layout.element):
            return f"element_values: not the {len(layout.element)} counters of layout {layout.name}"
        for cell in cells:
            cell["values"] = _moved(cell["values"], layout.cell, TARGET.cell)
        if own:
            report["element_values"] = _moved(own, layout.element, TARGET.element)
        report["layout"] = TARGET.name
        return ""


def _fits(values: Any, names: list[str]) -> bool:
    return isinstance(values, list) and len(values) == len(names)


def _moved(values: list[Any], names: list[str], target: tuple[str, ...]) -> list[Any]:
    at = dict(zip(names, values, strict=True))
    return [at.get(name) for name in target]

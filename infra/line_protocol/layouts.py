"""Counter layouts of a network's own, brought into the one that all of twinloop reads.

Processes that read Kafka know the layouts of ``schemas.counters`` and no others; so a network that orders its counters
otherwise, or lacks some, is translated where it comes in. What it lacks is missing (NaN), never zero.
"""

from collections.abc import Iterable
from typing import Any

from infra.line_protocol.messages import CounterLayout
from schemas.counters import NR_CELL_SLICES_V1, NR_CELL_V1, Layout

_COMMON = (NR_CELL_V1.name, NR_CELL_SLICES_V1.name)


class Translation:
    """From the layouts of a hello into a common one.

    Attributes
    ----------
    left_out
        Counters that the network sends and the layout has no place for.
    """

    def __init__(self, told: Iterable[CounterLayout], target: Layout) -> None:
        own = [layout for layout in told if layout.name not in _COMMON]
        self._layouts = {layout.name: layout for layout in own}
        self._target = target
        self.left_out = tuple(
            dict.fromkeys(
                name
                for layout in own
                for names, known in ((layout.cell, target.cell), (layout.element, target.element))
                for name in names
                if name not in known
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
            cell["values"] = _moved(cell["values"], layout.cell, self._target.cell)
        if own:
            report["element_values"] = _moved(own, layout.element, self._target.element)
        report["layout"] = self._target.name
        return ""


def _fits(values: Any, names: list[str]) -> bool:
    return isinstance(values, list) and len(values) == len(names)


def _moved(values: list[Any], names: list[str], target: tuple[str, ...]) -> list[Any]:
    at = dict(zip(names, values, strict=True))
    return [at.get(name) for name in target]

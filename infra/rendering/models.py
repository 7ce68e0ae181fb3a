"""Learned models for the terminal and as JSON."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.storage.models import ModelRow

_STYLE = {"promoted": "green", "challenger": "cyan", "rolled_back": "yellow", "refused": "red", "former": "dim"}
_WORDS = {"promoted": "in force", "rolled_back": "rolled back"}


def models_table(rows: Sequence[ModelRow], taken_up: Mapping[str, str]) -> RenderableType:
    """One line a version; ``taken_up`` is what the twin's newest revision predicts with."""
    if not rows:
        return Text("no models yet; `twinloop run learn` learns some, and promotes what proves better", style="dim")
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("model", "version", "before", "state", "champion", "challenger", "periods", "since", "why"):
        table.add_column(column, no_wrap=column in ("model", "version", "state", "since"))
    for row in rows:
        state = _WORDS.get(row.state, row.state)
        if row.state == "promoted" and taken_up.get(row.model) != row.version:
            state += ", not taken up yet"
        table.add_row(
            row.model, row.version, row.parent or "none", Text(state, style=_STYLE.get(row.state, "")),
            _score(row.champion_score), _score(row.challenger_score), str(row.periods or ""), _clock(row.at_ms),
            row.reason,
        )  # fmt: skip
    return table


def model_page(row: ModelRow, lineage: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> RenderableType:
    """One version with its lineage and parameters."""
    head = Table.grid(padding=(0, 2))
    for name, value in (
        ("model", f"{row.model} {row.version}, region {row.region}"),
        ("state", f"{_WORDS.get(row.state, row.state)} since {_clock(row.at_ms)}, by {row.actor}"),
        ("lineage", " ← ".join(lineage)),
        ("scores", f"{_score(row.challenger_score)} against {_score(row.champion_score)}, {row.periods} periods"),
        ("why", row.reason),
        ("parameters", ", ".join(f"{n} {list(s)}" for n, s in shapes.items()) or "not kept: it was never in force"),
    ):
        head.add_row(Text(name, style="dim"), value)
    return Group(head)


def model_json(row: ModelRow) -> dict[str, Any]:
    """What a program wants to know of a version; its parameters are apart."""
    return {
        **{name: getattr(row, name) for name in ("region", "model", "version", "parent", "state", "at_ms", "periods")},
        "champion_score": _null(row.champion_score),
        "challenger_score": _null(row.challenger_score),
        "reason": row.reason,
        "actor": row.actor,
        "bytes": len(row.parameters),
    }


def _score(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")

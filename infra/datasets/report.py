"""What a replay of a recording found: for a person as tables, for a program as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from infra.datasets.scores import Score, Skill, finite
from infra.datasets.stream import Streamed


@dataclass(frozen=True)
class ScoreTable:
    """Scores that are shown together. ``judged_by`` names which of mae and rmse are columns."""

    title: str
    peer: str
    unit: str
    scores: tuple[Score, ...]
    judged_by: tuple[str, ...] = ("mae", "rmse")


@dataclass(frozen=True)
class DatasetReport:
    """Result of a replay.

    Attributes
    ----------
    dataset, source
        What was replayed, from where.
    periods, events, twin
        Barriers written, where the events went, revision and state hash of the twin.
    traps
        Rows that were dropped, repaired or marked, by reason.
    facts
        Figures that are no comparison.
    tables
        Comparisons with the peer.
    notes
        What a reader must know to read the figures.
    files
        What was written, by kind.
    """

    dataset: str
    source: str
    periods: int
    events: Mapping[str, int]
    twin: Mapping[str, Any]
    traps: Mapping[str, int]
    tables: tuple[ScoreTable, ...]
    notes: tuple[str, ...]
    files: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dict(
            finite(
                {
                    "dataset": self.dataset,
                    "source": self.source,
                    "periods": self.periods,
                    "events": dict(self.events),
                    "twin": dict(self.twin),
                    "traps": dict(self.traps),
                    "facts": dict(self.facts),
                    "scores": [
                        {"table": t.title, "peer": t.peer, "unit": t.unit, **s.to_json()}
                        for t in self.tables
                        for s in t.scores
                    ],
                    "notes": list(self.notes),
                    "files": dict(self.files),
                }
            )
        )

    def render(self) -> Group:
        """As tables for a terminal."""
        head = Table(title=f"replay of {self.dataset}", show_header=False, title_justify="left")
        head.add_row("source", self.source)
        head.add_row("periods", f"{self.periods:,}")
        head.add_row("events", ", ".join(f"{name} {n:,}" for name, n in self.events.items() if n or name == "ingested"))
        head.add_row("twin", f"revision {self.twin['revision']:,}, state {str(self.twin['state_hash'])[:16]}")
        for name, value in self.facts.items():
            head.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
        traps = Table(title="traps in the recording", show_header=False, title_justify="left")
        for name, n in self.traps.items():
            traps.add_row(name, f"{n:,}")
        parts: list[Table | Text] = [head, traps, *map(_table, self.tables)]
        parts += [Text(f"• {note}", style="dim") for note in self.notes]
        parts += [Text(f"{kind}: {path}") for kind, path in self.files.items()]
        return Group(*parts)


def _table(table: ScoreTable) -> Table:
    out = Table(title=f"{table.title} ({table.unit}; peer: {table.peer})", title_justify="left")
    out.add_column("what")
    out.add_column("scored on")
    for name in ("n", *(f"{m.upper()} {side}" for m in table.judged_by for side in ("peer", "ours", "skill [90 %]"))):
        out.add_column(name, justify="right")
    out.add_column("bias", justify="right")
    out.add_column("in 90 %", justify="right")
    for s in table.scores:
        cells = [s.what, s.scope, f"{s.n:,}"]
        for measure in table.judged_by:
            cells += _skill(getattr(s, measure))
        cells += [f"{s.bias:+.2f}", "" if s.coverage != s.coverage else f"{s.coverage:.0%}"]
        out.add_row(*cells)
    return out


def _skill(skill: Skill) -> Sequence[str]:
    style = "green" if skill.low > 0 else "red" if skill.high < 0 else "yellow"
    interval = f"[{style}]{skill.skill:+.1%}[/{style}] \\[{skill.low:+.1%}, {skill.high:+.1%}]"
    return f"{skill.peer:.4g}", f"{skill.ours:.4g}", interval


def show(report: DatasetReport, console: Console) -> None:
    """Print a report for a person."""
    console.print(report.render())


def twin_facts(streamed: Streamed) -> dict[str, Any]:
    """What the report says of the twin."""
    twin = streamed.state.twin
    return {
        "revision": twin.revision,
        "state_hash": streamed.state_hash,
        "period_end_ms": twin.period_end_ms,
        "fidelity": {kpi: score.score for kpi, score in twin.fidelity.items()},
        "feature_windows": streamed.feature_windows,
    }

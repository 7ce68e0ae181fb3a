"""The demo's report for a person."""

import math

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.demo.report import DemoReport
from schemas.names import short_name

_COLOURS = {"APPROVED": "green", "REJECTED": "red", "INCONCLUSIVE": "yellow"}
_LONGEST = 300


def report_page(report: DemoReport) -> RenderableType:
    """The report for a person."""
    head = Table.grid(padding=(0, 2))
    events = report.events
    fates = ", ".join(f"{value:,} {name}" for name, value in events.model_dump().items() if value)
    head.add_row(
        "network", f"{report.network.name}, {report.network.cells} cells, parameters {report.network.hash[:12]}"
    )
    head.add_row("run", f"seed {report.seed}, {report.periods} periods in {report.duration_s:.0f} s")
    head.add_row("events", fates)
    gate = "open" if report.twin.gate_open else "closed"
    head.add_row("twin", f"revision {report.twin.revision}, state {report.twin.state_hash[:12]}, gate {gate}")
    head.add_row("plans", ", ".join(f"{n} {name}" for name, n in report.plans.model_dump().items() if n) or "none")
    head.add_row("alerts", str(report.alerts.sent))
    head.add_row("models", ", ".join(f"{n} {name}" for name, n in report.models.model_dump().items() if n) or "none")
    fidelity = Table("KPI", "fidelity", title="twin", title_justify="left", box=box.SIMPLE_HEAD)
    for kpi, score in report.twin.fidelity.items():
        fidelity.add_row(kpi, "–" if math.isnan(score) else f"{score:.3f}")
    verdicts = _list("verdicts", 2)
    for v in report.verdicts:
        harm = "" if math.isnan(v.p_harm) else f"; P(harm) {v.p_harm:.3f} ≤ {v.p_harm_high:.3f}"
        verdict = Text(v.verdict, style=_COLOURS[v.verdict])
        verdicts.add_row(str(v.period), verdict, _item(f"{v.title} ({v.agent}{harm})", v.reason))
    conflicts = _list("conflicts", 1)
    for c in report.conflicting:
        where = f" on {_place(c.kpi, c.cell)}" if c.kpi else ""
        conflicts.add_row(c.kind, _item(f"{c.first} – {c.second}", f"{c.detail}; resolved by {c.resolution}{where}"))
    diagnoses = _list("diagnoses", 1)
    for d in report.diagnoses:
        cause = f"; caused by {d.change}" if d.change else ""
        diagnoses.add_row(d.layer, _item(f"{d.title}: {_place(d.kpi, d.cell)}", f"{d.summary}{cause}"))
    outcomes = Table(
        "strategy", "stage", "KPI it is for", "predicted", "90 % interval", "observed",
        title="outcomes (of every KPI and cell in the report)", title_justify="left", box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for o in report.outcomes:
        if o.aimed and not o.cell:
            interval = f"{o.low:,.4g} … {o.high:,.4g}"
            outcomes.add_row(o.title, o.stage, o.kpi, f"{o.predicted:,.4g}", interval, f"{o.observed:,.4g}")
    checks = _list("invariants", 1)
    for i in report.invariants:
        holds = Text("holds", style="green") if i.holds else Text("BROKEN", style="bold red")
        checks.add_row(holds, f"{i.name}{': ' if i.detail else ''}{i.detail}")
    tables = [fidelity, verdicts, conflicts, diagnoses, outcomes, checks]
    parts: list[RenderableType] = [head, *(t for t in tables if t.row_count)]
    parts += [Text(f"did not occur with this seed: {what}", style="yellow") for what in report.not_occurred]
    return Group(*parts)


def _list(title: str, marks: int) -> Table:
    """A list whose items are marked by so many words each."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(marks):
        table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    return table


def _item(what: str, why: str) -> Text:
    return Text.assemble((what, "bold"), "\n", (why[:_LONGEST], "dim"))


def _place(kpi: str, cell: str) -> str:
    return f"{kpi or '–'} at {short_name(cell)}" if cell else kpi or "–"

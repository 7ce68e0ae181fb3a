"""The demo's report for a person."""

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.demo.report import DemoReport
from schemas.names import short_name


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
    fidelity = Table("KPI", "fidelity", title="twin", title_justify="left")
    for kpi, score in report.twin.fidelity.items():
        fidelity.add_row(kpi, "–" if math.isnan(score) else f"{score:.3f}")
    verdicts = Table("period", "strategy", "by", "verdict", "P(harm)", "why", title="verdicts", title_justify="left")
    colours = {"APPROVED": "green", "REJECTED": "red", "INCONCLUSIVE": "yellow"}
    for v in report.verdicts:
        harm = "–" if math.isnan(v.p_harm) else f"{v.p_harm:.3f} ≤ {v.p_harm_high:.3f}"
        verdicts.add_row(
            str(v.period), v.title, v.agent, Text(v.verdict, style=colours[v.verdict]), harm, v.reason[:160]
        )
    conflicts = Table("kind", "between", "and", "on", "resolved by", title="conflicts", title_justify="left")
    for c in report.conflicting:
        conflicts.add_row(c.kind, c.first, c.second, _place(c.kpi, c.cell), c.resolution)
    diagnoses = Table("strategy", "layer", "where", "caused by", "why", title="diagnoses", title_justify="left")
    for d in report.diagnoses:
        diagnoses.add_row(d.title, d.layer, _place(d.kpi, d.cell), d.change or "–", d.summary[:160])
    outcomes = Table(
        "plan", "stage", "KPI", "predicted", "90 % interval", "observed", title="outcomes", title_justify="left"
    )
    for o in report.outcomes:
        if not o.cell:
            interval = f"{o.low:,.4g} … {o.high:,.4g}"
            outcomes.add_row(o.plan, o.stage, o.kpi, f"{o.predicted:,.4g}", interval, f"{o.observed:,.4g}")
    checks = Table("invariant", "holds", "detail", title="invariants", title_justify="left")
    for i in report.invariants:
        checks.add_row(i.name, Text("yes", style="green") if i.holds else Text("NO", style="bold red"), i.detail)
    tables = [fidelity, verdicts, conflicts, diagnoses, outcomes, checks]
    parts: list[RenderableType] = [head, *(t for t in tables if t.row_count)]
    parts += [Text(f"did not occur with this seed: {what}", style="yellow") for what in report.not_occurred]
    return Group(*parts)


def _place(kpi: str, cell: str) -> str:
    return f"{kpi or '–'} at {short_name(cell)}" if cell else kpi or "–"

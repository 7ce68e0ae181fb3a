"""The story of a change on one page for the terminal."""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.explaining import JobChapter, OutcomeRow, PlanChapter, Story
from infra.rendering.words import cause, number, percent, short, state_style, when
from loops.alerts.events import Kind
from schemas.ndt import Conflict, NdtReport, Verdict
from schemas.plans import PlanState
from schemas.strategies import ConfigChange, Strategy

_VERDICT_STYLE = {Verdict.APPROVED: "green", Verdict.REJECTED: "red", Verdict.INCONCLUSIVE: "yellow"}
_MOST_ROWS = 12
_NUMBERS = re.compile(r"[-+]?\d[\d.,]*")


def story_page(story: Story) -> RenderableType:
    """Everything about a strategy, from proposal to last outcome."""
    parts: list[RenderableType] = [_heading(story)]
    if story.strategy is not None:
        parts += [_section("Proposal"), _proposal(story.strategy, story)]
    for job in story.jobs:
        parts += [_section(f"Verification {job.job_id}"), *_verification(job)]
        if job.plan is not None:
            parts += [_section(f"Roll-out {job.plan.plan_id}"), *_rollout(story, job.plan)]
            if job.plan.outcomes:
                parts += [_section("Outcomes, predicted beside observed"), _outcomes(job.plan.outcomes)]
    if not story.jobs:
        parts.append(Text("Not verified yet.", style="dim"))
    if story.conflicts:
        parts += [_section("Conflicts with other strategies"), _conflicts(story.conflicts)]
    return Group(*parts)


def _heading(story: Story) -> RenderableType:
    plan = next((j.plan for j in reversed(story.jobs) if j.plan), None)
    report = next((j.report for j in reversed(story.jobs) if j.report), None)
    line = Text()
    line.append(story.strategy.title if story.strategy else story.strategy_id, style="bold")
    line.append("\n")
    if plan is not None:
        line.append(plan.state.value, style=state_style(plan.state))
        line.append(f"  {_ending(plan)}")
    elif report is not None:
        line.append(report.verdict.value, style=_VERDICT_STYLE[report.verdict])
        line.append("  nothing was pushed")
    else:
        line.append(story.state or "proposed")
    return Panel(line, title=story.strategy_id, title_align="left", border_style="blue")


def _ending(plan: PlanChapter) -> str:
    if plan.cause:
        return plan.cause
    return plan.transitions[-1].reason if plan.transitions else ""


def _proposal(strategy: Strategy, story: Story) -> RenderableType:
    grid = _facts()
    grid.add_row("by", f"{strategy.agent}, priority {strategy.priority}, at {_clock(strategy.proposed_at_ms)}")
    way = "raise" if strategy.objective.direction == "up" else "lower"
    grid.add_row("to", f"{way} {strategy.objective.kpi}" + (f": {strategy.rationale}" if strategy.rationale else ""))
    grid.add_row("on", _revision_text(story, strategy.revision))
    if strategy.parent:
        grid.add_row("for", f"{strategy.parent}, which stands")
    for entry in strategy.schedule:
        grid.add_row(f"at {entry.at_minute // 60:02d}:{entry.at_minute % 60:02d}", _several(_in_words(entry.changes)))
    for rule in strategy.rules:
        grid.add_row("when", when(rule.when))
        grid.add_row("then", _several(_in_words(rule.changes)))
    if strategy.changes:
        grid.add_row("change", _several(_in_words(strategy.changes)))
    return grid


def _in_words(changes: list[ConfigChange]) -> list[str]:
    return [f"{c.attribute} of {short(c.object)} to {_value(c.value)}" for c in changes]


def _revision_text(story: Story, revision: int) -> str:
    seen = story.proposed_on
    if seen is None:
        return f"twin revision {revision}"
    scores = ", ".join(f"{f.kpi} {number(f.score)}" for f in seen.fidelity if f.gate >= 0)
    gate = "open" if seen.gate_open else "closed"
    return f"twin revision {revision} ({seen.state_hash[:12]}), gate {gate}" + (
        f"; fidelity {scores}" if scores else ""
    )


def _verification(job: JobChapter) -> Iterable[RenderableType]:
    report = job.report
    if report is None:
        yield Text(f"{job.state or 'asked for'}, no verdict yet", style="dim")
        return
    line = Text(report.verdict.value, style=f"bold {_VERDICT_STYLE[report.verdict]}")
    line.append(f"  {report.reason}", style="default")
    yield line
    grid = _facts()
    grid.add_row(
        "harm",
        f"{percent(report.p_harm)} in the worst class, at most {percent(report.p_harm_high)} with "
        f"{percent(report.confidence)} confidence (allowed: {percent(report.alpha)})",
    )
    if not math.isnan(report.p_benefit):
        grid.add_row("benefit", f"probability {percent(report.p_benefit)}")
    grid.add_row("on", ", ".join(f"region {r} revision {n}" for r, n in report.revisions.items()))
    grid.add_row("valid", _validity(report))
    if job.shards:
        grid.add_row("effort", f"{job.shards} shards, {job.compute_s:.1f} s on {', '.join(job.workers)}")
    if report.not_covered:
        grid.add_row("not covered", "; ".join(report.not_covered))
    if report.diagnosis:
        grid.add_row("cause", cause(report.diagnosis))
    yield grid
    if report.scenarios:
        table = _table("scenario", "runs", "harmful", "harm, at most")
        for s in report.scenarios:
            style = "red" if s.p_harm_high > report.alpha else ""
            table.add_row(s.scenario_class, str(s.scenarios), str(s.harmful), percent(s.p_harm_high), style=style)
        yield table


def _validity(report: NdtReport) -> str:
    until = f"until {_clock(report.valid_until_ms)}"
    if math.isnan(report.load_low) and math.isnan(report.load_high):
        return until
    return f"{until}, at a load of {report.load_low:.0f} to {report.load_high:.0f} %"


def _rollout(story: Story, plan: PlanChapter) -> Iterable[RenderableType]:
    grid = _facts()
    for stage, cells in plan.stages.items():
        grid.add_row(stage, _several([short(c) for c in cells]))
    if plan.fallback:
        back = [f"{v.attribute} of {short(v.object)} = {_value(v.value)}" for v in plan.fallback]
        grid.add_row("fallback", _several(back))
    if plan.diagnosis:
        grid.add_row("cause", cause(plan.diagnosis))
    yield grid
    yield _timeline(story, plan)


def _timeline(story: Story, plan: PlanChapter) -> RenderableType:
    """Transitions, judgements, commands and alerts in order of time."""
    events: list[tuple[int, int, str, Text]] = []
    caused_by: dict[str, int] = {}
    for t in plan.transitions:
        what = Text(t.to_state.value, style=state_style(t.to_state))
        what.append(f"  {t.reason}", style="default")
        events.append((t.at_ms, 10 * t.seq, t.stage, what))
        if t.to_state is PlanState.PUSHING:
            caused_by[f"apply {t.stage}"] = 10 * t.seq
        elif t.to_state is PlanState.ROLLING_BACK:
            caused_by[f"rollback {t.stage}"] = 10 * t.seq
    for pushed in plan.commands:
        command = pushed.command
        answer = pushed.status.value.lower() + (f": {pushed.reason}" if pushed.reason else "")
        tries = f", sent {pushed.attempts} times" if pushed.attempts > 1 else ""
        values = f"{len(command.changes)} value{'s' * (len(command.changes) > 1)}"
        text = Text(f"{command.kind} at {short(command.managed_element)}: {values}, {answer}{tries}", style="cyan")
        rank = caused_by.get(f"{command.kind} {command.stage}", 0)
        events.append((command.time_ms, rank + 1, command.stage, text))
    seen = ""
    for entry in story.audit:
        if entry.subject == plan.plan_id and entry.action in ("judged", "waits"):
            reason = str(entry.detail.get("reason", ""))
            said = _NUMBERS.sub("#", reason)  # once is enough while only the numbers change
            if said != seen:
                events.append((entry.at_ms, -1, "", Text(reason, style="dim")))
            seen = said
    for told in story.alerts:
        if told.subject == plan.plan_id:
            at_ms = _ms(told.time)
            text = Text(f"alert: {told.annotations.get('summary', told.type)}", style="magenta")
            first = min((10 * t.seq for t in plan.transitions if t.at_ms == at_ms), default=0)
            events.append((at_ms, first + 2 if told.type == Kind.CHANGE_VERIFIED else 1_000_000, "", text))
    table = _table("time", "stage", "what happened")
    for at_ms, _, stage, what in sorted(events, key=lambda e: e[:2]):
        table.add_row(_clock(at_ms, day=False), stage, what)
    return table


def _conflicts(conflicts: list[Conflict]) -> RenderableType:
    table = _table("kind", "between", "on", "resolved by", "kept")
    for c in conflicts:
        place = " at ".join(filter(None, [c.kpi, short(c.cell) if c.cell else ""]))
        kept = ", ".join(c.kept) or "neither"
        table.add_row(c.kind.value, f"{c.first}\n{c.second}", place or "the same attribute", c.resolution, kept)
    return table


def _outcomes(rows: list[OutcomeRow]) -> RenderableType:
    table = _table("stage", "KPI", "where", "predicted", "between", "observed", "")
    whole = [r for r in rows if not r.cell]
    cells = sorted((r for r in rows if r.cell), key=lambda r: (r.stage, r.kpi, r.cell))
    for r in [*whole, *cells][: _MOST_ROWS + len(whole)]:
        table.add_row(
            r.stage, r.kpi, short(r.cell) if r.cell else "all together", number(r.predicted, signed=True),
            f"{number(r.low, signed=True)} … {number(r.high, signed=True)}", number(r.observed, signed=True),
            _agreement(r),
        )  # fmt: skip
    left = len(cells) - _MOST_ROWS
    return Group(table, Text(f"and {left} more; --json has all", style="dim")) if left > 0 else table


def _agreement(row: OutcomeRow) -> Text:
    if math.isnan(row.low) or math.isnan(row.observed):
        return Text("not predicted", style="dim")
    return Text("as predicted", style="green") if row.inside else Text("outside", style="yellow")


def _section(title: str) -> RenderableType:
    return Text(f"\n{title}", style="bold")


def _facts() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    return grid


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column in ("time", "stage"))
    return table


def _several(items: list[str], most: int = 6) -> str:
    more = f"\nand {len(items) - most} more" if len(items) > most else ""
    return "\n".join(items[:most]) + more


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _clock(at_ms: int, *, day: bool = True) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")


def _ms(rfc3339: str) -> int:
    return round(datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp() * 1000)

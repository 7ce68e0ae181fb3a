"""A verdict as a page for the terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.cli.moments import clock
from infra.rendering.words import cause, number, percent, short
from infra.verifying import Verified
from loops.inner.guards import label
from schemas.ndt import NdtReport, Prediction, Verdict
from schemas.strategies import Guard

STYLE = {Verdict.APPROVED: "green", Verdict.REJECTED: "red", Verdict.INCONCLUSIVE: "yellow"}
_SAYS = {
    Verdict.APPROVED: "may be pushed",
    Verdict.REJECTED: "must not be pushed",
    Verdict.INCONCLUSIVE: "not pushed: nobody can tell",
}
_UNITS = {
    "RRU.PrbTotDl": "%",
    "DRB.UEThpDl": "kbit/s",
    "DRB.PdcpSduVolumeDL": "kbit",
    "RRC.ConnMean": "users",
    "PEE.AvgPower": "W",
}
_MOST_CELLS = 6


def verdict_page(verified: Verified) -> RenderableType:
    """Verdict, reason, scenarios, guards, predictions, and where the verdict does not hold."""
    report = verified.report
    parts: list[RenderableType] = [_heading(verified)]
    if report.diagnosis:
        parts += [Text(), Text.assemble(("cause  ", "bold"), cause(report.diagnosis))]
    parts += [
        Text.assemble(("conflict  ", "bold"), f"{c.kind.value}, resolved by {c.resolution}: {c.detail}")
        for c in report.conflicts
    ]
    if report.scenarios:
        parts += [Text(), scenario_table(report), Text(), guard_table(verified.guards, report)]
    if report.predictions:
        parts += [Text(), prediction_table(report)]
        cells = _most_affected(report.predictions)
        if cells:
            parts += [Text(), _cell_table(report, cells)]
    return Group(*parts, Text(), _validity(report))


def _heading(verified: Verified) -> RenderableType:
    report, strategy = verified.report, verified.strategy
    style = STYLE[report.verdict]
    line = Text()
    line.append(report.verdict.value, style=f"bold {style}")
    line.append(f"  {_SAYS[report.verdict]}\n\n", style=style)
    line.append(report.reason)
    revision = report.revisions.get(report.region, 0)
    foot = f"twin revision {revision} of {clock(report.decided_at_ms)} UTC, computed by {verified.where}"
    return Panel(
        line, title=strategy.title, title_align="left", subtitle=foot, subtitle_align="left", border_style=style
    )


def scenario_table(report: NdtReport) -> RenderableType:
    """Harm in each class of scenario, beside what is permitted."""
    table = _table("scenarios", "tried", "harmful", "probability of harm", "")
    for s in report.scenarios:
        if s.p_harm_high <= report.alpha:
            mark, style = "within the limit", "green"
        elif s.p_harm_low > report.alpha:
            mark, style = "harmful", "red"
        else:
            mark, style = "not settled", "yellow"
        table.add_row(
            s.scenario_class.replace("_", " "),
            str(s.scenarios),
            str(s.harmful),
            f"{percent(s.p_harm_low)} … {percent(s.p_harm_high)}",
            Text(mark, style=style),
        )
    table.caption = (
        f"limit {percent(report.alpha)} in every class; {report.confidence:.0%} confidence of the whole verdict"
    )
    return table


def guard_table(guards: Sequence[Guard], report: NdtReport) -> RenderableType:
    """The guards in force; how often each is broken is told in the reason."""
    table = _table("guards", "must not happen")
    for guard in guards:
        style = "red" if label(guard) in report.reason else ""
        table.add_row(Text(guard.kpi, style=style), Text(_in_words(guard), style=style))
    return table


def _in_words(guard: Guard) -> str:
    """A guard as a sentence.

    >>> from schemas.strategies import Direction
    >>> _in_words(Guard(kpi="DRB.UEThpDl", direction=Direction.UP, absolute=3000, relative=0.3))
    'any cell loses more than 30 % and ends up below 3,000 kbit/s'
    """
    who = "any cell" if guard.scope == "cell" else "the network"
    up = guard.direction == "up"
    unit = _UNITS.get(guard.kpi, "")
    parts = []
    if guard.relative is not None:
        parts.append(f"{'loses' if up else 'gains'} more than {100 * guard.relative:g} %")
    if guard.absolute is not None:
        parts.append(f"ends up {'below' if up else 'above'} {number(guard.absolute)} {unit}".rstrip())
    return f"{who} {' and '.join(parts)}"


def prediction_table(report: NdtReport) -> RenderableType:
    """What the network's KPIs are expected to do."""
    table = _table("network", "now", "change", "5 % … 95 % of what will be observed", "relative")
    for p in report.predictions:
        if not p.cell:
            table.add_row(p.kpi, *_numbers(p))
    return table


def _cell_table(report: NdtReport, cells: Sequence[str]) -> RenderableType:
    table = _table("cells affected most", "now", "change", "5 % … 95 % of what will be observed", "relative")
    for cell in cells:
        for p in report.predictions:
            if p.cell == cell and p.kpi in ("RRU.PrbTotDl", "DRB.UEThpDl"):
                table.add_row(f"{short(cell)}  {p.kpi}", *_numbers(p))
    return table


def _numbers(p: Prediction) -> tuple[str, str, str, str]:
    unit = _UNITS.get(p.kpi, "")
    share = p.predicted / abs(p.baseline) if p.baseline else float("nan")
    return (
        f"{number(p.baseline)} {unit}".rstrip(),
        number(p.predicted, signed=True),
        f"{number(p.low, signed=True)} … {number(p.high, signed=True)}",
        _relative(share),
    )


def _relative(share: float) -> str:
    """A change in percent; from next to nothing no percentage says much.

    >>> _relative(-0.031), _relative(2754.0), _relative(float("nan"))
    ('-3.1 %', '> 1000 %', '–')
    """
    if share != share:
        return "–"
    return f"{100 * share:+.1f} %" if abs(share) < 10 else "> 1000 %" if share > 0 else "< -1000 %"


def _most_affected(predictions: Sequence[Prediction]) -> list[str]:
    """Cells whose load changes most, in that order."""
    moved = [(abs(p.predicted), p.cell) for p in predictions if p.kpi == "RRU.PrbTotDl" and p.cell]
    moved = [(size, cell) for size, cell in moved if size > 0.5]
    return [cell for _, cell in sorted(moved, key=lambda m: (-m[0], m[1]))[:_MOST_CELLS]]


def _validity(report: NdtReport) -> RenderableType:
    text = Text(style="dim")
    text.append(f"Valid until {clock(report.valid_until_ms)} UTC")
    if report.load_low == report.load_low:
        text.append(f", for a network PRB use of {report.load_low:.0f} to {report.load_high:.0f} %")
    text.append(".\nNot covered: " + "; ".join(report.not_covered) + ".")
    text.append(f"\nJob {report.job_id}, models {', '.join(f'{k} {v}' for k, v in report.model_versions.items())}.")
    return text


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), caption_justify="left")
    for i, column in enumerate(columns):
        numeric = column in ("tried", "harmful", "now", "change", "relative")
        table.add_column(column, justify="right" if numeric else "left", no_wrap=i == 0)
    return table

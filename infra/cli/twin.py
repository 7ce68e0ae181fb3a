"""`twinloop twin`: the twin at a moment, what it expects of the next period, and what differs between two moments."""

from math import isnan
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.errors import reports_errors, stdout
from infra.cli.moments import clock, moment
from infra.cli.options import Json, print_json

app = typer.Typer(no_args_is_help=True, help="The twin at a moment: a revision's number or a time (ISO 8601).")
Moment = Annotated[str, typer.Argument(help="Revision or time.")]


@app.command("at")
@reports_errors
def at(
    when: Annotated[str | None, typer.Argument(help="Revision or time; the newest if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Show a revision: state hash, event counts, fidelity and whether the outer loop may act on it."""
    from infra.replaying import twin_at
    from infra.roles.base import Context
    from infra.settings import load_settings

    update = twin_at(Context.of(load_settings()), moment(when)).update
    if as_json:
        print_json(update.model_dump(mode="json"))
        return
    stdout.print(
        f"revision {update.revision} of {clock(update.period_end_ms)} UTC, state {update.state_hash[:16]}, "
        f"outer loop {'may act' if update.gate_open else 'is blocked'}",
        highlight=False,
    )
    table = Table("KPI", "fidelity", "gate", title="fidelity")
    for f in update.fidelity:
        colour = "green" if f.score >= f.gate else "red"
        score = "–" if isnan(f.score) else f"[{colour}]{f.score:.3f}[/{colour}]"
        table.add_row(f.kpi, score, f"{f.gate:.2f}" if f.gate >= 0 else "–")
    stdout.print(table)
    counts = Table("fate", "events", title="events")
    for name, value in update.counts.model_dump().items():
        counts.add_row(name, f"{value:,}")
    stdout.print(counts)


@app.command("diff")
@reports_errors
def diff(before: Moment, after: Moment, as_json: Json = False) -> None:
    """Show what differs between two moments: configuration, service, demand, offsets, fidelity."""
    from infra.replaying import twin_at
    from infra.roles.base import Context
    from infra.settings import load_settings
    from infra.twin_diff import twin_diff

    context = Context.of(load_settings())
    found = twin_diff(twin_at(context, moment(before)).twin, twin_at(context, moment(after)).twin)
    if as_json:
        print_json([d._asdict() for d in found])
        return
    for difference in found:
        stdout.print(str(difference), highlight=False, soft_wrap=True)
    if not found:
        stdout.print("nothing differs")


@app.command("kpis")
@reports_errors
def kpis(
    when: Annotated[str | None, typer.Option("--at", help="Revision or time; the newest if left out.")] = None,
    cell: Annotated[
        list[str] | None, typer.Option(metavar="CELL", help="One cell, by DN or in short (gnb1-1); repeatable.")
    ] = None,
    ahead: Annotated[int, typer.Option(min=1, help="How many periods after the revision's.")] = 1,
    as_json: Json = False,
) -> None:
    """Show what the twin expects of the next period, under 3GPP's names (TS 28.552): network, cells, slices.

    Users' throughput by percentile, load, radio, transport blocks, handovers, power. What begins with TL. is derived,
    no standard counter. Cells are shown by their least, median and greatest value, or each where named.

    Examples: twinloop twin kpis; twinloop twin kpis --at 17 --cell gnb1-1 --cell gnb1-2 --json
    """
    from infra.rendering.kpis import kpis_json, kpis_page
    from infra.replaying import twin_at
    from infra.roles.base import Context
    from infra.settings import load_settings
    from twin_core.reporting.report import report

    twin = twin_at(Context.of(load_settings()), moment(when)).twin
    cells = [twin.network.cell_named(name) for name in cell or ()]
    found = report(twin, ahead=ahead)
    if as_json:
        where = {"network_id": twin.network.topology.network_id, "revision": twin.revision, "ahead": ahead}
        print_json({**where, **kpis_json(found, cells)})
        return
    stdout.print(f"expected {ahead} period(s) after revision {twin.revision}", highlight=False)
    stdout.print(kpis_page(found, cells), highlight=False)

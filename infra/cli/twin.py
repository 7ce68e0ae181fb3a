"""`twinloop twin`: the twin at a moment, and what differs between two."""

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

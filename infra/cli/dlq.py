"""`twinloop dlq`: dead letters."""

import getpass
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.errors import reports_errors, stdout
from infra.cli.moments import clock
from infra.cli.options import Json, print_json
from schemas.dead_letters import Reason

app = typer.Typer(no_args_is_help=True, help="Dead letters: list, show, send again.")
Reasons = Annotated[list[Reason] | None, typer.Option("--reason", help="Only letters refused for this; repeatable.")]


@app.command("list")
@reports_errors
def list_(reason: Reasons = None, as_json: Json = False) -> None:
    """List dead letters, oldest first."""
    from infra.dead_letters import list_letters
    from infra.roles.base import Context
    from infra.settings import load_settings

    found = list_letters(Context.of(load_settings()), reason or ())
    if as_json:
        print_json(
            [
                {**x.letter.model_dump(mode="json", exclude={"key", "value"}), "times_reinjected": x.reinjected}
                for x in found
            ]
        )
        return
    table = Table("id", "reason", "period", "detail", "sent again", title=f"{len(found)} dead letters")
    for x in found:
        table.add_row(
            x.letter.event_id, x.letter.reason, clock(x.letter.time_ms), x.letter.detail[:120], str(x.reinjected)
        )
    stdout.print(table)


@app.command("show")
@reports_errors
def show(letter_id: Annotated[str, typer.Argument(help="Id from `twinloop dlq list`.")]) -> None:
    """Show one letter: where it came from, why it was refused, its content where it can be read."""
    from infra.dead_letters import show_letter
    from infra.roles.base import Context
    from infra.settings import load_settings

    view = show_letter(Context.of(load_settings()), letter_id)
    print_json(
        {
            **view.letter.model_dump(mode="json", exclude={"key", "value"}),
            "key": view.letter.key.decode("utf-8", "replace"),
            "bytes": view.letter.value.hex(),
            "event": view.event,
            "history": view.history,
        }
    )


@app.command("replay")
@reports_errors
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Which letters; all of the reasons if left out.")] = None,
    reason: Reasons = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters, whatever their reason.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also letters that were sent before.")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters to where they came from, once what was wrong is mended. Each is sent once.

    Governance judges them like any other event; measurements of a closed period count as late.
    """
    from infra.dead_letters import replay_letters
    from infra.roles.base import Context
    from infra.settings import load_settings

    if not (ids or reason or everything):
        raise typer.BadParameter("name letters by id, choose them by --reason, or say --all")
    context = Context.of(load_settings())
    done = replay_letters(context, ids or (), reason or (), actor=f"person:{getpass.getuser()}", again=again)
    if as_json:
        print_json([d._asdict() for d in done])
        return
    table = Table("id", "outcome", "detail")
    for d in done:
        table.add_row(d.letter_id, str(d.outcome), d.detail)
    stdout.print(table)

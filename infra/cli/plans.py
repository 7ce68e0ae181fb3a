"""`twinloop plans`: what is in rollout."""

from typing import Annotated

import typer

from infra.cli.errors import reports_errors, stdout
from infra.cli.options import Json, print_json
from schemas.plans import PlanState

app = typer.Typer(no_args_is_help=True, help="Plans in rollout: list, show.")


@app.command("list")
@reports_errors
def list_(
    state: Annotated[list[PlanState] | None, typer.Option(help="Only plans in this state; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """List plans with their state and stage."""
    from infra.rendering.plans import plans_json, plans_table
    from infra.settings import load_settings
    from infra.storage.database import Database
    from infra.storage.plans import all_plans

    settings = load_settings()
    with Database(settings.database.location(), "twinloop plans") as database, database.transaction() as connection:
        found = all_plans(connection, settings.network_id, state or ())
    if as_json:
        print_json(plans_json(found))
    else:
        stdout.print(plans_table(found))


@app.command("show")
@reports_errors
def show(plan_id: Annotated[str, typer.Argument(help="Id of the plan.")], as_json: Json = False) -> None:
    """Show one plan with everything that led to it; the same as `twinloop explain`."""
    from infra.cli.explain import explain

    explain(plan_id, as_json)

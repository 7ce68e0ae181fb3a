"""`twinloop plans`: what is in rollout, and a person's orders about it."""

import getpass
from typing import Annotated

import typer

from infra.cli.errors import Exit, reports_errors, stdout
from infra.cli.options import Json, print_json
from schemas.plans import PlanState

app = typer.Typer(no_args_is_help=True, help="Plans in rollout: list, show; approve, pause, roll back.")

PlanId = Annotated[str, typer.Argument(help="Id of the plan, as `twinloop plans list` shows it.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit record.")]
Actor = Annotated[str | None, typer.Option("--as", help="Who orders it; your user name by default.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for the outer loop's answer.")]


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


@app.command("approve")
@reports_errors
def approve(plan_id: PlanId, reason: Reason = "", actor: Actor = None, wait: Wait = 5.0, as_json: Json = False) -> None:
    """Let a plan begin that waits for a person (state AWAITING)."""
    _order("approve", plan_id, reason, actor, wait, as_json)


@app.command("reject")
@reports_errors
def reject(plan_id: PlanId, reason: Reason = "", actor: Actor = None, wait: Wait = 5.0, as_json: Json = False) -> None:
    """Cancel a plan that has not begun, or end a schedule or policy."""
    _order("reject", plan_id, reason, actor, wait, as_json)


@app.command("pause")
@reports_errors
def pause(plan_id: PlanId, reason: Reason = "", actor: Actor = None, wait: Wait = 5.0, as_json: Json = False) -> None:
    """Hold a plan where it is: nothing is promoted, harm is still rolled back."""
    _order("pause", plan_id, reason, actor, wait, as_json)


@app.command("resume")
@reports_errors
def resume(plan_id: PlanId, reason: Reason = "", actor: Actor = None, wait: Wait = 5.0, as_json: Json = False) -> None:
    """Let a paused plan go on."""
    _order("resume", plan_id, reason, actor, wait, as_json)


@app.command("abort")
@reports_errors
def abort(plan_id: PlanId, reason: Reason = "", actor: Actor = None, wait: Wait = 5.0, as_json: Json = False) -> None:
    """End a plan: what it has pushed is rolled back to its fallback."""
    _order("abort", plan_id, reason, actor, wait, as_json)


@app.command("rollback")
@reports_errors
def rollback(
    plan_id: PlanId, reason: Reason = "", actor: Actor = None, wait: Wait = 5.0, as_json: Json = False
) -> None:
    """Bring back the fallback of a plan, also of a completed one; what others have changed since is left alone."""
    _order("rollback", plan_id, reason, actor, wait, as_json)


def _order(action: str, plan_id: str, reason: str, actor: str | None, wait_s: float, as_json: bool) -> None:
    """Hand an order to the outer loop, and tell what it made of it."""
    from infra.settings import load_settings
    from infra.storage.database import Database
    from infra.storage.orders import await_answer, submit
    from loops.outer.orders import Action, Order

    settings = load_settings()
    order = Order(Action(action), f"person:{actor or getpass.getuser()}", reason)
    with Database(settings.database.location(), "twinloop plans") as database:
        with database.transaction() as connection:
            order_id = submit(connection, settings.network_id, plan_id, order)
        told = await_answer(database, settings.network_id, order_id, wait_s)
    if as_json:
        print_json({"plan_id": plan_id, "order": order_id, "done": told and told.done, "answer": told and told.text})
    elif told is None:
        stdout.print(f"ordered; the outer loop takes it in with the next period: twinloop plans show {plan_id}")
    else:
        stdout.print(f"{plan_id}: {told.text}" if told.done else f"{plan_id}: refused, {told.text}")
    if told is not None and not told.done:
        raise typer.Exit(Exit.ERROR)

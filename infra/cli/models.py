"""`twinloop models`: what was learned, what the twin predicts with, and a person's orders about it."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.errors import reports_errors, stdout
from infra.cli.options import Json, print_json

app = typer.Typer(no_args_is_help=True, help="Learned models: list, show, promote, roll back.")

Model = Annotated[str, typer.Argument(help="demand-forecast or kpi-residual.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit record.")]
Actor = Annotated[str | None, typer.Option("--as", help="Who orders it; your user name by default.")]


@app.command("list")
@reports_errors
def list_(
    model: Annotated[str | None, typer.Option(help="Only versions of this model.")] = None, as_json: Json = False
) -> None:
    """List versions: in force, challengers, refused, rolled back; with scores on periods they had not seen.

    A score is one minus the mean absolute error as a share of what was observed.
    """
    from infra.rendering.models import model_json, models_table
    from infra.settings import load_settings
    from infra.storage.database import Database
    from infra.storage.models import all_models
    from infra.storage.revisions import latest_revision

    settings = load_settings()
    with Database(settings.database.location(), "twinloop models") as database, database.transaction() as connection:
        rows = all_models(connection, settings.network_id, model)
        newest = latest_revision(connection, settings.network_id, settings.region)
    taken_up = newest.model_versions if newest else {}
    if as_json:
        print_json({"models": [model_json(row) for row in rows], "in_twin": taken_up})
    else:
        stdout.print(models_table(rows, taken_up))


@app.command("show")
@reports_errors
def show(
    model: Model,
    version: Annotated[str, typer.Argument(help="As `twinloop models list` shows it.")],
    parameters: Annotated[
        Path | None, typer.Option(help="Write its parameters to this file: .json as JSON, else safetensors.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one version: lineage, scores, parameters."""
    import json

    from infra.model_orders import ModelRefused
    from infra.rendering.models import model_json, model_page
    from infra.settings import load_settings
    from infra.storage.database import Database
    from infra.storage.models import all_models, load_version
    from twin_core.learned.models import tensors_of, to_json
    from twin_core.learned.reading import KINDS

    settings = load_settings()
    with Database(settings.database.location(), "twinloop models") as database, database.transaction() as connection:
        row = load_version(connection, settings.network_id, settings.region, model, version)
        parents = {r.version: r.parent for r in all_models(connection, settings.network_id, model)}
    lineage = [row.version]
    while (parent := parents.get(lineage[-1])) and parent not in lineage:
        lineage.append(parent)
    kept = tensors_of(KINDS[model], version, row.parameters) if row.parameters else {}
    if parameters is not None:
        if not row.parameters:
            raise ModelRefused(f"no parameters of {model} {version} are kept", "it never was in force")
        text = json.dumps(to_json(KINDS[model].of(version, kept)), indent=1).encode()
        parameters.write_bytes(text if parameters.suffix == ".json" else row.parameters)
    if as_json:
        document = {**model_json(row), "lineage": lineage}
        print_json({**document, "parameters": to_json(KINDS[model].of(version, kept)) if kept else {}})
    else:
        stdout.print(model_page(row, lineage, {name: tuple(t.shape) for name, t in sorted(kept.items())}))


@app.command("promote")
@reports_errors
def promote(
    model: Model,
    version: Annotated[str | None, typer.Argument(help="A version that was in force before.")] = None,
    file: Annotated[Path | None, typer.Option(help="Parameters from a file instead, safetensors or JSON.")] = None,
    reason: Reason = "",
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Put a version, or a file, in force: the twin predicts with it from its next revision on.

    Nobody judges it first; it is watched like any champion, and rolled back where it proves worse than the one before.

    Example: twinloop models promote kpi-residual --file residual.safetensors --reason "trained on a year"
    """
    from infra.model_orders import promote_file, promote_version
    from infra.roles.base import Context
    from infra.settings import load_settings

    if (version is None) == (file is None):
        raise typer.BadParameter("name either a version or --file")
    context, who = Context.of(load_settings()), f"person:{actor or getpass.getuser()}"
    if file is not None:
        decision = promote_file(context, model, file, who, reason)
    else:
        decision = promote_version(context, model, version or "", who, reason)
    _tell(decision.model, decision.version, decision.parent, "promoted", as_json)


@app.command("rollback")
@reports_errors
def rollback(model: Model, reason: Reason = "", actor: Actor = None, as_json: Json = False) -> None:
    """Put the version before the one in force back; the configuration of the network is not touched."""
    from infra.model_orders import roll_back
    from infra.roles.base import Context
    from infra.settings import load_settings

    context, who = Context.of(load_settings()), f"person:{actor or getpass.getuser()}"
    decision = roll_back(context, model, who, reason)
    _tell(decision.model, decision.parent, decision.version, "rolled back", as_json)


def _tell(model: str, now: str, before: str, done: str, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, "in_force": now or None, "before": before or None, "action": done})
    else:
        stdout.print(f"{done}: {model} {now or 'none'} instead of {before or 'none'}, from the twin's next revision on")

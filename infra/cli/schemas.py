"""`twinloop schemas`: what travels on the topics, and the registry's opinion of it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.errors import Exit, reports_errors, stdout
from infra.cli.options import Json, print_json
from schemas import registry
from schemas.topics import TOPICS

app = typer.Typer(no_args_is_help=True, help="Schemas of all topics: register, check, list, export.")


@app.command("register")
@reports_errors
def register(as_json: Json = False) -> None:
    """Set each subject's compatibility rule and register what is new. Exit code 1 if the registry refuses one."""
    _report(registry.register(_connect()), as_json)


@app.command("check")
@reports_errors
def check(as_json: Json = False) -> None:
    """Ask whether the registry would take the schemas, and change nothing. Exit code 1 if not."""
    _report(registry.check(_connect()), as_json)


@app.command("list")
@reports_errors
def list_(as_json: Json = False) -> None:
    """List topics, keys and rules, with the versions that the registry holds."""
    found = {s.subject: s for s in registry.registered(_connect())}
    rows = [
        {
            "topic": t.name,
            "event": t.event.__name__,
            "key": "|".join(("network_id", *t.key)),
            "compatibility": str(t.compatibility),
            "versions": list(found[t.subject].versions) if t.subject in found else [],
        }
        for t in TOPICS
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("topic", "event", "key", "compatibility", "versions")
    for row in rows:
        table.add_row(*(", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in row.values()))
    stdout.print(table)


@app.command("export")
@reports_errors
def export(directory: Annotated[Path, typer.Argument(file_okay=False, help="Folder for the .avsc files.")]) -> None:
    """Write one Avro schema a topic, for producers in any language. Needs no registry."""
    for path in registry.export(directory):
        typer.echo(path)


def _connect() -> registry.Connection:
    from infra.roles.base import registry_properties
    from infra.settings import load_settings

    settings = load_settings()
    return registry.connect(settings.registry.url, registry_properties(settings))


def _report(reports: list[registry.SubjectReport], as_json: bool) -> None:
    refused = [r for r in reports if r.standing is registry.Standing.INCOMPATIBLE]
    if as_json:
        print_json([{"subject": r.subject, "standing": str(r.standing), "reason": r.message} for r in reports])
    else:
        table = Table("subject", "standing", "reason")
        for r in reports:
            table.add_row(r.subject, str(r.standing), r.message)
        stdout.print(table)
    raise typer.Exit(Exit.ERROR if refused else Exit.GOOD)

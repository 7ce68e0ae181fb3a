"""`twinloop up`, `down`, `status`: the services of this machine."""

from typing import Annotated

import typer
from rich.table import Table

from infra.cli.errors import Exit, reports_errors, stderr, stdout
from infra.cli.options import Json, print_json
from infra.local.services import LocalServices
from infra.settings import Settings, load_settings


@reports_errors
def up(as_json: Json = False) -> None:
    """Start Kafka, schema registry and PostgreSQL on loopback; make tables, topics and subjects.

    What runs already is left running; data of an earlier run are kept. The services stay up after this command ends:
    `twinloop down` stops them.
    """
    from infra.preparing import prepare

    settings = load_settings()
    endpoints = _local(settings).up(lambda service, state: stderr.print(f"{service}: {state}", highlight=False))
    prepare(endpoints.bootstrap_servers, endpoints.registry_url, endpoints.database_url)
    if as_json:
        print_json(endpoints.model_dump())
        return
    table = Table("service", "endpoint", title="up")
    table.add_row("Kafka", endpoints.bootstrap_servers)
    table.add_row("schema registry", endpoints.registry_url)
    table.add_row("PostgreSQL", endpoints.database_url)
    stdout.print(table)


@reports_errors
def down(
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete what the services have stored, too.")
    ] = False,
) -> None:
    """Stop the services that `up` started. Their data stay unless --delete-data is given."""
    services = _local(load_settings())
    if delete_data:
        services.destroy()
    else:
        services.down(lambda service, state: stderr.print(f"{service}: {state}", highlight=False))


@reports_errors
def status(as_json: Json = False) -> None:
    """Show whether each service answers, and how far each role of each network has come.

    Exit code 0 if all services are healthy, 1 otherwise.
    """
    settings = load_settings()
    services = _local(settings).status()
    healthy = all(s.healthy for s in services)
    progress = _progress(settings) if any(s.name == "postgres" and s.healthy for s in services) else []
    if as_json:
        print_json({"services": [s.model_dump() for s in services], "progress": progress})
        raise typer.Exit(Exit.GOOD if healthy else Exit.ERROR)
    table = Table("service", "running", "healthy", "endpoint", "pid", "memory", "detail", title="services")
    for s in services:
        memory = f"{s.memory_bytes / 1e6:.0f} MB" if s.memory_bytes else ""
        words = ("yes" if s.running else "no", "[green]yes[/green]" if s.healthy else "[red]no[/red]")
        table.add_row(s.name, *words, s.endpoint, str(s.pid or ""), memory, s.detail)
    stdout.print(table)
    if progress:
        done = Table("network", "role", "finished period (UTC)", title="roles")
        for row in progress:
            done.add_row(row["network_id"], row["role"], row["period_end"])
        stdout.print(done)
    raise typer.Exit(Exit.GOOD if healthy else Exit.ERROR)


def _local(settings: Settings) -> LocalServices:
    return LocalServices(settings.local.root, settings.local.ports)


def _progress(settings: Settings) -> list[dict[str, str]]:
    from datetime import UTC, datetime

    from infra.storage.database import Database

    with Database(settings.database.location(), "twinloop status") as database, database.transaction() as connection:
        if connection.execute("SELECT to_regclass('progress')").fetchone() in (None, (None,)):
            return []
        rows = connection.execute(
            "SELECT network_id, role, period_end_ms FROM progress ORDER BY network_id, role"
        ).fetchall()
    return [
        {"network_id": network, "role": role, "period_end": datetime.fromtimestamp(at / 1000, UTC).isoformat()}
        for network, role, at in rows
    ]

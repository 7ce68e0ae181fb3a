"""`twinloop run ROLE…`."""

import threading
from typing import Annotated, Literal

import typer

from infra.cli.errors import reports_errors
from infra.ownership import when_gone
from infra.roles.base import ROLES


@reports_errors
def run(
    roles: Annotated[list[str], typer.Argument(help=f"One or several of {', '.join(ROLES)}.", metavar="ROLE…")],
    host: Annotated[
        Literal["in-process", "faust"] | None,
        typer.Option(
            help="How `features` runs: in-process, one role for the network; or faust, any number of which share the "
            "partitions of telemetry."
        ),
    ] = None,
    owner: Annotated[int | None, typer.Option(hidden=True, help="End when this process is gone.")] = None,
) -> None:
    """Run roles of twinloop in this process until SIGTERM or Ctrl-C.

    Roles may run in one process or in many, on one machine or several; they meet in Kafka and PostgreSQL. A service
    that is away is tried again; after any death a role goes on at its last durable state.

    Examples: twinloop run twin features; twinloop run features --host faust
    """
    from infra.logging import configure_logging
    from infra.metrics import start_exporter
    from infra.roles.base import Context, build, run_roles
    from infra.settings import load_settings

    stop = threading.Event()
    if owner is not None:
        threading.Thread(target=when_gone, args=(owner, stop.set), daemon=True).start()
    settings = load_settings()
    if host is not None:
        settings = settings.model_copy(update={"features": settings.features.model_copy(update={"host": host})})
    configure_logging(settings.log, network_id=settings.network_id)
    start_exporter(settings.metrics)
    raise typer.Exit(run_roles(build(roles, Context.of(settings)), stop))

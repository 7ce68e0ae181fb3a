"""`twinloop`: the command line.

Every group is imported when it is called, so that `twinloop --help` answers at once although some commands
import torch.
"""

import importlib
import os
import sys
from collections.abc import Collection
from importlib.metadata import version
from typing import Annotated

import typer

# Command, module, help line. A module offers `app` (a group) or a function of the command's name.
COMMANDS: tuple[tuple[str, str, str], ...] = (
    ("demo", "demo", "Run a live network beside its twin for a while: verify, push, watch, report."),
    ("up", "services", "Start Kafka, schema registry and PostgreSQL on loopback and prepare them."),
    ("down", "services", "Stop the local services that `up` started."),
    ("status", "services", "Show services, roles, and how far each has come."),
    ("run", "run", "Run one or several roles of twinloop in this process."),
    ("network", "network", "Run the reference live network, or check an executable against the line protocol."),
    ("replay", "replay", "Replay a recording through Kafka, or re-derive twin revisions and compare hashes."),
    ("schemas", "schemas", "Register, check, list and export the schemas of all topics."),
    ("twin", "twin", "Look at the twin at a time, and at what differs between two."),
    ("topology", "topology", "Import and export networks (CSV, GeoJSON) and radio maps (GeoTIFF, PNG)."),
    ("verify", "verify", "Verify a strategy file on the twin: approved, rejected or inconclusive."),
    ("propose", "propose", "Hand in a strategy file: verified, and pushed if it is approved."),
    ("plans", "plans", "List and show plans in rollout; approve, pause, abort, roll back."),
    ("models", "models", "List and show learned models; promote one, roll one back."),
    ("dlq", "dlq", "List, show and re-inject dead letters."),
    ("explain", "explain", "Tell the whole story of a strategy, job or plan."),
    ("bench", "bench", "Measure, and compare with the goals."),
    ("docs", "docs", "Generate the reference pages of the documentation."),
)


def build(words: Collection[str]) -> typer.Typer:
    """The command line, with only those commands imported whose names are among the words on the line."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="A streaming digital twin that makes configuration changes of a live mobile network safe.\n\n"
        "Start with [bold]twinloop demo[/bold]. Exit codes: 0 good, 1 error, 2 usage, 3 rejected, 4 inconclusive.",
        epilog="Settings come from TWINLOOP_… variables or twinloop.toml; TWINLOOP_DEBUG=1 shows tracebacks.",
    )
    app.callback()(_main)
    for name, module, line in COMMANDS:
        if name not in words:
            app.command(name, help=line)(_not_imported)
            continue
        loaded = importlib.import_module(f"infra.cli.{module}")
        if hasattr(loaded, "app"):
            app.add_typer(loaded.app, name=name, short_help=line)
        else:
            app.command(name, short_help=line)(getattr(loaded, name))
    return app


def app() -> None:
    """Entry point of the console script."""
    # The shell's completion passes the line in a variable instead of arguments.
    build({*sys.argv[1:], *os.environ.get("_TYPER_COMPLETE_ARGS", "").split()})()


def _not_imported() -> None:
    """Stands in help and completion for a command that is not on the line."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinloop {version('twinloop')}")
        raise typer.Exit


def _main(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Everything happens in the commands."""

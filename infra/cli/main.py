"""`twinloop`: the command line.

Every group is imported when it is called, so that `twinloop --help` answers at once although some commands
import torch.
"""

import importlib
from importlib.metadata import version
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

# Command, module, help line. A module offers `app` (a group) or `command` (a function).
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
    ("verify", "verify", "Verify a strategy file on the twin: approved, rejected or inconclusive."),
    ("plans", "plans", "List and show plans in rollout."),
    ("dlq", "dlq", "List, show and re-inject dead letters."),
    ("explain", "explain", "Tell the whole story of a strategy, job or plan."),
    ("bench", "bench", "Measure, and compare with the goals."),
    ("docs", "docs", "Generate the reference pages of the documentation."),
)


class LazyGroup(TyperGroup):
    """Lists all commands from the table, imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return [name for name, _, _ in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and build it; help of the parent needs only the table."""
        for name, module, line in COMMANDS:
            if name == cmd_name:
                if ctx.info_name is not None and getattr(ctx, "_listing", False):
                    return click.Command(name, help=line, short_help=line)
                return _load(name, module, line)
        return None

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the table without importing what stands behind it."""
        ctx._listing = True  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def _load(name: str, module: str, line: str) -> click.Command:
    loaded = importlib.import_module(f"infra.cli.{module}")
    app: Any = getattr(loaded, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name, help=None)(getattr(loaded, name))
    command = typer.main.get_command(app)
    command.name = name
    command.short_help = line
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="A streaming digital twin that makes configuration changes of a live mobile network safe.\n\n"
    "Start with [bold]twinloop demo[/bold]. Exit codes: 0 good, 1 error, 2 usage, 3 rejected, 4 inconclusive.",
    epilog="Settings come from TWINLOOP_… variables or twinloop.toml; TWINLOOP_DEBUG=1 shows tracebacks.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinloop {version('twinloop')}")
        raise typer.Exit


@app.callback()
def main(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Entry point; what it does stands in the help text above."""

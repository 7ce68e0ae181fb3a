"""`twinloop network`: the reference live network, and the check of others against the line protocol."""

import shlex
import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from infra.cli.errors import Exit, reports_errors, stdout
from infra.cli.options import Json, print_json

app = typer.Typer(
    no_args_is_help=True, help="The reference live network, and a check of others against the line protocol."
)


@app.command(
    "run", context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
)
@reports_errors
def run(
    arguments: Annotated[list[str] | None, typer.Argument(help="Options of the network; --help lists them.")] = None,
) -> None:
    """Speak the line protocol on stdin and stdout until stop or the end of input."""
    from infra.network.__main__ import main

    sys.argv = ["twinloop network run", *(arguments or [])]
    raise typer.Exit(main())


@app.command("parameters")
@reports_errors
def parameters() -> None:
    """Print name, version and hash of the shipped parameters, with all of them."""
    from infra.network.parameters import Parameters

    found = Parameters.load()
    typer.echo(f"# {found.name} {found.version}, hash {found.hash}")
    typer.echo(found.model_dump_json(indent=2))


@app.command("check")
@reports_errors
def check(
    command: Annotated[str, typer.Argument(help="Executable with its arguments, as one word in quotes.")],
    silence_s: Annotated[float, typer.Option(min=1, help="Longest wait for a line that is due, seconds.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Run an executable through the line protocol and tell its author what is wrong. Exit code 1 if anything is.

    Example: twinloop network check "python docs/examples/minimal_network.py"
    """
    from infra.line_protocol.check import check as run_checks
    from infra.line_protocol.findings import Level

    found = run_checks(shlex.split(command), silence_s)
    bad = any(f.level is Level.ERROR for f in found)
    if as_json:
        print_json([f._asdict() for f in found])
    else:
        table = Table("level", "code", "what", "remedy")
        colours = {Level.ERROR: "red", Level.WARNING: "yellow", Level.INFO: "dim"}
        for f in found:
            table.add_row(Text(f.level, style=colours[f.level]), f.code, f.message, f.remedy)
        stdout.print(table if found else "nothing found")
        stdout.print("[red]does not conform[/red]" if bad else "[green]conforms[/green]")
    raise typer.Exit(Exit.ERROR if bad else Exit.GOOD)

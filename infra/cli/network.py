"""`twinloop network`: the reference live network."""

import sys
from typing import Annotated

import typer

from infra.cli.errors import reports_errors

app = typer.Typer(no_args_is_help=True, help="The reference live network, as an executable on stdin and stdout.")


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

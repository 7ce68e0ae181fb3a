"""`twinloop docs`: the reference pages of the documentation."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.errors import reports_errors

app = typer.Typer(no_args_is_help=True, help="Pages of the documentation that are generated from the code.")


@app.callback()
def _group() -> None:
    """A group, also while it has one command."""


@app.command("generate")
@reports_errors
def generate(folder: Annotated[Path, typer.Argument(file_okay=False, help="Folder.")] = Path("docs/reference")) -> None:
    """Write settings, schemas and command line as Markdown."""
    from infra.cli.main import COMMANDS
    from infra.reference import write_reference

    groups = {"network": ("run", "check", "parameters"), "schemas": ("register", "check", "list", "export"),
              "twin": ("at", "diff"), "topology": ("import", "export", "map"),
              "plans": ("list", "show"), "dlq": ("list", "show", "replay")}  # fmt: skip
    names = [f"{name} {sub}".strip() for name, _, _ in COMMANDS if name != "docs" for sub in groups.get(name, ("",))]
    for path in write_reference(folder, [n for n in names if n != "network run"]):
        typer.echo(path)

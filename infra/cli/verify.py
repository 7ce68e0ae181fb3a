"""`twinloop verify`: a strategy file tried on the twin."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from infra.cli.errors import Exit, reports_errors, stdout
from infra.cli.options import Json
from schemas.ndt import Verdict

if TYPE_CHECKING:
    from infra.verifying import Verified

_CODES = {Verdict.APPROVED: Exit.GOOD, Verdict.REJECTED: Exit.REJECTED, Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE}


@reports_errors
def verify(
    strategy: Annotated[Path, typer.Argument(help="Strategy file, YAML; infra/demo/strategies has examples.")],
    at: Annotated[int | None, typer.Option("--at", min=0, help="Twin revision; the newest if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Roll a strategy and the present configuration over the same perturbed scenarios, and say whether it harms.

    The workers do the work if any run, else this process; the verdict is the same. Nothing is written and nothing is
    pushed; `twinloop propose` hands a strategy in. Exit code 0 approved, 3 rejected, 4 inconclusive, 1 error.
    """
    from infra.roles.base import Context
    from infra.settings import load_settings
    from infra.verifying import verify as try_it

    say_verdict(try_it(Context.of(load_settings()), strategy, at), as_json)


def say_verdict(verified: "Verified", as_json: bool) -> NoReturn:
    """Show a verdict, and end with its exit code."""
    from infra.rendering.verdict import verdict_page

    if as_json:
        typer.echo(verified.report.model_dump_json(indent=2))
    else:
        stdout.print(verdict_page(verified))
    raise typer.Exit(_CODES[verified.report.verdict])

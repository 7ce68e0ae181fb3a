"""`twinloop verify`: a strategy file on the twin."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.errors import Exit, reports_errors, stdout
from infra.cli.options import Json, print_json


@reports_errors
def verify(
    strategy: Annotated[Path, typer.Argument(help="Strategy file in YAML.", dir_okay=False)],
    at: Annotated[int | None, typer.Option("--at", min=0, help="Twin revision; the newest if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Try a strategy on perturbed copies of the twin: exit code 0 approved, 3 rejected, 4 inconclusive.

    Nothing is pushed and nothing is written. Running workers do the work; without any, this process does. An example
    of a strategy file:

        title: Switch the stadium cell off at night
        by: anna
        objective: {kpi: PEE.AvgPower, direction: down, min_gain: 0.01}
        changes:
          - {cell: gnb2-1, attribute: administrativeState, value: LOCKED}
    """
    from infra.rendering.verdict import verdict_page
    from infra.roles.base import Context
    from infra.settings import load_settings
    from infra.verifying import verify as run
    from schemas.ndt import Verdict

    verified = run(Context.of(load_settings()), strategy, at)
    if as_json:
        print_json(verified.report.model_dump(mode="json"))
    else:
        stdout.print(verdict_page(verified), highlight=False)
    codes = {Verdict.APPROVED: Exit.GOOD, Verdict.REJECTED: Exit.REJECTED, Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE}
    raise typer.Exit(codes[verified.report.verdict])

"""`twinloop propose`: a person's strategy goes the way of every agent's."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.errors import reports_errors, stdout
from infra.cli.options import Json, print_json
from infra.cli.verify import say_verdict


@reports_errors
def propose(
    strategy: Annotated[Path, typer.Argument(help="Strategy file, YAML; infra/demo/strategies has examples.")],
    actor: Annotated[str | None, typer.Option("--as", help="Who hands it in; your user name by default.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the verdict.")] = 120.0,
    as_json: Json = False,
) -> None:
    """Hand a strategy to the inner loop. Approved, it is pushed: canary first, watched, rolled back if it hurts.

    To try one without consequences: `twinloop verify`. Exit code 0 approved, 3 rejected, 4 inconclusive, 1 error; with
    no verdict by the deadline 0, and the strategy stays with the inner loop.
    """
    from infra.proposing import await_verdict
    from infra.proposing import propose as hand_in
    from infra.roles.base import Context
    from infra.settings import load_settings

    context = Context.of(load_settings())
    proposed = hand_in(context, strategy, f"person:{actor or getpass.getuser()}")
    if not as_json:
        stdout.print(f"handed in as {proposed.strategy_id}", highlight=False)
    verified = await_verdict(context, proposed, wait) if wait else None
    if verified is not None:
        say_verdict(verified, as_json)
    if as_json:
        print_json({"strategy_id": proposed.strategy_id, "verdict": None})
    elif wait:
        stdout.print(
            f"no verdict after {wait:g} s; is the role `inner` running, and the twin's gate open? See `twinloop status`"
            f" and `twinloop explain {proposed.strategy_id}`",
            highlight=False,
        )

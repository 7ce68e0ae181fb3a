"""Exit codes, and how errors reach a person: what went wrong and what to do about it."""

import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.panel import Panel

P = ParamSpec("P")
R = TypeVar("R")

ROOMS = frozenset({"schemas", "streams", "processors", "twin_core", "loops", "infra"})
stderr = Console(stderr=True)
stdout = Console()


class Exit(IntEnum):
    """Exit codes of every command."""

    GOOD = 0
    ERROR = 1
    USAGE = 2
    REJECTED = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130


def explained(error: BaseException) -> bool:
    """Whether an error is one of ours, whose text already names cause and remedy."""
    return type(error).__module__.partition(".")[0] in ROOMS


def show_error(error: BaseException, *, debug: bool = False) -> None:
    """Print an error to stderr: ours as text, an unforeseen one with its traceback."""
    if explained(error) or isinstance(error, OSError):
        stderr.print(Panel(str(error), title="error", title_align="left", border_style="red"), highlight=False)
        if debug:
            traceback.print_exception(error, file=sys.stderr)
        return
    traceback.print_exception(error, file=sys.stderr)
    stderr.print("[red]This is a defect of twinloop, not of your input.[/red] Please report it with the lines above.")


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command so that errors end it with text and exit code 1, and Ctrl-C with 130."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            stderr.print("interrupted")
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Exception as error:
            from infra.cli.options import debug

            show_error(error, debug=debug())
            raise typer.Exit(Exit.ERROR) from None

    return run

"""Options that many commands share."""

import json
import os
from typing import Annotated, Any

import typer

from infra.cli.errors import stdout

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for a program to read.")]


def debug() -> bool:
    """Whether errors are shown with their traceback (TWINLOOP_DEBUG=1)."""
    return os.environ.get("TWINLOOP_DEBUG", "") not in ("", "0")


def print_json(document: Any) -> None:
    """Write a document to standard output as JSON and nothing else."""
    typer.echo(json.dumps(document, indent=2, default=str, allow_nan=False))


def say(text: str) -> None:
    """Write a line for a person to standard output."""
    stdout.print(text, highlight=False)

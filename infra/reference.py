"""Reference pages of the documentation, generated from the code: settings, schemas, command line."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, SecretStr

from infra.settings import Settings
from schemas.reference import reference

_SETTINGS = """# Settings

Each is a variable `TWINLOOP_SECTION__NAME`, or `name` in the table `[section]` of `twinloop.toml`; the variable wins.
Lists and tables are written as JSON in variables. This page is generated from `infra/settings.py`.
"""
_CLI = """# Command line

Exit codes: 0 good, 1 error, 2 usage, 3 rejected, 4 inconclusive, 130 interrupted. `--json` prints one document for a
program. This page is generated from the commands' own help.
"""


def write_reference(folder: Path, commands: list[str]) -> list[Path]:
    """Write the pages into a folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "settings.md": _SETTINGS + "\n".join(_sections(Settings, "")) + "\n",
        "schemas.md": reference(),
        "cli.md": _CLI + "\n".join(_help(name) for name in commands) + "\n",
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    plain, nested = [], []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested.append((name, kind))
        else:
            default = field.get_default(call_default_factory=True)
            shown = "" if default is None or isinstance(default, SecretStr) else str(default)
            shown = shown if len(shown) < 80 else "see the code"
            plain.append(f"| `{name}` | {_cell(shown)} | {_cell(field.description or '')} |")
    if path:
        yield f"\n## `{path}`\n\n{(model.__doc__ or '').strip().splitlines()[0]}\n"
    if plain:
        yield "\n| name | default | meaning |\n|---|---|---|"
        yield from plain
    for name, kind in nested:
        yield from _sections(kind, f"{path}__{name}" if path else name)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _help(name: str) -> str:
    shown = subprocess.run(
        [sys.executable, "-m", "infra.cli", *name.split(), "--help"],
        capture_output=True, text=True, check=True, env={"TERMINAL_WIDTH": "110", "COLUMNS": "110", "NO_COLOR": "1"},
    )  # fmt: skip
    text = "\n".join(line.rstrip() for line in shown.stdout.strip().splitlines())
    return f"\n## twinloop {name}\n\n```\n{text}\n```"

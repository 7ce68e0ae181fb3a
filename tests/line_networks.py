"""Networks for tests of the line protocol: the minimal one of the documentation, and what an author may get wrong."""

import sys
from pathlib import Path

MINIMAL = Path(__file__).parents[1] / "docs" / "examples" / "minimal_network.py"


def command(path: Path = MINIMAL) -> list[str]:
    """Command line of a network in Python."""
    return [sys.executable, "-I", str(path)]


def altered(folder: Path, old: str, new: str) -> list[str]:
    """The minimal network with one thing changed."""
    source = MINIMAL.read_text(encoding="utf-8")
    assert old in source, f"the minimal network no longer has {old!r}"
    path = folder / "network.py"
    path.write_text(source.replace(old, new), encoding="utf-8")
    return command(path)


def script(folder: Path, text: str) -> list[str]:
    """A program of one's own."""
    path = folder / "program.py"
    path.write_text(text, encoding="utf-8")
    return command(path)

"""Packages that are installed for one test: modules and entry points in a folder on the path, here and in processes
started from here."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    folder: Path, patch: pytest.MonkeyPatch, modules: Mapping[str, str], entry_points: Mapping[str, Mapping[str, str]]
) -> None:
    """Put modules on the path and offer what they contain.

    Parameters
    ----------
    modules
        Source by module name.
    entry_points
        Group to name to ``module:attribute``.
    """
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    known = folder / "for_a_test-1.0.dist-info"
    known.mkdir()
    (known / "METADATA").write_text("Metadata-Version: 2.1\nName: for-a-test\nVersion: 1.0\n")
    offers = [(group, "".join(f"{n} = {t}\n" for n, t in named.items())) for group, named in entry_points.items()]
    (known / "entry_points.txt").write_text("\n".join(f"[{group}]\n{named}" for group, named in offers))
    patch.syspath_prepend(folder)
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")])))

"""docs/notebooks: every notebook runs from top to bottom, and is kept without its outputs."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.integration

NOTEBOOKS = sorted(Path("docs/notebooks").glob("*.ipynb"))
# Fewer bytes are a figure with nothing in it.
_LEAST_PICTURE = 20_000


def code_of(path: Path) -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return [c for c in notebook.cells if c.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_and_ends_with_a_plot(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Beside other tests a second thread waits more than it works.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert not any(c.outputs or c.execution_count for c in code), "clear its outputs before you commit it"
    assert sum(bool(line.strip()) for c in code for line in c.source.splitlines()) <= 30
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    last = code[-1].outputs
    pictures = [out["data"]["image/png"] for out in last if "image/png" in out.get("data", {})]
    assert pictures, "no plot"
    assert len(pictures[-1]) > _LEAST_PICTURE, "an empty plot"


def test_the_engine_alone_needs_nothing_else_and_less_than_thirty_lines() -> None:
    source = "\n".join(c.source for c in code_of(Path("docs/notebooks/engine.ipynb")))
    assert sum(bool(line.strip()) for line in source.splitlines()) < 30
    tree = list(ast.walk(ast.parse(source)))
    imported = {node.module for node in tree if isinstance(node, ast.ImportFrom) and node.module}
    imported |= {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in imported} == {"twin_core", "matplotlib"}
    assert "hexagonal(sites=7)" in source, "21 cells"
    assert '["nominal"] * 800 + ["surge"] * 200' in source, "1,000 worlds"

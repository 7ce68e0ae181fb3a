"""The pages on the engine and on radio: their examples run, from top to bottom."""

import re
from pathlib import Path

import pytest

_DOCS = Path(__file__).parents[2] / "docs"
# What needs a file that the page only names.
_NEEDS_FILE = "buildings.geojson"


def _examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (_DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["engine.md", "radio.md"])
def test_examples_run(page: str) -> None:
    examples = [code for code in _examples(page) if _NEEDS_FILE not in code]
    assert examples
    for code in examples:
        exec(code, {})

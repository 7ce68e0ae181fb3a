"""docs/delivery.md promises tests; they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(?:tests/[a-z_/]+\.py::)?(test_\w+)", page))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in written} == set()
    files = set(re.findall(r"`((?:tests|infra|processors)/[a-z_/]+\.py)", page))
    assert {name for name in files if not (ROOT / name).is_file()} == set()


def test_the_table_has_a_row_for_every_step_of_the_role() -> None:
    page = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    role = (ROOT / "infra" / "roles" / "twin.py").read_text(encoding="utf-8")
    steps = re.findall(r"^(\d)\. ", role, flags=re.MULTILINE)
    assert steps == [str(n) for n in range(1, 8)]
    assert re.findall(r"`test_killed_after_step\[(\d)\]`", page) == steps

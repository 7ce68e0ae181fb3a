"""The form of bench results."""

import pytest
from pydantic import ValidationError

from infra.benches.base import BenchResult, Goal


@pytest.mark.parametrize(
    ("value", "op", "goal", "met"),
    [(2, ">=", 2, True), (2, ">", 2, False), (1, "<=", 2, True), (2, "<", 2, False), (2, "==", 2, True)],
)
def test_a_goal_is_met_or_not(value: float, op: str, goal: float, met: bool) -> None:
    assert Goal.model_validate({"name": "x", "value": value, "op": op, "goal": goal}).met is met


def test_a_result_has_the_form_that_every_bench_has() -> None:
    result = BenchResult(
        name="x", seconds=1.5, figures={"a": 1.0}, goals=(Goal(name="a", value=1.0, op=">=", goal=2.0),)
    )
    document = result.model_dump(mode="json")
    assert list(document) == ["name", "commit", "machine", "seconds", "figures", "goals", "sides"]
    assert document["goals"] == [{"name": "a", "value": 1.0, "op": ">=", "goal": 2.0, "met": False}]
    assert document["commit"]
    assert "cores" in document["machine"]
    assert BenchResult.model_validate_json(result.model_dump_json()) == result


def test_a_goal_stands_once() -> None:
    goal = Goal(name="a", value=1.0, op=">=", goal=2.0)
    with pytest.raises(ValidationError, match="twice"):
        BenchResult(name="x", seconds=0, figures={}, goals=(goal, goal))

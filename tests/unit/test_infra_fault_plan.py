"""Fault plans: what a file may say, and what is said of one that may not."""

from pathlib import Path

import pytest

from infra.exceptions import SettingsError
from infra.roles.fault_plan import FaultPlan


def written(folder: Path, text: str) -> Path:
    path = folder / "faults.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_path_is_an_empty_plan() -> None:
    assert not FaultPlan.read(None)


def test_faults_fall_due_at_their_period_under_ids_of_their_own(tmp_path: Path) -> None:
    plan = FaultPlan.read(written(tmp_path, "[{at_period: 2, fault: poison}, {at_period: 2, fault: late_events}]"))
    assert plan.at(1) == []
    assert [(name, fault.fault) for name, fault in plan.at(2)] == [
        ("planned-0", "poison"),
        ("planned-1", "late_events"),
    ]


def test_the_messages_own_fields_may_stand_among_the_parameters(tmp_path: Path) -> None:
    text = "[{at_period: 1, fault: traffic_surge, parameters: {duration_s: 60, factor: 3}}]"
    ((_, fault),) = FaultPlan.read(written(tmp_path, text)).at(1)
    assert (fault.duration_s, fault.parameters) == (60, {"factor": 3})


def test_faults_that_a_network_does_not_have_are_named(tmp_path: Path) -> None:
    plan = FaultPlan.read(written(tmp_path, "[{at_period: 1, fault: earthquake}]"))
    assert plan.unknown(["poison"]) == ["earthquake"]


@pytest.mark.parametrize(
    "text", ["[{at_period: 0, fault: poison}]", "[{fault: poison}]", "[: ", "[{at_period: 1, falt: x}]"]
)
def test_an_impossible_plan_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"faults\.yaml"):
        FaultPlan.read(written(tmp_path, text))


def test_a_missing_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        FaultPlan.read(tmp_path / "none.yaml")

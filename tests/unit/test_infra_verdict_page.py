"""The verdict's page and the schedule: what a person reads and writes."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from infra.exceptions import SettingsError
from infra.rendering.verdict import verdict_page
from infra.roles.schedule import Schedule
from infra.verifying import Verified
from loops.agents.from_file import load_strategy
from loops.inner.evidence import Problem
from loops.inner.report import conclude
from loops.inner.verdict import find
from schemas.ndt import NdtReport
from tests.agent_views import NETWORK
from tests.unit import inner_fakes as fake

JOB = fake.job()
STRATEGIES = Path("infra/demo/strategies")


def page(report: NdtReport) -> str:
    console = Console(file=StringIO(), width=110)
    console.print(verdict_page(Verified(JOB.strategy, JOB.guards, report, "2 workers")))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def decided(**world: object) -> NdtReport:
    evidence = fake.evidence(JOB, 1, np.random.default_rng(3), **world)  # type: ignore[arg-type]
    return conclude(JOB, fake.basis(), evidence, find(JOB, evidence))


def test_an_approval_shows_scenarios_guards_predictions_and_limits() -> None:
    text = page(decided())
    for said in ("APPROVED", "may be pushed", "cell failure", "within the limit", "any cell loses more than 30 %"):
        assert said in text
    for said in ("PEE.AvgPower", "twin revision 10", "2 workers", "Not covered", "Valid until"):
        assert said in text


def test_a_rejection_marks_the_harmful_class() -> None:
    text = page(decided(p_harm={"surge": 0.9}))
    assert "REJECTED" in text
    (line,) = [row for row in text.splitlines() if row.startswith("surge")]
    assert line.rstrip().endswith("harmful")


def test_what_was_not_tried_shows_no_numbers() -> None:
    text = page(conclude(JOB, fake.basis(gate_open=False), None, None, objections=[Problem("the gate is closed")]))
    assert "INCONCLUSIVE" in text
    assert "the gate is closed" in text
    assert "probability of harm" not in text
    assert "nan" not in text


@pytest.mark.parametrize("path", sorted(STRATEGIES.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_demos_strategies_can_be_read(path: Path) -> None:
    assert load_strategy(path, NETWORK.topology).agent.startswith("person:")


def test_a_schedule_hands_in_what_fell_due_since_last_time(tmp_path: Path) -> None:
    good = next(iter(sorted(STRATEGIES.glob("good*.yaml")))).resolve()
    path = tmp_path / "schedule.yaml"
    path.write_text(f"- {{at_period: 5, file: {good}}}\n- {{at_period: 3, file: {good}}}\n")
    schedule = Schedule(path, NETWORK.topology, "1")
    assert [len(schedule.between(a, b, 60_000)) for a, b in ((0, 2), (2, 4), (2, 5), (5, 9))] == [0, 1, 2, 0]
    assert Schedule(None, NETWORK.topology, "1").between(0, 99, 0) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {at_period: 0, file: x}", "at_period"),
        ("- {at_period: 3}", "file"),
        ("- [", "not YAML"),
        ("- {at_period: 3, file: none.yaml}", "cannot read"),
    ],
)
def test_a_bad_schedule_is_told_at_the_start(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told):
        Schedule(path, NETWORK.topology, "1")
    with pytest.raises(SettingsError, match="No such file"):
        Schedule(tmp_path / "none.yaml", NETWORK.topology, "1")

"""`twinloop explain ID`: the story of a change, from the database alone."""

import io
import json
from collections.abc import Iterator

import pytest
from rich.console import Console, RenderableType

from infra.explaining import UnknownId, explain
from infra.rendering.explain import story_page
from infra.rendering.plans import plans_json, plans_table
from infra.roles.outer import OuterRole
from infra.storage.database import connect
from loops.alerts.events import Kind
from schemas.ndt import ScenarioOutcome, Verdict
from schemas.plans import PlanState
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.outer_runs import Rig
from tests.outer_world import FakeNetwork, distant_cells, power
from tests.twin_runs import context_for, running

pytestmark = pytest.mark.integration
FIRST, SECOND = distant_cells(2)
NETWORK = "hex"
SCENARIOS = [
    ScenarioOutcome(scenario_class=c, scenarios=96, harmful=0, p_harm=0.0, p_harm_low=0.0, p_harm_high=0.038)
    for c in ("nominal", "surge", "hotspot", "failure", "measurement")
]


@pytest.fixture
def rig(database_url: str) -> Iterator[Rig]:
    policy = {"policy": {"hold_periods": 3, "longest_hold": 8, "before_periods": 8}, "ack_deadline_s": 0.4}
    made = Rig(context_for(MemoryTransport(), Serde(LocalIds()), database_url, NETWORK, outer=policy), FakeNetwork())
    made.step(10)
    yield made
    made.close()


def text_of(page: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=110, force_terminal=False)
    console.print(page)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_story_of_a_change_is_told_from_any_of_its_ids(rig: Rig) -> None:
    rig.propose([power(FIRST), power(SECOND)], scenarios=SCENARIOS, not_covered=["a fibre cut"])
    with running(OuterRole(rig.context)):
        plan = rig.finish()
    command = plan.commands[0].command.command_id
    with connect(rig.context.database_url) as connection:
        stories = [explain(connection, NETWORK, i) for i in ("s-1", "job-s-1", plan.plan_id, command)]
        with pytest.raises(UnknownId, match="'nothing'"):
            explain(connection, NETWORK, "nothing")
        with pytest.raises(UnknownId, match="other-net"):
            explain(connection, "other-net", plan.plan_id)
    story = stories[0]
    assert all(s.model_copy(update={"asked": ""}) == story.model_copy(update={"asked": ""}) for s in stories[1:])
    (job,) = story.jobs
    assert job.report is not None
    assert job.plan is not None
    assert [t.to_state.value for t in job.plan.transitions][-1] == "COMPLETED"
    assert {a.type for a in story.alerts} == {Kind.CHANGE_VERIFIED, Kind.STAGE_PROMOTED, Kind.PLAN_COMPLETED}
    assert [u.revision for u in story.verified_on] == list(job.report.revisions.values())
    assert any(e.action == "judged" for e in story.audit)

    document = json.loads(story.model_dump_json())
    assert document["jobs"][0]["plan"]["outcomes"]

    page = text_of(story_page(story))
    for told in (
        "person:test", "APPROVED", "surge", "a fibre cut", "PENDING", "PUSHING", "HOLDING", "COMPLETED", "fallback",
        "apply at", "DRB.UEThpDl", "alert:", "canary", "full",
    ):  # fmt: skip
        assert told in page
    assert max(map(len, page.splitlines())) <= 110
    assert len(page.splitlines()) < 90


def test_a_rejected_strategy_has_a_story_without_a_plan(rig: Rig) -> None:
    rig.refuse([power(FIRST, 1)], "bad")
    with connect(rig.context.database_url) as connection:
        story = explain(connection, NETWORK, "bad")
    assert story.jobs[0].plan is None
    assert story.jobs[0].report is not None
    assert story.jobs[0].report.verdict is Verdict.REJECTED
    page = text_of(story_page(story))
    assert "REJECTED" in page
    assert "nothing was pushed" in page


def test_plans_are_listed_for_a_person_and_for_a_program(rig: Rig) -> None:
    assert "no plans yet" in text_of(plans_table([]))
    rig.propose([power(FIRST)])
    with running(OuterRole(rig.context)):
        rig.finish()
    plans = rig.plans()
    page = text_of(plans_table(plans))
    assert plans[0].plan_id in page
    assert "COMPLETED" in page
    (row,) = plans_json(plans)
    assert row["state"] is PlanState.COMPLETED
    assert json.loads(json.dumps(row))["cells"] == [FIRST]

"""A person's orders reach the outer loop's role through PostgreSQL: carried out once, answered, audited."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli.main import build
from infra.roles.outer import OuterRole
from infra.storage.database import connect
from infra.storage.orders import answer_of, submit
from infra.storage.plans import UnknownPlan
from loops.outer.orders import Action, Order
from loops.outer.plan import Plan
from schemas.plans import PlanState
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.outer_runs import Rig, dying
from tests.outer_world import CELLS, FakeNetwork, distant_cells, power
from tests.twin_runs import context_for, running

pytestmark = pytest.mark.integration

FIRST, SECOND = distant_cells(2)
NETWORK = "hex"
POLICY = {"hold_periods": 3, "longest_hold": 8, "blind_limit": 3, "before_periods": 8}
MANY = [power(c) for c in CELLS[: len(CELLS) // 2]]
S = PlanState


@pytest.fixture
def rig(database_url: str) -> Iterator[Rig]:
    outer = {"policy": POLICY, "ack_deadline_s": 0.4}
    made = Rig(context_for(MemoryTransport(), Serde(LocalIds()), database_url, NETWORK, outer=outer), FakeNetwork())
    made.step(10)
    yield made
    made.close()


def order(rig: Rig, action: str, plan: Plan, reason: str = "") -> int:
    """Give an order, as `twinloop plans` does."""
    with connect(rig.context.database_url) as connection:
        return submit(connection, NETWORK, plan.plan_id, Order(Action(action), "person:noc", reason))


def told(rig: Rig, order_id: int) -> tuple[bool, str]:
    """Whether an order was carried out, and what was answered."""
    with connect(rig.context.database_url) as connection:
        found = answer_of(connection, NETWORK, order_id)
    assert found is not None
    return found.done, found.text


def reach(rig: Rig, *states: PlanState) -> Plan:
    """Run until the newest plan is in one of these states."""
    return rig.run(lambda plans: bool(plans) and plans[0].state in states)[0]


def audited(rig: Rig, action: str) -> list[dict[str, Any]]:
    with connect(rig.context.database_url) as connection:
        rows = connection.execute("SELECT actor, detail FROM audit WHERE action = %s ORDER BY id", (action,)).fetchall()
    return [{"actor": row[0], **row[1]} for row in rows]


def test_a_large_change_waits_for_a_person_and_then_goes(rig: Rig) -> None:
    rig.propose(MANY)
    with running(OuterRole(rig.context)):
        plan = reach(rig, S.AWAITING)
        assert not rig.received
        asked = order(rig, "approve", plan, "maintenance window")
        plan = rig.finish()
    assert plan.state is S.COMPLETED
    assert told(rig, asked) == (True, "approved")
    assert audited(rig, "orders approve") == [
        {"actor": "person:noc", "order": asked, "reason": "maintenance window", "state": "AWAITING"}
    ]


def test_what_a_person_rejects_never_reaches_the_network(rig: Rig) -> None:
    rig.propose(MANY)
    with running(OuterRole(rig.context)):
        order(rig, "reject", reach(rig, S.AWAITING), "not tonight")
        plan = rig.finish()
    assert plan.state is S.CANCELLED
    assert "not tonight" in plan.reason
    assert not rig.received


def test_a_paused_plan_holds_until_it_is_resumed(rig: Rig) -> None:
    rig.propose([power(FIRST), power(SECOND)])
    with running(OuterRole(rig.context)):
        plan = reach(rig, S.HOLDING)
        order(rig, "pause", plan)
        for _ in range(POLICY["hold_periods"] + 3):
            rig.step()
            rig.follow()
        (paused,) = rig.plans()
        assert (paused.state, paused.stage.name) == (S.HOLDING, "canary")
        order(rig, "resume", plan)
        assert rig.finish().state is S.COMPLETED


@pytest.mark.parametrize(("action", "when"), [("abort", S.HOLDING), ("rollback", S.COMPLETED)])
def test_what_was_pushed_is_taken_back(rig: Rig, action: str, when: PlanState) -> None:
    before = dict(rig.network.actual)
    rig.propose([power(FIRST), power(SECOND)])
    with running(OuterRole(rig.context)):
        order_id = order(rig, action, reach(rig, when))
        plan = reach(rig, S.ROLLED_BACK)
    assert told(rig, order_id)[0]
    assert rig.network.actual == before
    assert "person:noc" in plan.cause


def test_an_order_that_makes_no_sense_is_answered_and_changes_nothing(rig: Rig) -> None:
    rig.propose([power(FIRST), power(SECOND)])
    with running(OuterRole(rig.context)):
        plan = reach(rig, S.COMPLETED)
        order_id = order(rig, "pause", plan)
        rig.step()
        rig.follow()
    done, text = told(rig, order_id)
    assert not done
    assert "COMPLETED cannot be told to pause" in text
    assert rig.plans()[0].state is S.COMPLETED


def test_an_order_for_a_plan_that_is_not_there_is_refused_at_once(rig: Rig) -> None:
    with connect(rig.context.database_url) as connection, pytest.raises(UnknownPlan):
        submit(connection, NETWORK, "plan-none", Order(Action.ABORT, "person:noc"))


def test_a_loop_that_dies_after_every_step_carries_an_order_out_once(rig: Rig) -> None:
    before = dict(rig.network.actual)
    rig.propose([power(FIRST), power(SECOND)])
    with dying(rig.context):
        order_id = order(rig, "abort", reach(rig, S.HOLDING))
        plan = rig.finish()
    assert plan.state is S.ROLLED_BACK
    assert rig.network.actual == before
    assert told(rig, order_id)[0]
    assert len(audited(rig, "ordered to abort")) == 1


def test_the_command_line_orders_waits_and_shows_the_answer(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINLOOP_NETWORK_ID", NETWORK)
    monkeypatch.setenv("TWINLOOP_DATABASE__URL", rig.context.database_url)
    rig.propose([power(FIRST), power(SECOND)])
    with running(OuterRole(rig.context)):
        plan = reach(rig, S.COMPLETED)
        words = ["plans", "resume", plan.plan_id, "--as", "ada", "--wait", "0", "--json"]
        result = CliRunner().invoke(build(words), words)
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    assert (said["plan_id"], said["done"]) == (plan.plan_id, None)
    assert audited(rig, "orders resume")[0]["actor"] == "person:ada"

"""The outer loop's role on PostgreSQL, with topics in memory and a network that obeys, or not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from infra.roles.outer import OuterRole
from infra.storage.database import connect
from loops.alerts.events import Kind
from loops.outer.plan import as_mapping
from schemas.plans import PlanState, PlanTransition
from schemas.topics import ALERTS, CONFIG_COMMANDS, OUTCOMES, PLANS
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.outer_runs import Rig, dying
from tests.outer_world import GRAPH, FakeNetwork, distant_cells, managed_element_of, power
from tests.twin_runs import context_for, running

pytestmark = pytest.mark.integration

FIRST, SECOND = distant_cells(2)
NETWORK = "hex"
POLICY = {"hold_periods": 3, "longest_hold": 8, "blind_limit": 3, "before_periods": 8}
CALM_PATH = ["PENDING", "PUSHING", "HOLDING", "PUSHING", "HOLDING", "COMPLETED"]


Make = Callable[..., Rig]


@pytest.fixture
def make(database_url: str) -> Iterator[Make]:
    """A rig whose network has run for ten periods."""
    rigs = []

    def rig(**network: Any) -> Rig:
        context = context_for(
            MemoryTransport(), Serde(LocalIds()), database_url, NETWORK, outer={"policy": POLICY, "ack_deadline_s": 0.4}
        )
        made = Rig(context, FakeNetwork(**network))
        made.step(10)
        rigs.append(made)
        return made

    yield rig
    for made in rigs:
        made.close()


def path(rig: Rig) -> list[str]:
    """States on the topic, each once."""
    seen = {e.event_id: e for e in rig.events(PLANS) if isinstance(e, PlanTransition)}
    return [t.to_state.value for t in sorted(seen.values(), key=lambda t: t.seq)]


def test_an_approved_strategy_is_rolled_out_and_everything_is_on_record(make: Make) -> None:
    rig = make()
    rig.propose([power(FIRST), power(SECOND)])
    rig.refuse([power(FIRST, 1)], "bad")
    with running(OuterRole(rig.context)):
        plan = rig.finish()
    assert plan.state is PlanState.COMPLETED
    assert [p.strategy.strategy_id for p in rig.plans()] == ["s-1"]
    assert path(rig) == CALM_PATH
    assert rig.count("plan_transitions") == len(CALM_PATH)
    assert rig.count("commands") == 2
    assert rig.count("outcomes") == len(rig.events(OUTCOMES)) > 4
    assert [a.type for a in rig.events(ALERTS)] == [  # type: ignore[attr-defined]
        Kind.CHANGE_VERIFIED, Kind.STAGE_PROMOTED, Kind.PLAN_COMPLETED,
    ]  # fmt: skip
    assert rig.network.actual[power(SECOND).object, "configuredMaxTxPower"] == 20_000
    with connect(rig.context.database_url) as connection:
        actions = {row[0] for row in connection.execute("SELECT action FROM audit").fetchall()}
    assert {"moved", "sent", "judged", "answered"} <= actions


def test_the_fallback_is_in_the_database_when_the_first_command_leaves(make: Make) -> None:
    rig = make()
    rig.propose([power(FIRST), power(SECOND)])
    seen: list[Any] = []

    def look(_role: str, step: int, _period: int) -> None:
        if step == 1 and not seen:
            seen.append((rig.plans(), rig.events(CONFIG_COMMANDS)))

    with running(OuterRole(replace(rig.context, after_step=look))):
        rig.step()
        rig.follow()
    (plan,), on_topic = seen[0]
    assert not on_topic
    both = [(power(c).object, "configuredMaxTxPower") for c in (FIRST, SECOND)]
    assert as_mapping(plan.fallback) == dict.fromkeys(both, 40_000.0)


def test_harm_is_rolled_back(make: Make) -> None:
    rig = make(harm=dict.fromkeys(GRAPH.area([FIRST]), 0.6), harmed_by=FIRST)
    before = dict(rig.network.actual)
    rig.propose([power(FIRST), power(SECOND)])
    with running(OuterRole(rig.context)):
        plan = rig.finish()
    assert plan.state is PlanState.ROLLED_BACK
    assert rig.network.actual == before


def test_a_fault_during_the_canary_is_rolled_back(make: Make) -> None:
    rig = make()
    before = dict(rig.network.actual)
    rig.propose([power(FIRST), power(SECOND)])
    with running(OuterRole(rig.context)):
        rig.run(lambda plans: bool(plans) and plans[0].state is PlanState.HOLDING)
        rig.down = {min(GRAPH.ring([FIRST]))}
        plan = rig.finish()
    assert plan.state is PlanState.ROLLED_BACK
    assert "out of service" in plan.cause
    assert rig.network.actual == before


def test_a_refused_command_is_tried_again_and_then_given_up(make: Make) -> None:
    rig = make(refuse={managed_element_of(FIRST)})
    rig.propose([power(FIRST)])
    with running(OuterRole(rig.context)):
        rig.run(lambda plans: bool(plans) and plans[0].state is PlanState.ROLLING_BACK)
        applied = [c.command_id for c in rig.received if c.kind == "apply"]
        assert len(applied) == 3
        assert len(set(applied)) == 1
        rig.network.refuse = set()
        plan = rig.finish()
    assert plan.state is PlanState.ROLLED_BACK
    assert "maintenance" in plan.cause


def test_a_lost_command_does_not_stop_the_network_and_gets_through_later(make: Make) -> None:
    rig = make(lose={managed_element_of(FIRST)})
    rig.propose([power(FIRST)])
    with running(OuterRole(rig.context)):
        rig.step()
        rig.follow()
        assert rig.plans()[0].state is PlanState.PUSHING
        rig.network.lose = set()
        plan = rig.finish()
    assert plan.state is PlanState.COMPLETED
    assert len(rig.network.applied) == 1


def test_answers_that_come_twice_change_nothing(make: Make) -> None:
    rig = make()
    rig.repeat = 3
    rig.propose([power(FIRST), power(SECOND)])
    with running(OuterRole(rig.context)):
        assert rig.finish().state is PlanState.COMPLETED
    assert path(rig) == CALM_PATH
    assert rig.count("plan_transitions") == len(CALM_PATH)


def test_a_closed_gate_keeps_the_network_untouched(make: Make) -> None:
    rig = make()
    rig.gate_open = False
    rig.step()
    rig.propose([power(FIRST)], valid=3)
    with running(OuterRole(rig.context)):
        plan = rig.finish()
    assert plan.state is PlanState.CANCELLED
    assert not rig.received


def test_a_strategy_on_cells_that_are_not_there_is_refused_and_the_loop_goes_on(make: Make) -> None:
    rig = make()
    rig.propose([power("SubNetwork=1,ManagedElement=gnb99,GNBDUFunction=1,NRCellDU=1")], "nowhere")
    rig.propose([power(FIRST)], "good")
    with running(OuterRole(rig.context)):
        plan = rig.finish()
    assert plan.strategy.strategy_id == "good"
    assert plan.state is PlanState.COMPLETED


@pytest.mark.parametrize("harmful", [False, True])
def test_a_loop_that_dies_after_every_step_of_every_period_does_what_a_calm_one_does(harmful: bool, make: Make) -> None:
    rig = make(harm=dict.fromkeys(GRAPH.area([FIRST]), 0.6 if harmful else 0.0), harmed_by=FIRST)
    rig.propose([power(FIRST), power(SECOND)])
    with dying(rig.context) as died:
        plan = rig.finish()
    calm = ["PENDING", "PUSHING", "HOLDING", "ROLLING_BACK", "ROLLED_BACK"] if harmful else CALM_PATH
    assert plan.state == calm[-1]
    assert {step for step, _ in died} == {1, 2, 3, 4}
    assert path(rig) == calm
    assert rig.count("plan_transitions") == len(calm)
    assert rig.count("commands") == len(rig.network.applied) == len(set(rig.network.applied)) == 2
    assert rig.count("alerts") == len({a.event_id for a in rig.events(ALERTS)})


def test_only_one_outer_loop_acts(make: Make) -> None:
    rig = make()
    acted: list[int] = []
    second = OuterRole(replace(rig.context, after_step=lambda _role, _step, period: acted.append(period)))
    with running(OuterRole(rig.context)):
        rig.step()
        rig.follow()
        with running(second):
            for _ in range(3):
                rig.step()
                rig.follow()
            assert not acted
    with running(second):
        rig.step()
        rig.follow()
    assert acted

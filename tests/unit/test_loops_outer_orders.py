"""What a rule may approve, what a person may order, and how schedules and policies stand and end."""

from collections.abc import Sequence
from typing import Any

import pytest

from loops.outer.approval import ApprovalSettings, Risk, needs_person, risk_of
from loops.outer.engine import acknowledge, admit, advance
from loops.outer.inputs import Step
from loops.outer.orders import ALLOWED, Action, Answer, Order, carry_out
from loops.outer.plan import Plan, plan_from
from loops.outer.settings import OuterSettings
from schemas.ndt import Layer
from schemas.plans import PlanState
from schemas.strategies import Condition, ConfigChange, Rule
from tests.outer_world import CELLS, GRAPH, TOPOLOGY, FakeNetwork, bias, end, lock, plan_for, power, report, strategy

SETTINGS = OuterSettings(hold_periods=2)
MANY = [power(c) for c in CELLS[:9]]


@pytest.fixture
def network() -> FakeNetwork:
    out = FakeNetwork()
    out.step(8)
    return out


def order(action: Action, plan: Plan, network: FakeNetwork, **inputs: Any) -> Answer:
    return carry_out(plan, Order(action, "person:ann", "a hunch"), network.inputs(**inputs), GRAPH, SETTINGS)


def admitted(changes: Sequence[ConfigChange], network: FakeNetwork, **fields: Any) -> Plan:
    return admit(plan_for(changes, network, **fields), network.inputs(), GRAPH, SETTINGS).plan


def run(plan: Plan, network: FakeNetwork, periods: int = 1) -> Plan:
    """Let periods pass; the network obeys."""
    for _ in range(periods):
        network.step()
        step: Step = advance(plan, network.inputs(), GRAPH, SETTINGS)
        acks = [ack for command in step.commands if (ack := network.receive(command))]
        plan = acknowledge(step.plan, acks, network.inputs(), GRAPH, SETTINGS).plan
    return plan


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([bias(CELLS[0], CELLS[1], 2)], Risk.LOW),
        ([power(CELLS[0])], Risk.MEDIUM),
        ([lock(CELLS[0]), lock(CELLS[5])], Risk.MEDIUM),
        ([lock(c) for c in CELLS[:3]], Risk.HIGH),
    ],
)
def test_risk_follows_from_what_is_changed(changes: list[ConfigChange], expected: Risk, network: FakeNetwork) -> None:
    plan = plan_for(changes, network)
    assert risk_of(plan, ApprovalSettings()) is expected
    assert bool(needs_person(plan, GRAPH, ApprovalSettings())) is (expected is Risk.HIGH)


def test_a_large_blast_radius_asks_for_a_person_and_says_so(network: FakeNetwork) -> None:
    step = admit(plan_for(MANY, network), network.inputs(), GRAPH, SETTINGS)
    assert step.plan.state is PlanState.AWAITING
    assert "9 of 21 cells" in step.plan.reason
    assert any("plans approve" in a.annotations["summary"] for a in step.alerts)
    assert run(step.plan, network, 3).state is PlanState.AWAITING, "nothing is pushed without a person"
    assert network.applied == []


def test_approved_it_goes_the_usual_way_and_the_record_names_who(network: FakeNetwork) -> None:
    told = order(Action.APPROVE, admitted(MANY, network), network)
    assert told.done
    assert told.step.plan.state is PlanState.PENDING
    assert "person:ann: a hunch" in told.step.plan.reason
    assert told.step.notes[0].detail == {"actor": "person:ann", "reason": "a hunch"}
    assert run(told.step.plan, network, 15).state is PlanState.COMPLETED


def test_what_nobody_approves_ends_with_its_verdict(network: FakeNetwork) -> None:
    plan = admitted(MANY, network, valid=10)
    late = run(plan, network, 4)
    assert late.state is PlanState.CANCELLED
    assert "before a person approved" in late.reason
    assert not order(Action.APPROVE, late, network).done


def test_paused_it_is_watched_but_not_promoted(network: FakeNetwork) -> None:
    holding = run(admitted([power(CELLS[0])], network), network)
    assert holding.state is PlanState.HOLDING
    paused = order(Action.PAUSE, holding, network).step.plan
    assert not order(Action.PAUSE, paused, network).done, "once is enough"
    assert run(paused, network, 8).state is PlanState.HOLDING
    resumed = order(Action.RESUME, paused, network).step.plan
    assert run(resumed, network, 8).state is PlanState.COMPLETED


def test_a_paused_plan_that_hurts_is_rolled_back_all_the_same(network: FakeNetwork) -> None:
    network.harm, network.harmed_by = dict.fromkeys(GRAPH.area([CELLS[0]]), 0.6), CELLS[0]
    holding = run(admitted([power(CELLS[0])], network), network)
    paused = order(Action.PAUSE, holding, network).step.plan
    assert run(paused, network, 10).state is PlanState.ROLLED_BACK


def test_aborted_it_is_rolled_back_or_cancelled(network: FakeNetwork) -> None:
    pending = admitted([power(CELLS[0])], network)
    assert order(Action.ABORT, pending, network).step.plan.state is PlanState.CANCELLED
    holding = run(pending, network)
    before = dict(network.actual)
    told = order(Action.ABORT, holding, network)
    assert told.step.plan.state is PlanState.ROLLING_BACK
    assert told.step.commands
    for command in told.step.commands:
        network.receive(command)
    assert run(told.step.plan, network, 3).state is PlanState.ROLLED_BACK
    assert network.actual != before


def test_a_completed_plan_can_be_taken_back_but_for_what_others_changed_since(network: FakeNetwork) -> None:
    one, two = power(CELLS[0]), power(CELLS[1])
    done = run(admitted([one, two], network), network, 15)
    assert done.state is PlanState.COMPLETED
    network.actual[two.object, two.attribute] = 12_345.0  # another hand
    network.step()
    told = order(Action.ROLLBACK, done, network)
    assert told.done
    assert "left alone" in told.text
    for command in told.step.commands:
        network.receive(command)
    ended = run(told.step.plan, network, 4)
    assert network.actual[one.object, one.attribute] == 40_000.0
    assert network.actual[two.object, two.attribute] == 12_345.0
    assert ended.state is PlanState.FAILED, "a person must look at what others hold"
    assert told.step.outcomes == (), "what was measured stands"


def test_a_completed_plan_is_not_taken_back_under_another_plan(network: FakeNetwork) -> None:
    done = run(admitted([power(CELLS[0])], network), network, 15)
    told = order(Action.ROLLBACK, done, network, busy=frozenset({CELLS[0]}))
    assert not told.done
    assert "another plan holds" in told.text


@pytest.mark.parametrize("action", list(Action))
def test_an_order_that_makes_no_sense_is_refused_and_changes_nothing(action: Action, network: FakeNetwork) -> None:
    plan = admitted([power(CELLS[0])], network)
    for state in set(PlanState) - ALLOWED[action]:
        told = order(action, plan.model_copy(update={"state": state}), network)
        assert not told.done
        assert not told.step.transitions
        assert not told.step.commands
        assert f"a plan that is {state} cannot be told to {action}" in told.text


def policy_plan(network: FakeNetwork, **fields: Any) -> Plan:
    rule = Rule(when=Condition(kpi="RRU.PrbTotDl", below=20), changes=[lock(CELLS[0])])
    standing = strategy([], "policy-1", kind="policy", rules=[rule], **fields)
    return plan_from(standing, report(standing), [], GRAPH, network.actual, end(0))


def test_a_policy_stands_without_pushing_or_locking_anything(network: FakeNetwork) -> None:
    plan = admit(policy_plan(network), network.inputs(), GRAPH, SETTINGS).plan
    standing = run(plan, network, 5)
    assert standing.state is PlanState.STANDING
    assert not standing.area
    assert not standing.commands
    assert order(Action.REJECT, standing, network).step.plan.state is PlanState.CANCELLED


def test_a_policy_ends_when_its_time_is_over_or_one_of_its_changes_hurt(network: FakeNetwork) -> None:
    plan = admit(policy_plan(network, expires_ms=end(12)), network.inputs(), GRAPH, SETTINGS).plan
    assert run(plan, network, 5).state is PlanState.COMPLETED
    standing = run(admit(policy_plan(network), network.inputs(), GRAPH, SETTINGS).plan, network)
    network.step()
    hurt = advance(standing, network.inputs(hurt=frozenset({"policy-1"})), GRAPH, SETTINGS)
    assert hurt.plan.state is PlanState.CANCELLED
    assert hurt.alerts


def test_a_roll_back_is_diagnosed_but_not_one_that_a_person_ordered(network: FakeNetwork) -> None:
    holding = run(admitted([power(CELLS[0])], network), network)
    network.step()
    alarm = advance(holding, network.inputs(out_of_service=frozenset({CELLS[0]})), GRAPH, SETTINGS)
    assert alarm.diagnosis is not None
    assert (alarm.diagnosis.layer, alarm.diagnosis.cell) == (Layer.ENVIRONMENT, CELLS[0])
    assert order(Action.ABORT, holding, network).step.diagnosis is None


def test_harm_that_the_twin_had_not_foreseen_is_laid_to_it_with_kpi_and_cell(network: FakeNetwork) -> None:
    network.harm, network.harmed_by = dict.fromkeys(GRAPH.area([CELLS[0]]), 0.6), CELLS[0]
    plan, found = admitted([power(CELLS[0])], network), None
    for _ in range(8):
        network.step()
        step = advance(plan, network.inputs(), GRAPH, SETTINGS)
        found = found or step.diagnosis
        acks = [ack for command in step.commands if (ack := network.receive(command))]
        plan = acknowledge(step.plan, acks, network.inputs(), GRAPH, SETTINGS).plan
    assert found is not None
    assert (found.layer, found.kpi) == (Layer.MODEL, "DRB.UEThpDl")
    assert "configuredMaxTxPower of gnb0-1" in found.change


def test_a_network_that_refuses_is_the_environment(network: FakeNetwork) -> None:
    network.refuse = set(TOPOLOGY.managed_elements)
    plan, found = admitted([power(CELLS[0])], network), None
    for _ in range(6):
        network.step()
        step = advance(plan, network.inputs(), GRAPH, SETTINGS)
        found = found or step.diagnosis
        acks = [ack for command in step.commands if (ack := network.receive(command))]
        plan = acknowledge(step.plan, acks, network.inputs(), GRAPH, SETTINGS).plan
    assert found is not None
    assert found.layer is Layer.ENVIRONMENT
    assert "refused" in found.summary

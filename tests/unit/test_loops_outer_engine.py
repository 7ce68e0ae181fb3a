"""A plan from verdict to its end, against a network that obeys, refuses, forgets, or is changed by others."""

from collections.abc import Callable

import pytest

from loops.alerts.events import Kind
from loops.outer.engine import acknowledge, admit, advance, advance_all
from loops.outer.inputs import Inputs, Step
from loops.outer.plan import Plan, as_mapping
from loops.outer.settings import OuterSettings
from schemas.names import beam_dn
from schemas.ndt import Companion
from schemas.plans import ConfigCommand, PlanState
from schemas.telemetry import AttributeValue
from tests.outer_world import (
    CELLS,
    GRAPH,
    FakeNetwork,
    bias,
    change,
    distant_cells,
    end,
    lock,
    managed_element_of,
    plan_for,
    power,
)

SETTINGS = OuterSettings(hold_periods=3, longest_hold=8, blind_limit=3, wait_limit=3)
See = Callable[[FakeNetwork], Inputs]


class Loop:
    """The outer loop in lock-step with a fake network, one plan."""

    def __init__(self, network: FakeNetwork, plan: Plan, see: See | None = None) -> None:
        self.network, self.see = network, see or (lambda n: n.inputs())
        self.steps: list[Step] = []
        self.plan = plan
        self._take(admit(plan, self.see(network), GRAPH, SETTINGS))

    def period(self) -> Plan:
        """The network steps, then the loop does."""
        self.network.step()
        inputs = self.see(self.network)
        step = advance(self.plan, inputs, GRAPH, SETTINGS)
        self._take(step)
        self._deliver(step.commands, inputs)
        return self.plan

    def run(self, periods: int = 60) -> Plan:
        """Until the plan is done."""
        for _ in range(periods):
            if self.period().done:
                return self.plan
        raise AssertionError(f"still {self.plan.state} after {periods} periods: {self.plan.reason}")

    def until(self, state: PlanState, stage: str = "canary") -> Plan:
        """Until the plan is in that state."""
        for _ in range(60):
            if self.plan.state is state and self.plan.stage_name == stage:
                return self.plan
            self.period()
        raise AssertionError(f"never {state}; it is {self.plan.state}: {self.plan.reason}")

    def _deliver(self, commands: tuple[ConfigCommand, ...], inputs: Inputs) -> None:
        acks = [a for c in commands if (a := self.network.receive(c)) is not None]
        self._take(acknowledge(self.plan, acks, inputs, GRAPH, SETTINGS))

    def _take(self, step: Step) -> None:
        self.steps.append(step)
        self.plan = step.plan

    @property
    def path(self) -> list[str]:
        """States passed through."""
        return [t.to_state.value for s in self.steps for t in s.transitions]

    @property
    def alerts(self) -> list[str]:
        """Kinds of alerts."""
        return [a.type for s in self.steps for a in s.alerts]


@pytest.fixture
def network() -> FakeNetwork:
    """Twelve calm periods have passed."""
    network = FakeNetwork()
    network.step(12)
    return network


def two_cells() -> list[str]:
    return distant_cells(2)


def test_a_harmless_strategy_goes_canary_first_and_is_completed_with_outcomes(network: FakeNetwork) -> None:
    first, second = two_cells()
    loop = Loop(network, plan_for([power(first), power(second)], network))
    plan = loop.run()
    assert loop.path == ["PENDING", "PUSHING", "HOLDING", "PUSHING", "HOLDING", "COMPLETED"]
    assert network.actual[power(first).object, "configuredMaxTxPower"] == 20_000
    assert network.actual[power(second).object, "configuredMaxTxPower"] == 20_000
    stages = {o.stage for s in loop.steps for o in s.outcomes}
    assert stages == {"canary", "full"}
    whole = [o for s in loop.steps for o in s.outcomes if o.stage == "full" and o.cell == "" and o.kpi == "DRB.UEThpDl"]
    assert len(whole) == 1
    assert abs(whole[0].observed) < 2000
    assert whole[0].controls >= 5
    assert loop.alerts == [Kind.CHANGE_VERIFIED, Kind.STAGE_PROMOTED, Kind.PLAN_COMPLETED]
    assert [t.seq for s in loop.steps for t in s.transitions] == list(range(6))
    assert plan.done


def test_the_canary_is_one_cell_and_the_rest_waits_for_it(network: FakeNetwork) -> None:
    first, second = two_cells()
    loop = Loop(network, plan_for([power(first), power(second)], network))
    loop.until(PlanState.HOLDING)
    assert network.actual[power(first).object, "configuredMaxTxPower"] == 20_000
    assert network.actual[power(second).object, "configuredMaxTxPower"] == 40_000


def test_the_fallback_of_all_changes_is_in_the_plan_before_the_first_command_leaves(network: FakeNetwork) -> None:
    first, second = two_cells()
    plan = admit(plan_for([power(first), power(second)], network), network.inputs(), GRAPH, SETTINGS).plan
    network.step()
    step = advance(plan, network.inputs(), GRAPH, SETTINGS)
    assert len(step.commands) == 1
    assert as_mapping(step.plan.fallback) == {
        (power(c).object, "configuredMaxTxPower"): 40_000.0 for c in (first, second)
    }


def test_harm_in_the_canary_is_seen_and_taken_back(network: FakeNetwork) -> None:
    first, second = two_cells()
    before = dict(network.actual)
    network.harm, network.harmed_by = dict.fromkeys(GRAPH.area([first]), 0.6), first
    loop = Loop(network, plan_for([power(first), power(second)], network))
    plan = loop.run()
    assert plan.state is PlanState.ROLLED_BACK
    assert "harm seen" in plan.cause
    assert network.actual == before
    assert loop.alerts[-1] == Kind.PLAN_ROLLED_BACK
    assert {o.stage for s in loop.steps for o in s.outcomes} == {"canary"}


def test_an_outage_next_door_during_the_hold_rolls_back_at_once(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    neighbour = min(GRAPH.ring([cell]))
    down: set[str] = set()
    loop = Loop(network, plan_for([power(cell)], network), lambda n: n.inputs(out_of_service=frozenset(down)))
    loop.until(PlanState.HOLDING)
    down.add(neighbour)
    loop.period()
    assert loop.plan.state is PlanState.ROLLING_BACK
    assert neighbour in loop.plan.cause
    assert loop.run().state is PlanState.ROLLED_BACK


def test_an_outage_far_away_changes_nothing(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    far = next(c for c in CELLS if c not in GRAPH.area([cell]))
    loop = Loop(network, plan_for([power(cell)], network), lambda n: n.inputs(out_of_service=frozenset({far})))
    assert loop.run().state is PlanState.COMPLETED


def test_a_cell_that_the_plan_itself_locks_is_no_outage(network: FakeNetwork) -> None:
    cell = CELLS[0]
    plan = plan_for([lock(cell)], network)

    def see(n: FakeNetwork) -> Inputs:
        off = n.actual[cell, "administrativeState"] == "LOCKED"
        return n.inputs(out_of_service=frozenset({cell} if off else ()))

    loop = Loop(network, plan, see)
    loop.until(PlanState.HOLDING)
    loop.period()
    assert loop.plan.state is PlanState.HOLDING


def test_a_lost_command_is_sent_again_under_its_id_and_then_given_up(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    network.lose = {managed_element_of(cell)}
    loop = Loop(network, plan_for([power(cell)], network))
    for _ in range(SETTINGS.attempts):
        loop.period()
    sent = [c.command_id for s in loop.steps for c in s.commands]
    assert len(sent) == SETTINGS.attempts
    assert len(set(sent)) == 1
    network.lose = set()
    plan = loop.run()
    assert plan.state is PlanState.ROLLED_BACK
    assert "no answer" in plan.cause
    assert network.actual[power(cell).object, "configuredMaxTxPower"] == 40_000


def test_a_command_that_gets_through_at_the_second_attempt_is_good_enough(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    network.lose = {managed_element_of(cell)}
    loop = Loop(network, plan_for([power(cell)], network))
    loop.period()
    network.lose = set()
    assert loop.run().state is PlanState.COMPLETED
    assert len(network.applied) == 1


def test_a_refused_command_rolls_back_what_other_elements_have_applied(network: FakeNetwork) -> None:
    a = CELLS[0]
    b = next(c for c in sorted(GRAPH.ring([a])) if managed_element_of(c) != managed_element_of(a))
    network.refuse = {managed_element_of(b)}
    before = dict(network.actual)
    loop = Loop(network, plan_for([bias(a, b, 3), bias(b, a, -3)], network))
    loop.until(PlanState.ROLLING_BACK)
    assert "refused: maintenance" in loop.plan.cause
    assert len(network.applied) == 2, "one half was applied, and taken back"
    network.refuse = set()
    assert loop.run().state is PlanState.ROLLED_BACK
    assert network.actual == before


def test_an_element_that_refuses_the_fallback_as_well_needs_a_person(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    loop = Loop(
        network,
        plan_for([power(cell)], network),
        lambda n: n.inputs(out_of_service=frozenset({cell} if n.period > 15 else ())),
    )
    loop.until(PlanState.HOLDING)
    network.refuse = {managed_element_of(cell)}
    assert loop.run().state is PlanState.FAILED
    assert loop.alerts[-1] == Kind.PLAN_FAILED


def test_an_answer_that_comes_twice_or_belongs_to_nobody_changes_nothing(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    loop = Loop(network, plan_for([power(cell)], network))
    loop.until(PlanState.HOLDING)
    repeated = [network.receive(p.command) for p in loop.plan.commands]
    stranger = repeated[0].model_copy(update={"command_id": "plan-x.canary.apply.y"})  # type: ignore[union-attr]
    step = acknowledge(loop.plan, [stranger, *[a for a in repeated if a]], network.inputs(), GRAPH, SETTINGS)
    assert step.plan == loop.plan
    assert not step.transitions


def test_a_period_that_is_redone_changes_nothing(network: FakeNetwork) -> None:
    loop = Loop(network, plan_for([power(two_cells()[0])], network))
    loop.period()
    again = advance(loop.plan, network.inputs(), GRAPH, SETTINGS)
    assert again == Step(loop.plan)


def test_values_set_by_other_hands_are_reported_and_left_alone(network: FakeNetwork) -> None:
    first, second = CELLS[0], CELLS[1]
    loop = Loop(
        network, plan_for([power(first), power(second), bias(first, second, 3), bias(second, first, -3)], network)
    )
    loop.until(PlanState.HOLDING)
    theirs = (power(first).object, "configuredMaxTxPower")
    network.actual[theirs] = 33_000
    plan = loop.run()
    assert plan.state is PlanState.FAILED
    assert network.actual[theirs] == 33_000
    assert network.actual[power(second).object, "configuredMaxTxPower"] == 40_000
    assert Kind.CONFIGURATION_CONFLICT in loop.alerts
    assert "33000" in plan.reason


def test_an_acknowledgement_without_effect_is_noticed(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    stale = dict(network.actual)
    loop = Loop(network, plan_for([power(cell)], network), lambda n: n.inputs(actual=stale))
    plan = loop.run()
    assert plan.state is PlanState.ROLLED_BACK
    assert "old value" in plan.cause


def test_without_reports_nothing_is_promoted_and_the_stage_is_taken_back(network: FakeNetwork) -> None:
    network.mute = set(range(14, 200))
    loop = Loop(network, plan_for([power(two_cells()[0])], network))
    plan = loop.run()
    assert plan.state is PlanState.ROLLED_BACK
    assert "without usable data" in plan.cause
    assert "COMPLETED" not in loop.path


def test_a_closed_gate_stops_the_push_and_later_the_promotion(network: FakeNetwork) -> None:
    gate = [False]
    loop = Loop(network, plan_for([power(two_cells()[0])], network), lambda n: n.inputs(gate_open=gate[0]))
    loop.period()
    assert loop.plan.state is PlanState.PENDING
    assert "gate" in loop.plan.reason
    gate[0] = True
    loop.until(PlanState.HOLDING)
    gate[0] = False
    plan = loop.run()
    assert plan.state is PlanState.ROLLED_BACK
    assert "gate" in plan.cause


def test_a_verdict_that_expires_before_the_push_cancels(network: FakeNetwork) -> None:
    loop = Loop(
        network, plan_for([power(two_cells()[0])], network, decided=12, valid=2), lambda n: n.inputs(gate_open=False)
    )
    plan = loop.run()
    assert plan.state is PlanState.CANCELLED
    assert "expired" in plan.reason
    assert not network.applied


def test_a_verdict_that_expires_during_the_canary_never_reaches_the_full_stage(network: FakeNetwork) -> None:
    first, second = two_cells()
    loop = Loop(network, plan_for([power(first), power(second)], network, decided=12, valid=3))
    plan = loop.run()
    assert plan.state is PlanState.ROLLED_BACK
    assert "expired" in plan.cause
    assert network.actual[power(second).object, "configuredMaxTxPower"] == 40_000


def test_a_load_outside_the_verdicts_range_waits(network: FakeNetwork) -> None:
    load = [70.0]
    loop = Loop(
        network,
        plan_for([power(two_cells()[0])], network, load_low=20.0, load_high=60.0),
        lambda n: n.inputs(load_pct=load[0]),
    )
    loop.period()
    assert loop.plan.state is PlanState.PENDING
    load[0] = float("nan")
    loop.period()
    assert loop.plan.state is PlanState.PENDING
    load[0] = 50.0
    assert loop.period().begun


def test_a_lever_that_the_network_does_not_report_cancels_before_anything_is_pushed(network: FakeNetwork) -> None:
    shape = change(beam_dn(CELLS[0]), "coverageShape", 4.0)
    loop = Loop(network, plan_for([shape], network))
    plan = loop.run()
    assert plan.state is PlanState.CANCELLED
    assert f"does not report coverageShape of {shape.object}" in plan.reason
    assert loop.path == ["PENDING", "CANCELLED"]
    assert network.applied == []


def test_an_area_that_was_changed_since_the_verdict_cancels(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    loop = Loop(network, plan_for([power(cell)], network))
    network.actual[power(min(GRAPH.ring([cell]))).object, "configuredMaxTxPower"] = 30_000
    plan = loop.run()
    assert plan.state is PlanState.CANCELLED
    assert "since the verdict" in plan.reason


def test_plans_that_touch_neighbouring_cells_take_turns_by_priority(network: FakeNetwork) -> None:
    cell = two_cells()[0]
    neighbour = min(GRAPH.ring([cell]))
    plans = [
        admit(plan_for([power(c)], network, strategy_id=name, priority=p), network.inputs(), GRAPH, SETTINGS).plan
        for c, name, p in ((cell, "low", 2), (neighbour, "high", 8))
    ]
    network.step()
    steps = {s.plan.strategy.strategy_id: s for s in advance_all(plans, network.inputs(), GRAPH, SETTINGS)}
    assert steps["high"].plan.state is PlanState.PUSHING
    assert steps["low"].plan.state is PlanState.PENDING
    assert "another plan" in steps["low"].plan.reason


def test_a_new_plan_is_compared_only_once_enough_periods_were_reported() -> None:
    network = FakeNetwork()
    network.step(2)
    loop = Loop(network, plan_for([power(two_cells()[0])], network))
    loop.until(PlanState.HOLDING)
    assert loop.plan.first_push_ms == end(SETTINGS.fewest_before)


@pytest.mark.parametrize(("value", "state"), [(30_000.0, PlanState.COMPLETED), (20_000.0, PlanState.CANCELLED)])
def test_what_a_companion_of_the_verdict_set_is_no_change_since(
    value: float, state: PlanState, network: FakeNetwork
) -> None:
    cell = two_cells()[0]
    beside = power(min(GRAPH.ring([cell])))
    told = AttributeValue(object=beside.object, attribute=beside.attribute, value=value)
    companions = [Companion(strategy_id="other", changes=[told])]
    loop = Loop(network, plan_for([power(cell)], network, companions=companions))
    network.actual[beside.object, beside.attribute] = 30_000
    assert loop.run().state is state

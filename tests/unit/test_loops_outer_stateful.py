"""Whatever network, crashes and other hands do: a plan ends, and never badly without saying so."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loops.outer.engine import acknowledge, admit, advance
from loops.outer.inputs import Inputs, Step
from loops.outer.plan import Plan, as_mapping
from loops.outer.reconcile import desired, same
from loops.outer.settings import OuterSettings
from schemas.names import beam_dn
from schemas.plans import TERMINAL, ConfigAck, ConfigCommand, PlanState
from tests.outer_world import CELLS, GRAPH, FakeNetwork, bias, distant_cells, end, managed_element_of, plan_for, power

SETTINGS = OuterSettings(hold_periods=2, longest_hold=6, blind_limit=3, wait_limit=3, rollback_attempts=3)
NEIGHBOUR = next(c for c in sorted(GRAPH.ring([CELLS[0]])) if managed_element_of(c) != managed_element_of(CELLS[0]))
FAR = next(c for c in distant_cells(9) if c not in GRAPH.area([CELLS[0], NEIGHBOUR]))
CHANGES = [bias(CELLS[0], NEIGHBOUR, 3), bias(NEIGHBOUR, CELLS[0], -3), power(FAR)]
OWN = {(c.object, c.attribute) for c in CHANGES}


class OuterLoop(RuleBasedStateMachine):
    """One plan. ``stored`` is what the database has; a crash loses everything else that had not left."""

    @initialize()
    def begin(self) -> None:
        self.network = FakeNetwork()
        self.network.step(8)
        self.gate, self.down, self.load = True, False, 40.0
        self.meddled = False
        self.in_flight: list[ConfigCommand] = []
        self.acks: list[ConfigAck] = []
        self.reported_while_held = 0
        self.stored: Plan = admit(plan_for(CHANGES, self.network), self._inputs(), GRAPH, SETTINGS).plan
        self.periods = 0

    def _inputs(self) -> Inputs:
        out = frozenset({CELLS[0]}) if self.down else frozenset()
        return self.network.inputs(gate_open=self.gate, out_of_service=out, load_pct=self.load)

    # -- the world

    @rule(reports=st.booleans())
    def next_period(self, reports: bool) -> None:
        if not reports:
            self.network.mute.add(self.network.period + 1)
        self.network.step()
        self.periods += 1
        before = self.stored
        step = advance(self.stored, self._inputs(), GRAPH, SETTINGS)
        # The process may die after computing and before the commit: the same comes out again.
        assert advance(self.stored, self._inputs(), GRAPH, SETTINGS) == step
        self._commit(before, step)
        self.in_flight += step.commands
        if before.state is PlanState.HOLDING and reports:
            self.reported_while_held += 1
        if before.state is not PlanState.HOLDING:
            self.reported_while_held = 0

    @rule(data=st.data(), fate=st.sampled_from(["deliver", "deliver", "deliver", "lose", "refuse", "twice", "mute"]))
    @precondition(lambda self: bool(self.in_flight))
    def network_answers(self, data: st.DataObject, fate: str) -> None:
        # Commands to one managed element keep their order.
        elements = sorted({c.managed_element for c in self.in_flight})
        element = data.draw(st.sampled_from(elements))
        command = next(c for c in self.in_flight if c.managed_element == element)
        self.in_flight.remove(command)
        if fate == "lose":
            return
        self.network.refuse = {element} if fate == "refuse" else set()
        answers = [self.network.receive(command) for _ in range(2 if fate == "twice" else 1)]
        self.network.refuse = set()
        if fate != "mute":
            self.acks += [a for a in answers if a]

    @rule()
    @precondition(lambda self: bool(self.acks))
    def answers_arrive(self) -> None:
        before = self.stored
        self._commit(before, acknowledge(before, self.acks, self._inputs(), GRAPH, SETTINGS))
        self.acks = self.acks[-1:]  # the last one comes again

    @rule(open_=st.booleans())
    def gate_moves(self, open_: bool) -> None:
        self.gate = open_

    @rule(down=st.booleans())
    def alarm(self, down: bool) -> None:
        self.down = down

    @rule(load=st.sampled_from([40.0, float("nan")]))
    def load_moves(self, load: float) -> None:
        self.load = load

    @rule(which=st.sampled_from(sorted(OWN)))
    @precondition(lambda self: self.stored.begun)
    def other_hands(self, which: tuple[str, str]) -> None:
        self.network.actual[which] = 30_000.0 if which[1] == "configuredMaxTxPower" else 8.0
        self.meddled = True

    @rule()
    @precondition(lambda self: self.periods > 2)
    def other_hands_nearby(self) -> None:
        self.network.actual[beam_dn(CELLS[1]), "digitalTilt"] = 70.0

    # -- what always holds

    def _commit(self, before: Plan, step: Step) -> None:
        plan = step.plan
        if step.commands:
            assert plan.fallback, "a command left before the fallback was stored"
            assert {(v.object, v.attribute) for v in plan.fallback} == OWN
        promoted = {(t.from_state, t.to_state) for t in step.transitions} & {
            (PlanState.HOLDING, PlanState.PUSHING),
            (PlanState.HOLDING, PlanState.COMPLETED),
        }
        if promoted:
            assert self.gate, "promoted behind a closed gate"
            assert self.network.period not in self.network.mute, "promoted without data of this period"
            assert self.reported_while_held + 1 >= SETTINGS.hold_periods, "promoted too early"
        if any(t.to_state is PlanState.PUSHING for t in step.transitions):
            assert self.gate
            assert end(self.network.period) <= plan.valid_until_ms
        self.stored = plan

    @invariant()
    def a_command_is_applied_at_most_once(self) -> None:
        assert len(self.network.applied) == len(set(self.network.applied))

    @invariant()
    def a_final_state_stays(self) -> None:
        if self.stored.done:
            assert self.stored.state in TERMINAL

    def teardown(self) -> None:
        """In a calm world the plan ends soon, and the network is as the plan says."""
        if not hasattr(self, "stored"):
            return
        self.gate, self.down = True, False
        for _ in range(80):
            while self.in_flight:
                answer = self.network.receive(self.in_flight.pop(0))
                self.acks += [answer] if answer else []
            if self.acks:
                self._commit(self.stored, acknowledge(self.stored, self.acks, self._inputs(), GRAPH, SETTINGS))
                self.acks = []
            if self.stored.done:
                break
            self.next_period(True)
        plan = self.stored
        assert plan.done, f"still {plan.state}: {plan.reason}"
        self._ends_as_it_says(plan)

    def _ends_as_it_says(self, plan: Plan) -> None:
        if plan.state is PlanState.CANCELLED:
            assert not self.network.applied
        if plan.state is PlanState.FAILED:
            assert plan.reason
        if self.meddled:
            return
        if plan.state is PlanState.COMPLETED:
            wanted = desired(plan)
            assert set(wanted) == OWN
            assert all(same(self.network.actual[k], v) for k, v in wanted.items())
        if plan.state is PlanState.ROLLED_BACK:
            fallback = as_mapping(plan.fallback)
            assert all(same(self.network.actual[k], fallback[k]) for k in desired(plan))


TestOuterLoop = OuterLoop.TestCase
TestOuterLoop.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)

"""The outer loop's role: approved strategies into the network, stage by stage, and out again where they do harm.

Delivery order, for each period that the inner loop has finished (docs/outer_loop.md says what happens if it dies
after a step, and which test kills it there):

1. in one database transaction: make plans of new approved verdicts, see what the network reported, take in answers that
   came late, carry out a person's orders, advance every plan; write plans, transitions, commands, outcomes, alerts and
   audit, each event with its outbox row;
2. publish the outbox: commands leave;
3. as answers come, in one transaction each: take them into the plans, with the position they were read to;
   publish what follows;
4. when every command is answered, or the deadline has passed: report the period as done. What is unanswered then is
   sent again in the next period, under its id.

A period that is done again finds its plans advanced (step 1 changes nothing), publishes what is pending, and waits for
the answers that are missing. On start: claim the network (one outer loop acts, others stand by).
"""

import threading
import time
from contextlib import ExitStack, closing
from dataclasses import replace

import structlog

from infra.metrics import PLANS, STEP_SECONDS
from infra.roles.base import Context, keep_trying, stand_by
from infra.roles.inbox import Inbox
from infra.roles.outer_sight import Sight
from infra.roles.publishing import OutboxPublisher
from infra.storage import progress
from infra.storage.database import Connection, Database
from infra.storage.exceptions import ProgressTimeout
from infra.storage.orders import OrderAnswer, answer, open_orders
from infra.storage.plans import approved_without_plan, load_plan, open_plans, record, write_audit
from infra.topologies import load_topology
from loops.exceptions import LoopError
from loops.inner.guards import in_force
from loops.outer.engine import acknowledge, admit, advance_all, held
from loops.outer.inputs import Inputs, Step
from loops.outer.neighbours import NeighbourGraph, neighbour_graph
from loops.outer.orders import carry_out
from loops.outer.plan import Plan, plan_from
from schemas.plans import ConfigAck
from schemas.topics import CONFIG_ACKS, TOPICS
from schemas.topology import Topology

NAME = "outer"
_AFTER = "inner"  # the role whose periods are followed
_LOOK_AGAIN_S = 0.5
_POLL_S = 0.2


def build(context: Context) -> "OuterRole":
    """The outer loop of the context's network."""
    return OuterRole(context)


class OuterRole:
    """Deploys, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context = context
        self._policy = context.settings.outer.policy
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        keep_trying(NAME, stop, lambda: self._attempt(stop))

    def _attempt(self, stop: threading.Event) -> None:
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            if not stand_by(database, f"{NAME}|{context.network_id}", stop):
                return
            topology = load_topology(database, context.network_id, stop)
            if topology is None:
                return
            context.transport.ensure_topics(TOPICS)
            publisher = stack.enter_context(closing(OutboxPublisher(context, NAME)))
            answers = stack.enter_context(closing(Inbox(context, CONFIG_ACKS, ConfigAck, NAME, database)))
            watch = stack.enter_context(progress.ProgressWatch(context.database_url))
            work = _Work(context, topology, database, publisher, answers)
            publisher.publish(database)
            done = self._done(database)
            while not stop.is_set():
                period = self._next(database, watch, done)
                if period is None:
                    continue
                began = time.monotonic()
                if work.period(period, stop):
                    done = period
                STEP_SECONDS.labels(NAME).observe(time.monotonic() - began)

    def _done(self, database: Database) -> int:
        with database.transaction() as connection:
            return progress.reached(connection, self._context.network_id).get(NAME, -1)

    def _next(self, database: Database, watch: progress.ProgressWatch, done: int) -> int | None:
        """The newest period that the inner loop has finished and this one has not; None if there is none yet.

        In lock-step that is the next one. Beside a network that does not wait, older ones are skipped: nothing may be
        pushed on what was true some periods ago.
        """
        network = self._context.network_id
        try:
            watch.wait(network, [_AFTER], done + 1, _LOOK_AGAIN_S)
        except ProgressTimeout:
            return None
        with database.transaction() as connection:
            return progress.reached(connection, network)[_AFTER]


class _Work:
    """The four steps."""

    def __init__(
        self,
        context: Context,
        topology: Topology,
        database: Database,
        publisher: OutboxPublisher,
        answers: Inbox[ConfigAck],
    ) -> None:
        self._context, self._database = context, database
        self._publisher, self._answers = publisher, answers
        self._policy = context.settings.outer.policy
        self._graph: NeighbourGraph = neighbour_graph(topology)
        self._sight = Sight(context, topology, self._policy)
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id)

    def period(self, period_end_ms: int, stop: threading.Event) -> bool:
        """Steps 1 to 4 for one period; False if told to stop before it was done."""
        late = self._answers.poll(0)
        with self._database.transaction() as connection:
            plans, steps, inputs = self._advance(connection, period_end_ms, late)
        self._tell(steps)
        self._context.after_step(NAME, 1, period_end_ms)
        self._publisher.publish(self._database)
        self._context.after_step(NAME, 2, period_end_ms)
        if not self._await_answers(plans, inputs, stop):
            return False
        self._context.after_step(NAME, 3, period_end_ms)
        with self._database.transaction() as connection:
            progress.report(connection, self._context.network_id, NAME, period_end_ms)
        self._context.after_step(NAME, 4, period_end_ms)
        return True

    def _advance(
        self, connection: Connection, period_end_ms: int, late: list[ConfigAck]
    ) -> tuple[list[Plan], list[Step], Inputs]:
        """Step 1; the open plans as they are now, what was done, and on what grounds."""
        plans = open_plans(connection, self._context.network_id)
        inputs = self._sight.of_period(connection, period_end_ms, plans)
        steps = self._take_in(connection, plans, late, inputs) if late else []
        plans = [s.plan for s in steps] if late else plans
        admitted = self._admit(connection, inputs)
        plans += [s.plan for s in admitted]
        plans, ordered = self._orders(connection, plans, inputs)
        advanced = advance_all(plans, inputs, self._graph, self._policy)
        before = {p.plan_id: p for p in plans}
        moved = [*admitted, *(s for s in advanced if s.plan != before[s.plan.plan_id])]
        for step in moved:
            record(connection, NAME, step, period_end_ms)
        return [s.plan for s in advanced if not s.plan.done], [*steps, *ordered, *moved], inputs

    def _orders(self, connection: Connection, plans: list[Plan], inputs: Inputs) -> tuple[list[Plan], list[Step]]:
        """Carry out what people have ordered; the open plans after it."""
        network, period_end_ms = self._context.network_id, inputs.period_end_ms
        current = {p.plan_id: p for p in plans}
        steps = []
        for asked in open_orders(connection, network):
            plan = current.get(asked.plan_id) or load_plan(connection, network, asked.plan_id)
            busy = held(p for p in current.values() if p.plan_id != plan.plan_id)
            told = carry_out(plan, asked.order, replace(inputs, busy=busy), self._graph, self._policy)
            answer(connection, network, asked.order_id, OrderAnswer(told.text, told.done), period_end_ms)
            if told.done:
                record(connection, NAME, told.step, period_end_ms)
                steps.append(told.step)
                current[plan.plan_id] = told.step.plan
        return [p for p in current.values() if not p.done], steps

    def _take_in(self, connection: Connection, plans: list[Plan], acks: list[ConfigAck], inputs: Inputs) -> list[Step]:
        """Give answers to the plans, and keep the position they were read to."""
        steps = [acknowledge(plan, acks, inputs, self._graph, self._policy) for plan in plans]
        for step, before in zip(steps, plans, strict=True):
            if step.plan != before:
                record(connection, NAME, step, inputs.period_end_ms)
        self._answers.save(connection)
        return steps

    def _admit(self, connection: Connection, inputs: Inputs) -> list[Step]:
        """Plans for verdicts that approve and have none yet."""
        context, steps = self._context, []
        for strategy, report, judged_by in approved_without_plan(connection, context.network_id, inputs.period_end_ms):
            known = self._sight.known_at(connection, report.revisions).configuration
            guards = judged_by or in_force(strategy.guards, context.settings.inner.design.guards)
            try:
                plan = plan_from(strategy, report, guards, self._graph, known or inputs.actual, inputs.period_end_ms)
            except LoopError as error:
                self._log.error("an approved strategy cannot become a plan", job=report.job_id, error=str(error))
                write_audit(
                    connection, context.network_id, inputs.period_end_ms, NAME, "refused", report.job_id,
                    {"reason": str(error)},
                )  # fmt: skip
                continue
            steps.append(admit(plan, inputs, self._graph, self._policy))
        return steps

    def _await_answers(self, plans: list[Plan], inputs: Inputs, stop: threading.Event) -> bool:
        """Step 3."""
        end = time.monotonic() + self._context.settings.outer.ack_deadline_s
        while awaited := [c for plan in plans for c in plan.awaited]:
            if stop.is_set():
                return False
            left_s = end - time.monotonic()
            if left_s <= 0:
                self._log.warning("commands without answer; they are sent again next period", commands=awaited)
                break
            acks = self._answers.poll(min(_POLL_S, left_s))
            if not acks:
                continue
            with self._database.transaction() as connection:
                steps = self._take_in(connection, plans, acks, inputs)
            self._tell(steps)
            self._publisher.publish(self._database)
            plans = [s.plan for s in steps]
        return True

    def _tell(self, steps: list[Step]) -> None:
        """Metrics and log of transitions, once they are durable."""
        for step in steps:
            for t in step.transitions:
                PLANS.labels(t.network_id, t.to_state.value).inc()
                self._log.info("plan", plan=t.plan_id, state=t.to_state.value, stage=t.stage, reason=t.reason)

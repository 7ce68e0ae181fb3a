"""A person's orders about plans: what each does in which state, and what is answered."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from loops.alerts.events import Kind
from loops.outer.inputs import Inputs, Note, Step
from loops.outer.neighbours import NeighbourGraph
from loops.outer.plan import Plan
from loops.outer.run import Run
from loops.outer.settings import OuterSettings
from schemas.plans import PlanState

S = PlanState


class Action(StrEnum):
    """What a person may order."""

    APPROVE = "approve"
    REJECT = "reject"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"


class Order(NamedTuple):
    """An order that is to be carried out."""

    action: Action
    actor: str
    reason: str = ""

    @property
    def words(self) -> str:
        """Who ordered it, and why."""
        return f"ordered by {self.actor}" + (f": {self.reason}" if self.reason else "")


class Answer(NamedTuple):
    """What became of an order, and the plan's step where it was carried out."""

    step: Step
    text: str
    done: bool


# Where each order makes sense.
ALLOWED: dict[Action, frozenset[PlanState]] = {
    Action.APPROVE: frozenset({S.AWAITING}),
    Action.REJECT: frozenset({S.AWAITING, S.PENDING, S.STANDING}),
    Action.PAUSE: frozenset({S.PENDING, S.PUSHING, S.HOLDING, S.STANDING}),
    Action.RESUME: frozenset({S.PENDING, S.PUSHING, S.HOLDING, S.STANDING}),
    Action.ABORT: frozenset({S.AWAITING, S.PENDING, S.PUSHING, S.HOLDING, S.STANDING}),
    Action.ROLLBACK: frozenset({S.PUSHING, S.HOLDING, S.COMPLETED}),
}


def carry_out(plan: Plan, order: Order, inputs: Inputs, graph: NeighbourGraph, settings: OuterSettings) -> Answer:
    """Carry an order out, or say why not. The same order given twice changes nothing the second time."""
    run = Run(plan, inputs, graph, settings)
    state = plan.state or S.PENDING
    if refusal := _refusal(plan, order, inputs):
        return Answer(Step(plan), refusal, done=False)
    run.ordered = True
    run.notes.append(Note(f"ordered to {order.action}", {"actor": order.actor, "reason": order.reason}))
    text = _DO[order.action](run, state, order)
    return Answer(run.step(), text, done=True)


def _refusal(plan: Plan, order: Order, inputs: Inputs) -> str:
    state = plan.state or S.PENDING
    if state not in ALLOWED[order.action]:
        possible = ", ".join(s.value for s in PlanState if s in ALLOWED[order.action])
        return f"a plan that is {state} cannot be told to {order.action}; only one that is {possible}"
    if order.action is Action.PAUSE and plan.paused_by:
        return f"it is paused already, by {plan.paused_by}"
    if order.action is Action.RESUME and not plan.paused_by:
        return "it is not paused"
    if order.action is Action.APPROVE and inputs.period_end_ms > plan.valid_until_ms:
        return "its verdict has expired; hand the strategy in again"
    if state is S.COMPLETED:
        if not plan.fallback:
            return "it changed nothing that could be rolled back"
        if held := inputs.busy & frozenset(plan.area):
            return f"another plan holds {', '.join(sorted(held)[:3])}; wait until it has ended, or abort it"
        if not inputs.actual:
            return "the configuration is not known as of this period; try again in the next"
    return ""


def _approve(run: Run, state: PlanState, order: Order) -> str:
    run.go(S.PENDING, f"approved, {order.words}")
    return "approved"


def _end(run: Run, state: PlanState, order: Order) -> str:
    """Reject or abort: what was pushed is rolled back, what was not is cancelled."""
    word = "rejected" if order.action is Action.REJECT else "aborted"
    if state in (S.PUSHING, S.HOLDING):
        return _back(run, state, order)
    run.go(S.CANCELLED, f"{word}, {order.words}")
    run.tell(Kind.PLAN_CANCELLED, f"«{run.plan.strategy.title}» was {word}, {order.words}", actor=order.actor)
    return word


def _pause(run: Run, state: PlanState, order: Order) -> str:
    run.set(paused_by=order.actor)
    return "paused: nothing is promoted, harm is still rolled back"


def _resume(run: Run, state: PlanState, order: Order) -> str:
    run.set(paused_by="")
    return "resumed"


def _back(run: Run, state: PlanState, order: Order) -> str:
    word = "roll-back" if order.action is Action.ROLLBACK else order.action.value
    found = run.reconcile() if state is S.COMPLETED else None
    if state is S.COMPLETED:
        run.set(held_ms=None)  # its outcomes are written, and stand
    foreign = found.foreign if found else None
    run.roll_back(f"{word} {order.words}", foreign)
    left = f"; other hands hold {len(foreign)} attributes, which are left alone" if foreign else ""
    return f"rolling back{left}"


_DO: dict[Action, Callable[[Run, PlanState, Order], str]] = {
    Action.APPROVE: _approve,
    Action.REJECT: _end,
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.ABORT: _end,
    Action.ROLLBACK: _back,
}

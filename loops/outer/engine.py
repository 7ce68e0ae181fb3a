"""One period in the life of a plan, as a pure function of the plan and of what is seen.

Nothing here waits, sends or stores. Whoever calls stores the plan and everything in the step in one transaction and
sends the commands after it; a period that is redone finds the plan already advanced and changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from loops.alerts.events import Kind
from loops.outer.approval import needs_person
from loops.outer.begun import holding, pushing, rolling_back, stage_in_force
from loops.outer.inputs import Inputs, Note, Step
from loops.outer.neighbours import NeighbourGraph
from loops.outer.pending import awaiting, pending
from loops.outer.plan import CommandStatus, Plan, PushedCommand
from loops.outer.run import Run
from loops.outer.settings import OuterSettings
from loops.outer.standing import standing
from schemas.plans import AckStatus, ConfigAck, PlanState


def admit(plan: Plan, inputs: Inputs, graph: NeighbourGraph, settings: OuterSettings) -> Step:
    """A new plan becomes PENDING, or AWAITING a person, and its change is announced as verified."""
    run = Run(plan, inputs, graph, settings)
    if why := needs_person(plan, graph, settings.approval):
        run.go(PlanState.AWAITING, f"verdict approved; a person must approve: {why}")
        summary = f"«{plan.strategy.title}» was verified; `twinloop plans approve {plan.plan_id}` lets it begin: {why}"
        run.tell(Kind.APPROVAL_NEEDED, summary, agent=plan.strategy.agent)
    else:
        run.go(PlanState.PENDING, "verdict approved")
    run.tell(Kind.CHANGE_VERIFIED, f"«{plan.strategy.title}» was verified: approved", agent=plan.strategy.agent)
    return run.step()


def advance(plan: Plan, inputs: Inputs, graph: NeighbourGraph, settings: OuterSettings) -> Step:
    """Advance a plan by one period. A period at or before its last one changes nothing."""
    if plan.done or inputs.period_end_ms <= plan.advanced_ms:
        return Step(plan)
    run = Run(plan, inputs, graph, settings)
    run.set(advanced_ms=inputs.period_end_ms)
    match plan.state:
        case PlanState.AWAITING:
            awaiting(run)
        case PlanState.STANDING:
            standing(run)
        case PlanState.PENDING:
            pending(run)
        case PlanState.PUSHING:
            pushing(run)
        case PlanState.HOLDING:
            holding(run)
        case PlanState.ROLLING_BACK:
            rolling_back(run)
    return run.step()


def acknowledge(
    plan: Plan, acks: Sequence[ConfigAck], inputs: Inputs, graph: NeighbourGraph, settings: OuterSettings
) -> Step:
    """Take in answers of the network. An answer that repeats, or that belongs to nobody, changes nothing.

    A refused command is not sent again here but in the next period, so that attempts are as far apart as periods.
    """
    # Of several answers the one that says the command took effect counts: a refusal may be that of an earlier attempt.
    answers = {a.command_id: a for a in sorted(acks, key=lambda a: a.status is not AckStatus.REJECTED)}
    run = Run(plan, inputs, graph, settings)
    commands = tuple(_answered(p, answers.get(p.command.command_id), run.now) for p in plan.commands)
    if plan.done or commands == plan.commands:
        return run.step()
    for before, after in zip(plan.commands, commands, strict=True):
        if after is not before:
            detail = {"command": after.command.command_id, "status": after.status.value, "reason": after.reason}
            run.notes.append(Note("answered", detail))
    run.set(commands=commands)
    if plan.state is PlanState.PUSHING and stage_in_force(run):
        run.hold()
    return run.step()


def advance_all(plans: Sequence[Plan], inputs: Inputs, graph: NeighbourGraph, settings: OuterSettings) -> list[Step]:
    """Advance plans that must not touch the same or neighbouring cells at once.

    Those that have begun go first, then by priority (10 before 1), then by time of verdict, then by id.
    """
    current = {p.plan_id: p for p in plans}
    steps = []
    for plan in sorted(plans, key=lambda p: (not p.begun, -p.strategy.priority, p.decided_at_ms, p.plan_id)):
        busy = held(p for p in current.values() if p.plan_id != plan.plan_id)
        step = advance(plan, replace(inputs, busy=inputs.busy | busy), graph, settings)
        current[plan.plan_id] = step.plan
        steps.append(step)
    return steps


def _answered(pushed: PushedCommand, ack: ConfigAck | None, now: int) -> PushedCommand:
    """The command with its answer; what is applied stays applied."""
    if ack is None or pushed.status is CommandStatus.APPLIED:
        return pushed
    status = CommandStatus.REJECTED if ack.status is AckStatus.REJECTED else CommandStatus.APPLIED
    if status is pushed.status:
        return pushed
    return pushed.model_copy(update={"status": status, "answered_ms": now, "reason": ack.reason})


def held(plans: Iterable[Plan]) -> frozenset[str]:
    """Cells that plans lock: those they change and their neighbours, from the first push until they are done."""
    return frozenset(c for p in plans if p.begun for c in p.area)

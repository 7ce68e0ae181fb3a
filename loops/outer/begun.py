"""A plan that has touched the network: pushing, holding, rolling back."""

from loops.alerts.events import Kind
from loops.outer.judgement import Decision
from loops.outer.plan import CommandStatus, as_mapping, as_values
from loops.outer.reconcile import Reconciliation, desired, differing, same
from loops.outer.run import Run, listed
from schemas.plans import PlanState


def stage_in_force(run: Run) -> bool:
    """Whether every command of the present stage is known to be applied."""
    return not run.open_commands("apply", run.plan.stage.name)


def pushing(run: Run) -> None:
    """Commands are out: wait, send again, or give up."""
    if _interrupted(run):
        return None
    _believe_reports(run, run.reconcile())
    if stage_in_force(run):
        return run.hold()
    missing = run.open_commands("apply", run.plan.stage.name)
    spent = [p for p in missing if p.attempts >= run.settings.attempts]
    if spent:
        said = spent[0].reason or "no answer"
        if spent[0].status is CommandStatus.REJECTED:
            said = f"refused: {said}"
        return run.roll_back(f"{spent[0].command.managed_element} after {spent[0].attempts} attempts: {said}")
    if run.now > run.plan.valid_until_ms:
        return run.roll_back("the verdict expired while the stage was being pushed")
    if not run.inputs.gate_open:
        return _wait_or_roll_back(run, "the twin's fidelity gate is closed")
    run.resend(missing)
    return None


def holding(run: Run) -> None:
    """The stage is in force: watch, promote or roll back."""
    if _interrupted(run):
        return None
    plan, settings = run.plan, run.settings
    found = run.reconcile()
    assert plan.held_ms is not None
    if found and found.fallen_back and run.periods_since(plan.held_ms) >= settings.report_grace:
        return run.roll_back(f"acknowledged, yet the network reports the old value: {_names(found.fallen_back)}")
    judgement = run.judge()
    if judgement.decision is Decision.ROLL_BACK:
        return run.roll_back(judgement.reason)
    settled = run.periods_since(plan.held_ms) > settings.settle_periods
    if not run.inputs.gate_open or (settled and not (judgement.usable and run.reports_now())):
        why = "usable data" if run.inputs.gate_open else "an open fidelity gate"
        run.set(blind=plan.blind + 1)
        if run.plan.blind >= settings.blind_limit:
            return run.roll_back(f"{run.plan.blind} periods of the hold without {why}; never promoted blindly")
        return run.wait(f"held without {why}")
    if judgement.decision is Decision.HOLD:
        return run.wait(judgement.reason)
    if plan.paused_by:
        return run.wait(f"paused by {plan.paused_by}")
    if found is None or not found.complete:
        return _wait_or_roll_back(run, "the network does not report the stage's values yet")
    return _promote(run, judgement.reason)


def rolling_back(run: Run) -> None:
    """Fallback commands are out: done when the network reports the fallback."""
    plan, settings = run.plan, run.settings
    fallback, wanted = as_mapping(plan.fallback), desired(plan)
    left = as_mapping(plan.left_alone)
    own = [k for k in wanted if k not in left]
    actual = run.inputs.actual
    taken = {
        k: actual[k] for k in own if k in actual and not (same(actual[k], fallback[k]) or same(actual[k], wanted[k]))
    }
    if taken:
        left |= taken
        run.set(left_alone=as_values(left.items()))
        _report_conflict(run)
        own = [k for k in own if k not in taken]
    astray = [k for k in own if k not in actual or not same(actual[k], fallback[k])]
    unanswered = run.open_commands("rollback")
    tired = [p for p in unanswered if p.attempts >= settings.rollback_attempts]
    if not astray and len(tired) == len(unanswered):
        return _rolled_back(run)
    if tired:
        return _fail(run, f"{tired[0].command.managed_element} cannot be reverted: {tired[0].reason or 'no answer'}")
    if unanswered:
        return run.resend(unanswered)
    answered_ms = max((p.answered_ms or 0 for p in plan.of_kind("rollback")), default=run.now)
    known_for = run.periods_since(answered_ms)
    if (actual and known_for >= settings.report_grace) or known_for >= settings.wait_limit:
        return _fail(
            run, f"reverting was acknowledged, yet the network does not report it: {_names(frozenset(astray))}"
        )
    return None


def _interrupted(run: Run) -> bool:
    """Roll back at once for what no statistics are needed to see: alarms and other hands."""
    if down := run.alarmed():
        run.roll_back(f"out of service during the {run.plan.stage.name} stage: {', '.join(sorted(down))}")
        return True
    found = run.reconcile()
    if found and found.foreign:
        run.roll_back(f"changed by other hands: {listed(as_values(found.foreign.items()))}", found.foreign)
        _report_conflict(run)
        return True
    return False


def _believe_reports(run: Run, found: Reconciliation | None) -> None:
    """Commands whose every value the network reports are applied, answered or not."""
    if found is None:
        return
    commands = tuple(
        p.model_copy(update={"status": CommandStatus.APPLIED, "reason": "seen in force", "answered_ms": run.now})
        if p.command.kind == "apply"
        and p.status is not CommandStatus.APPLIED
        and all((c.object, c.attribute) in found.in_force for c in p.command.changes)
        else p
        for p in run.plan.commands
    )
    if commands != run.plan.commands:
        run.set(commands=commands)


def _promote(run: Run, reason: str) -> None:
    plan = run.plan
    if plan.stage_index + 1 == len(plan.stages):
        run.promoted()
        run.go(PlanState.COMPLETED, reason)
        return run.tell(Kind.PLAN_COMPLETED, f"«{plan.strategy.title}» is in force: {reason}")
    if run.now > plan.valid_until_ms:
        return run.roll_back("the verdict expired before the next stage could be pushed")
    following = {(c.object, c.attribute) for c in plan.stages[plan.stage_index + 1].changes}
    expected = [v for v in plan.fallback if (v.object, v.attribute) in following]
    if changed := differing(expected, run.inputs.actual):
        return run.roll_back(f"the next stage's cells were changed by other hands: {listed(changed)}")
    if hindrance := run.hindrance():
        return _wait_or_roll_back(run, hindrance)
    run.promoted()
    run.tell(Kind.STAGE_PROMOTED, f"the {plan.stage.name} stage of «{plan.strategy.title}» did no harm: {reason}")
    return run.push(plan.stage_index + 1, reason)


def _wait_or_roll_back(run: Run, reason: str) -> None:
    run.set(waited=run.plan.waited + 1)
    if run.plan.waited >= run.settings.wait_limit:
        return run.roll_back(f"waited {run.plan.waited} periods: {reason}")
    return run.wait(reason)


def _rolled_back(run: Run) -> None:
    plan = run.plan
    if plan.left_alone:
        return _fail(run, f"own changes are reverted; other hands hold {listed(plan.left_alone)}")
    run.go(PlanState.ROLLED_BACK, "the network reports the fallback")
    return run.tell(Kind.PLAN_ROLLED_BACK, f"«{plan.strategy.title}» was rolled back: {plan.cause}", cause=plan.cause)


def _fail(run: Run, reason: str) -> None:
    run.go(PlanState.FAILED, reason)
    run.tell(
        Kind.PLAN_FAILED,
        f"«{run.plan.strategy.title}» needs a person: {reason}",
        cause=run.plan.cause,
        left_alone=listed(run.plan.left_alone),
    )


def _report_conflict(run: Run) -> None:
    run.tell(
        Kind.CONFIGURATION_CONFLICT,
        f"other hands changed what «{run.plan.strategy.title}» had set; their values are left alone",
        values=listed(run.plan.left_alone),
    )


def _names(keys: frozenset[tuple[str, str]]) -> str:
    return ", ".join(f"{attribute} of {dn}" for dn, attribute in sorted(keys))

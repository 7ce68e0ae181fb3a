"""A plan that waits for its turn: is the verdict still good, and is this the moment?"""

from collections.abc import Iterable

from loops.alerts.events import Kind
from loops.outer.plan import as_mapping
from loops.outer.reconcile import differing, same
from loops.outer.run import Run, listed
from loops.outer.standing import begin
from schemas.ndt import Companion
from schemas.plans import PlanState
from schemas.telemetry import AttributeValue


def awaiting(run: Run) -> None:
    """Wait for a person as long as the verdict holds."""
    if run.now > run.plan.valid_until_ms:
        _cancel(run, "the verdict expired before a person approved it")


def pending(run: Run) -> None:
    """Push the canary, wait, or cancel."""
    plan = run.plan
    if run.now > plan.valid_until_ms:
        waited = f"; it had waited because {plan.reason}" if plan.reason else ""
        return _cancel(run, f"the verdict expired before anything was pushed{waited}")
    if plan.paused_by:
        return run.wait(f"paused by {plan.paused_by}")
    if plan.strategy.standing:
        return begin(run)
    if run.inputs.actual and (obstacle := _obstacle(run)):
        return _cancel(run, obstacle)
    reported = run.inputs.history.until(run.now).period_ends_ms
    if len(reported) < run.settings.fewest_before:
        return run.wait(f"{len(reported)} periods reported; {run.settings.fewest_before} are needed to compare with")
    if hindrance := run.hindrance():
        return run.wait(hindrance)
    return run.push(0, "verdict valid, gate open; fallback stored")


def _obstacle(run: Run) -> str | None:
    """Why the plan makes no sense any more."""
    actual, plan = run.inputs.actual, run.plan
    changes = [c for s in plan.stages for c in s.changes]
    unknown = [c for c in changes if (c.object, c.attribute) not in actual]
    if unknown:
        names = ", ".join(f"{c.attribute} of {c.object}" for c in unknown[:3])
        return f"the network does not report {names}, so there would be nothing to fall back to"
    changed = differing(plan.assumed, actual)
    if changed and not any(_explains(c, changed) for c in plan.companions):
        return f"the area was changed since the verdict: {listed(changed[:3])}"
    if all(same(actual[c.object, c.attribute], c.value) for c in changes):
        return "everything is as the strategy wants it already"
    return None


def _explains(companion: Companion, changed: Iterable[AttributeValue]) -> bool:
    """Whether all that has changed is as a strategy that was verified together with this one sets it."""
    new = as_mapping(companion.changes)
    return all((c.object, c.attribute) in new and same(c.value, new[c.object, c.attribute]) for c in changed)


def _cancel(run: Run, reason: str) -> None:
    run.go(PlanState.CANCELLED, reason)
    run.tell(Kind.PLAN_CANCELLED, f"«{run.plan.strategy.title}» was not pushed: {reason}")

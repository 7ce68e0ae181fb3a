"""A schedule or policy in force: it pushes nothing itself, and ends when it expires or when one of its changes hurt."""

from loops.alerts.events import Kind
from loops.outer.run import Run
from schemas.plans import PlanState


def begin(run: Run) -> None:
    """Put it into force."""
    run.go(PlanState.STANDING, "in force: each change it brings forth is verified by itself")


def standing(run: Run) -> None:
    """End it, or leave it in force."""
    strategy = run.plan.strategy
    if strategy.strategy_id in run.inputs.hurt:
        run.go(PlanState.CANCELLED, "a change that it brought forth was rolled back")
        run.tell(Kind.PLAN_CANCELLED, f"«{strategy.title}» ends: a change that it brought forth was rolled back")
    elif strategy.expires_ms and run.now >= strategy.expires_ms:
        run.go(PlanState.COMPLETED, "its time is over")
        run.tell(Kind.PLAN_COMPLETED, f"«{strategy.title}» has ended: its time is over")

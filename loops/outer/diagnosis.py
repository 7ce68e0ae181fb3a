"""Why a plan is rolled back, from what the outer loop sees: alarms, answers, reports and comparisons."""

from collections.abc import Sequence

from loops.outer.inputs import Inputs
from loops.outer.judgement import Decision, Judgement
from loops.outer.plan import CommandStatus, Plan
from schemas.names import cell_of, short_name
from schemas.ndt import Diagnosis, Layer
from schemas.strategies import ConfigChange


def diagnose(plan: Plan, judgement: Judgement | None, inputs: Inputs, down: Sequence[str]) -> Diagnosis:
    """The layer in which the cause of a roll-back lies, with KPI, cell and change where they are known.

    Parameters
    ----------
    plan
        As it begins to roll back, with its cause.
    down
        Changed or neighbouring cells that are out of service, though not by the plan's own order.
    """
    if down:
        return Diagnosis(layer=Layer.ENVIRONMENT, cell=down[0], summary=f"a failure it was not made for: {plan.cause}")
    if judgement is not None and judgement.decision is Decision.ROLL_BACK:
        return _harmed(plan, judgement)
    if plan.left_alone:
        cell = cell_of(plan.left_alone[0].object)
        return Diagnosis(layer=Layer.ENVIRONMENT, cell=cell, summary=f"other hands: {plan.cause}")
    if not inputs.gate_open:
        return Diagnosis(layer=Layer.MODEL, summary=f"the twin is not to be trusted: {plan.cause}")
    if any(p.status is not CommandStatus.APPLIED and p.command.kind == "apply" for p in plan.commands):
        return Diagnosis(layer=Layer.ENVIRONMENT, summary=f"the network did not do as told: {plan.cause}")
    if plan.blind:
        return Diagnosis(layer=Layer.DATA, summary=f"nothing to judge by: {plan.cause}")
    return Diagnosis(layer=Layer.ENVIRONMENT, summary=plan.cause[:2000])


def _harmed(plan: Plan, judgement: Judgement) -> Diagnosis:
    """The verdict had foreseen no harm and the network shows it: the twin was wrong there."""
    if not judgement.evidence:
        return Diagnosis(layer=Layer.MODEL, summary=f"the network shows what the twin did not: {plan.cause}"[:2000])
    worst = max(judgement.evidence, key=lambda e: (e.beyond, e.log_e, e.harm))
    changes = [c for s in plan.stages[: plan.stage_index + 1] for c in s.changes]
    own = [c for c in changes if cell_of(c.object) == worst.where] or (changes if len(changes) == 1 else [])
    foreseen = next((p for p in plan.predictions if (p.kpi, p.cell) == (worst.watch.kpi, worst.where)), None)
    said = f"; the twin had foreseen a change of {foreseen.predicted:.4g}" if foreseen else ""
    return Diagnosis(
        layer=Layer.MODEL,
        kpi=worst.watch.kpi,
        cell=worst.where,
        change_id=own[0].change_id if own else "",
        change=", ".join(map(_words, own)),
        summary=f"{worst.text()}{said}"[:2000],
    )


def _words(change: ConfigChange) -> str:
    value = change.value if isinstance(change.value, str) else f"{change.value:g}"
    return f"{change.attribute} of {short_name(cell_of(change.object))} to {value}"

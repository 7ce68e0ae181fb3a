"""Who may let a verified plan begin: a rule, by risk class and blast radius, or a person."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from loops.outer.neighbours import NeighbourGraph
from loops.outer.plan import Plan
from schemas.levers import RATIOS, UNLOCKED
from schemas.names import cell_of

# Levers whose worst case is an inconvenience; others can take coverage away.
_MILD = frozenset({"cellIndividualOffset", *RATIOS})


class Risk(StrEnum):
    """How bad a mistake would be."""

    LOW = "low"  # handover biases and slice shares
    MEDIUM = "medium"  # power, beams, single cells switched off
    HIGH = "high"  # several cells off the air at once


_ORDER = (Risk.LOW, Risk.MEDIUM, Risk.HIGH)


class ApprovalSettings(BaseModel):
    """What a rule may approve; the rest waits for a person until its verdict expires."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    highest_risk: Risk = Field(default=Risk.MEDIUM, description="Highest risk class that needs no person")
    largest_share: float = Field(
        default=0.25, gt=0, le=1, description="Largest share of the network's cells that may change without a person"
    )
    cells_off: int = Field(default=2, ge=0, description="From more cells switched off at once on, the risk is high")


def risk_of(plan: Plan, settings: ApprovalSettings) -> Risk:
    """Risk class of a plan, from what it may change."""
    changes = plan.strategy.all_changes
    off = {cell_of(c.object) for c in changes if c.attribute == "administrativeState" and c.value != UNLOCKED}
    if len(off) > settings.cells_off:
        return Risk.HIGH
    return Risk.LOW if all(c.attribute in _MILD for c in changes) else Risk.MEDIUM


def needs_person(plan: Plan, graph: NeighbourGraph, settings: ApprovalSettings) -> str:
    """Why a person must approve the plan; '' where the rule suffices."""
    risk = risk_of(plan, settings)
    if _ORDER.index(risk) > _ORDER.index(settings.highest_risk):
        return f"its risk is {risk}; without a person up to {settings.highest_risk}"
    changed = {cell_of(c.object) for c in plan.strategy.all_changes}
    share = len(changed) / len(graph.cells)
    if share > settings.largest_share:
        most = f"{settings.largest_share:.0%}"
        return f"it changes {len(changed)} of {len(graph.cells)} cells; without a person up to {most}"
    return ""

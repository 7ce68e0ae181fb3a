"""Deployment: plans and their states (TS 28.572), commands, acknowledgements, outcomes."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.base import EpochMs, Event, Identifier, Number
from schemas.names import ManagedElementDn
from schemas.strategies import ConfigChange


class PlanState(StrEnum):
    """States of a plan in the outer loop."""

    AWAITING = "AWAITING"  # verified, waiting for a person to approve it
    PENDING = "PENDING"  # approved, waiting for its turn
    PUSHING = "PUSHING"  # commands of the present stage are out
    HOLDING = "HOLDING"  # stage applied, being watched
    STANDING = "STANDING"  # a schedule or policy in force; the changes it brings forth have plans of their own
    ROLLING_BACK = "ROLLING_BACK"  # fallback commands are out
    COMPLETED = "COMPLETED"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"  # could neither be applied nor fully reverted; a person must look
    CANCELLED = "CANCELLED"  # verdict expired or a conflict before anything was pushed


# Nothing happens to these by itself; a person may still order a completed one to be rolled back.
TERMINAL = frozenset({PlanState.COMPLETED, PlanState.ROLLED_BACK, PlanState.FAILED, PlanState.CANCELLED})


class PlanTransition(Event):
    """A plan went from one state to the next."""

    plan_id: Identifier
    strategy_id: Identifier
    job_id: Identifier
    seq: int = Field(ge=0)
    from_state: PlanState | None
    to_state: PlanState
    stage: str = Field(description="canary, full, or '' outside a stage")
    reason: str = Field(default="", max_length=4000)
    time_ms: EpochMs


class ConfigCommand(Event):
    """Set these attributes on one managed element. A repeat with the same id changes nothing."""

    command_id: Identifier = Field(description="Derived from plan, stage, direction and element")
    plan_id: Identifier
    stage: Identifier
    kind: Literal["apply", "rollback"]
    managed_element: ManagedElementDn
    changes: list[ConfigChange] = Field(min_length=1)
    time_ms: EpochMs


class AckStatus(StrEnum):
    """What became of a command."""

    APPLIED = "APPLIED"
    REJECTED = "REJECTED"
    DUPLICATE = "DUPLICATE"


class ConfigAck(Event):
    """The network's answer to a command."""

    command_id: Identifier
    managed_element: ManagedElementDn
    status: AckStatus
    reason: str = Field(default="", max_length=2000)
    time_ms: EpochMs


class Outcome(Event):
    """Predicted against observed change of one KPI in one stage; ``cell`` is empty for the whole stage."""

    plan_id: Identifier
    stage: Identifier
    kpi: Identifier
    cell: str
    predicted: Number
    low: Number
    high: Number
    observed: Number = Field(description="Change against before, less the change of the control cells")
    controls: int = Field(ge=0, description="How many control cells the observation rests on")
    time_ms: EpochMs

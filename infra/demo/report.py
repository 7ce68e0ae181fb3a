"""The demo's report: what happened, as numbers that a program or a person may read."""

from pydantic import BaseModel, ConfigDict, Field

from schemas.base import Number
from schemas.twin import EventCounts


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class NetworkPart(_Part):
    """Which network it was."""

    name: str
    hash: str = Field(description="Of its parameters")
    cells: int


class TwinPart(_Part):
    """How the twin ended."""

    revision: int
    state_hash: str
    gate_open: bool
    fidelity: dict[str, Number]


class StrategiesPart(_Part):
    """Strategies by verdict."""

    proposed: int
    approved: int
    rejected: int
    inconclusive: int
    standing: int = Field(description="Of the proposed, changes that a schedule or policy brought forth")


class PlansPart(_Part):
    """Plans by how they ended."""

    completed: int
    rolled_back: int
    failed: int
    cancelled: int
    open: int
    approved_by_person: int


class AlertsPart(_Part):
    """Alerts on the topic."""

    sent: int


class ConflictsPart(_Part):
    """Conflicts between strategies."""

    found: int
    resolved: int


class ConflictPart(_Part):
    """One conflict."""

    kind: str
    first: str = Field(description="Title of the strategy of higher priority, or the earlier")
    second: str
    kpi: str
    cell: str
    resolution: str
    detail: str


class ModelsPart(_Part):
    """Learned models."""

    updates: int
    promotions: int
    refused: int
    rolled_back: int


class DiagnosisPart(_Part):
    """Why a strategy failed."""

    strategy: str
    title: str
    layer: str
    kpi: str
    cell: str
    change: str
    summary: str


class VerdictPart(_Part):
    """One verdict."""

    strategy: str
    title: str
    agent: str
    period: int
    verdict: str
    p_harm: Number
    p_harm_high: Number
    reason: str


class OutcomePart(_Part):
    """Predicted against observed."""

    plan: str
    title: str = Field(description="Of the plan's strategy")
    aimed: bool = Field(description="Whether this KPI is what the strategy is for")
    stage: str
    kpi: str
    cell: str
    predicted: Number
    low: Number
    high: Number
    observed: Number


class Invariant(_Part):
    """Something that must hold whatever the seed."""

    name: str
    holds: bool
    detail: str = ""


class DemoReport(_Part):
    """``report.json``."""

    seed: int
    duration_s: float
    periods: int
    network: NetworkPart
    events: EventCounts
    twin: TwinPart
    strategies: StrategiesPart
    plans: PlansPart
    alerts: AlertsPart
    conflicts: ConflictsPart
    models: ModelsPart
    verdicts: list[VerdictPart]
    conflicting: list[ConflictPart]
    diagnoses: list[DiagnosisPart]
    outcomes: list[OutcomePart]
    restarts: dict[str, int] = Field(description="Role processes that were started again after a signal killed them")
    not_occurred: list[str] = Field(description="What the demo can show and this seed did not bring")
    invariants: list[Invariant]

    @property
    def sound(self) -> bool:
        """Whether every invariant holds."""
        return all(i.holds for i in self.invariants)

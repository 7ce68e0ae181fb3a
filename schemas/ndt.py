"""Verification: NDT jobs, their shards of work and results, and the report with its verdict (TS 28.561)."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.base import EpochMs, Event, Identifier, Number, Probability, Record
from schemas.strategies import Guard, Strategy
from schemas.telemetry import AttributeValue


class Verdict(StrEnum):
    """What verification says. Missing or stale data is INCONCLUSIVE, never a pass."""

    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    INCONCLUSIVE = "INCONCLUSIVE"


class NdtShard(Event):
    """A piece of a verification job: roll strategy and present configuration over the same perturbed scenarios."""

    job_id: Identifier
    shard_index: int = Field(ge=0)
    shards: int = Field(ge=1)
    region: Identifier
    revision: int = Field(ge=0, description="Twin revision to fork")
    seed: int = Field(ge=0, description="Seed of the whole job; a scenario's draws depend on it and its index alone")
    scenario_classes: list[str] = Field(description="One per scenario of this shard")
    first_scenario: int = Field(ge=0)
    horizon_periods: int = Field(ge=1, le=10_000)
    strategy: Strategy
    guards: list[Guard] = Field(description="All guards in force, defaults included")
    attempt: int = Field(default=1, ge=1)
    scenario_design: str = Field(
        default="",
        description="JSON of the classes' severities (loops.inner.scenarios.ScenarioSet); '' for the defaults",
    )


class NdtShardResult(Event):
    """Sufficient statistics of one shard: per scenario, what each KPI was with and without the strategy."""

    job_id: Identifier
    shard_index: int = Field(ge=0)
    worker: Identifier
    kpis: list[str] = Field(description="[M]")
    cells: list[str] = Field(description="[C] DNs; position C of the arrays is the whole network")
    baseline: list[Number] = Field(description="[n, M, C + 1] row-major, mean over the horizon")
    candidate: list[Number] = Field(description="[n, M, C + 1] row-major, mean over the horizon")
    breached: list[str] = Field(description="[n] the guard that the strategy breaches first, '' where none")
    compute_s: float = Field(ge=0)
    error: str = Field(default="", description="Why the shard could not be computed, '' if it could")
    attempt: int = Field(default=1, ge=1, description="The attempt of the shard that this answers")


class ScenarioOutcome(Record):
    """Harm in one class of scenario."""

    scenario_class: Identifier
    scenarios: int = Field(ge=0)
    harmful: int = Field(ge=0)
    p_harm: Number
    p_harm_low: Number
    p_harm_high: Number


class Prediction(Record):
    """Predicted change of one KPI; ``cell`` is empty for the whole network."""

    kpi: Identifier
    cell: str = ""
    baseline: Number
    predicted: Number = Field(description="Candidate minus baseline, mean over scenarios")
    low: Number = Field(description="5th percentile")
    high: Number = Field(description="95th percentile")


class ConflictKind(StrEnum):
    """Kinds of conflict between two strategies (O-RAN WG3)."""

    DIRECT = "direct"  # both set the same attribute, to different values
    INDIRECT = "indirect"  # different attributes, and one harms what the other is for
    IMPLICIT = "implicit"  # each does no harm alone, together they do


class Conflict(Record):
    """Two strategies that do not go together, and what was done about it (ConflictInformation of TS 28.567)."""

    conflict_id: Identifier
    kind: ConflictKind
    first: Identifier = Field(description="Strategy id; the one of higher priority, or the earlier")
    second: Identifier
    kpi: str = Field(default="", description="The KPI on which they clash, '' where they set the same attribute")
    cell: str = Field(default="", description="Where; '' for the whole network")
    detail: str = Field(default="", max_length=2000)
    resolution: Literal["priority", "joint", "alone", "open"] = Field(
        description="priority: the higher one stays; joint: both go together; alone: the one that does more good stays"
    )
    kept: list[str] = Field(default_factory=list, description="Strategy ids that may go on")
    deferred: list[str] = Field(default_factory=list, description="Strategy ids that may not")


class Layer(StrEnum):
    """Where the cause of a failure lies."""

    DATA = "data"  # telemetry is missing, stale or wrong
    MODEL = "model"  # the twin is wrong, or not sure enough, about what decides
    ALGORITHM = "algorithm"  # the strategy itself does harm, or no good
    ENVIRONMENT = "environment"  # something happened, or may happen, that the strategy does not withstand


class Diagnosis(Record):
    """Why a strategy failed, in verification or in the network."""

    layer: Layer
    kpi: str = Field(default="", description="3GPP name, '' where no KPI decided")
    cell: str = Field(default="", description="DN, '' for the whole network")
    change_id: str = Field(default="", description="The change that caused it, '' where none did")
    change: str = Field(default="", description="The same in words")
    share: Number = Field(default=0.0, description="Part of the harm that is gone without that change, 0..1")
    summary: str = Field(max_length=2000)


class Companion(Record):
    """Another strategy that may go on and, as both were verified together, goes well with this one."""

    strategy_id: Identifier
    changes: list[AttributeValue] = Field(description="What it sets")


class NdtReport(Event):
    """The verdict on a strategy, with what it rests on and what it does not cover."""

    job_id: Identifier
    strategy_id: Identifier
    region: Identifier
    verdict: Verdict
    reason: str = Field(max_length=4000)
    p_harm: Number
    p_harm_low: Number
    p_harm_high: Number = Field(description="One-sided upper bound at the stated confidence")
    alpha: Probability = Field(description="Harm probability that must not be exceeded")
    confidence: Probability
    p_benefit: Number
    scenarios: list[ScenarioOutcome]
    not_covered: list[str]
    predictions: list[Prediction]
    revisions: dict[str, int] = Field(description="Region to twin revision the verdict was made on")
    model_versions: dict[str, str]
    decided_at_ms: EpochMs
    valid_until_ms: EpochMs
    load_low: Number = Field(description="Network PRB use below which the verdict does not hold, %")
    load_high: Number
    conflicts: list[Conflict] = Field(default_factory=list, description="With other open strategies")
    companions: list[Companion] = Field(default_factory=list, description="Whose changes do not put the verdict out")
    diagnosis: Diagnosis | None = Field(default=None, description="Why it was not approved")

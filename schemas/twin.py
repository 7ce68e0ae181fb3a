"""What the processors and the twin say: features, anomalies, revisions."""

from pydantic import Field

from schemas.base import EpochMs, Event, Identifier, Number, Record
from schemas.names import CellDn
from schemas.telemetry import PartitionOffset


class Features(Event):
    """Features of one cell over one event-time window."""

    cell: CellDn
    window_start_ms: EpochMs
    window_end_ms: EpochMs
    names: list[str]
    values: list[Number]


class Anomaly(Event):
    """How unusual a cell's latest features are."""

    cell: CellDn
    time_ms: EpochMs
    score: float = Field(ge=0, le=1)
    threshold: float = Field(ge=0, le=1)
    kpi: Identifier = Field(description="The feature that contributes most")
    model_version: Identifier


class EventCounts(Record):
    """Where every ingested event went. ingested = applied + duplicate + late + dead_lettered + in_flight."""

    ingested: int = Field(ge=0, description="Distinct offsets read")
    applied: int = Field(ge=0)
    duplicate: int = Field(ge=0)
    late: int = Field(ge=0)
    dead_lettered: int = Field(ge=0)
    in_flight: int = Field(ge=0)
    reinjected: int = Field(default=0, ge=0, description="Dead letters sent again; counted apart")


class KpiFidelity(Record):
    """How well the twin predicted one KPI one period ahead."""

    kpi: Identifier
    score: Number = Field(description="1 is perfect, 0 is no better than the gate's reference; NaN before data")
    gate: float = Field(description="The score below which the outer loop is blocked")


class TwinUpdate(Event):
    """A new revision of a region's twin."""

    region: Identifier
    revision: int = Field(ge=0)
    period_end_ms: EpochMs
    frontier: list[PartitionOffset]
    state_hash: Identifier
    model_versions: dict[str, str]
    fidelity: list[KpiFidelity]
    gate_open: bool = Field(description="Whether measured fidelity lets the outer loop act")
    counts: EventCounts

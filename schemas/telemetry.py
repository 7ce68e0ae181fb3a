"""What the network reports: PM counters, measurement reports, alarms, configuration; and the end of a period."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import EpochMs, Event, Identifier, Number, Record
from schemas.names import CellDn, Dn, ManagedElementDn


class CellCounters(Record):
    """PM counters of one cell for one granularity period."""

    cell: CellDn
    values: list[Number] = Field(max_length=4096, description="In the order of the report's layout; NaN where missing")
    suspect: bool = Field(default=False, description="The producer doubts these values (TS 32.435 suspect flag)")


class PmReport(Event):
    """PM counters of the cells of one managed element for one granularity period (TS 28.552)."""

    managed_element: ManagedElementDn
    period_end_ms: EpochMs
    granularity_s: int = Field(gt=0, le=86_400, description="Length of the period, seconds")
    layout: Identifier = Field(description="Name of the counter layout, e.g. nr-cell-v1")
    collection: Literal["delta", "cumulative"] = Field(
        default="delta", description="Whether CC counters count this period or run on since the last reset"
    )
    cells: list[CellCounters] = Field(max_length=512)
    element_values: list[Number] = Field(
        default_factory=list,
        max_length=256,
        description="Counters of the managed element itself, in layout order",
    )

    @property
    def time_ms(self) -> int:
        """Event time: the end of the period."""
        return self.period_end_ms


class MeasurementReport(Event):
    """Radio measurements of the users of one managed element (TS 38.331 measurement reports, MDT).

    Columns of equal length N, one entry per report; ``rsrp_dbm`` is row-major [N, len(cells)].
    """

    managed_element: ManagedElementDn
    time_ms: EpochMs = Field(description="End of the period in which the reports were made")
    cells: list[CellDn] = Field(max_length=512, description="The cells that the columns of rsrp_dbm stand for")
    report_ms: list[int] = Field(description="[N] when each report was made, epoch milliseconds")
    ue: list[str] = Field(description="[N] pseudonym of the user, never an IMSI, SUPI or MSISDN")
    x_m: list[Number] = Field(description="[N] metres east of the origin, NaN where unknown")
    y_m: list[Number] = Field(description="[N] metres north of the origin, NaN where unknown")
    serving: list[int] = Field(description="[N] index into cells")
    sinr_db: list[Number] = Field(description="[N] SS-SINR of the serving cell, dB")
    rsrp_dbm: list[Number] = Field(description="[N * len(cells)] SS-RSRP, dBm, NaN where not measured")

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        n = len(self.ue)
        for name in ("report_ms", "x_m", "y_m", "serving", "sinr_db"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} entries where ue has {n}")
        if len(self.rsrp_dbm) != n * len(self.cells):
            raise ValueError(f"rsrp_dbm has {len(self.rsrp_dbm)} entries, not {n} x {len(self.cells)}")
        if any(not 0 <= i < len(self.cells) for i in self.serving):
            raise ValueError("serving points outside cells")
        return self


class Severity(StrEnum):
    """Perceived severity (ITU-T X.733, TS 28.111)."""

    CRITICAL = "CRITICAL"
    MAJOR = "MAJOR"
    MINOR = "MINOR"
    WARNING = "WARNING"
    INDETERMINATE = "INDETERMINATE"
    CLEARED = "CLEARED"


class Alarm(Event):
    """An alarm raised, changed or cleared (TS 28.111)."""

    managed_element: ManagedElementDn
    time_ms: EpochMs
    alarm_id: Identifier = Field(description="The same from raise to clear")
    object: Dn = Field(description="What the alarm is about")
    probable_cause: Identifier
    severity: Severity = Field(description="CLEARED ends the alarm")
    text: str = Field(default="", max_length=2000)


class AttributeValue(Record):
    """One attribute of one managed object (TS 28.541)."""

    object: Dn
    attribute: Identifier
    value: float | str


class ConfigurationReport(Event):
    """Configuration of a managed element, in full or what changed (TS 28.541 attributes, TS 28.532 notifications)."""

    managed_element: ManagedElementDn
    time_ms: EpochMs
    kind: Literal["snapshot", "change"]
    values: list[AttributeValue]
    command_id: str | None = Field(default=None, description="The command that caused the change, where one did")


class PartitionOffset(Record):
    """A position in a partition: everything before ``offset`` is meant."""

    topic: Identifier
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class PeriodEnd(Event):
    """The barrier between two granularity periods: what had been reported when the period ended.

    Whoever feeds a network's telemetry into Kafka (the bridge, a replay, the sequencer for producers that do not
    know of barriers) writes it after the period's events are acknowledged. A reader that processes exactly the
    offsets below it, whatever the order in which they arrive, gets the same state as any other reader.
    """

    period_end_ms: EpochMs
    granularity_s: int = Field(gt=0, le=86_400)
    offsets: list[PartitionOffset] = Field(description="Next offset of every telemetry partition, exclusive")

"""Settings of governance: what counts as possible, and how long to remember."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS


class Range(NamedTuple):
    """Closed interval of possible values."""

    low: float
    high: float


class GovernanceSettings(BaseModel):
    """How telemetry is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ranges: dict[str, Range] = Field(
        default_factory=dict, description="Ranges of PM counters that replace those of the catalogue, by 3GPP name"
    )
    rsrp_dbm: Range = Field(
        default=Range(-200.0, 0.0),
        description="Possible SS-RSRP; wider than the reporting range of TS 38.133 (-156 to -31)",
    )
    sinr_db: Range = Field(
        default=Range(-60.0, 80.0),
        description="Possible SS-SINR; wider than the reporting range of TS 38.133 (-23 to 40)",
    )
    position_m: Range = Field(default=Range(-1e6, 1e6), description="Possible coordinates of a user, metres")
    remember_periods: int = Field(
        default=60,
        ge=1,
        description="For how many periods cleared alarms and the ids of alarms and configuration are kept",
    )

    def range_of(self, counter: str) -> Range:
        """The range of a counter, cell or element.

        >>> GovernanceSettings(ranges={"RRU.PrbTotDl": (0, 120)}).range_of("RRU.PrbTotDl").high
        120.0
        """
        known = CELL_COUNTERS.get(counter) or ELEMENT_COUNTERS[counter]
        return self.ranges.get(counter, Range(known.low, known.high))

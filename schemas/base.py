"""What all events share.

Events are immutable pydantic models. Times are integers, Unix epoch milliseconds in UTC, and are event times.
A missing number is NaN in Python and on Kafka, and ``null`` in JSON.
"""

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from schemas.names import NetworkId


def _null_to_nan(value: Any) -> Any:
    return math.nan if value is None else value


def _nan_to_null(value: float) -> float | None:
    return None if math.isnan(value) else value


# A number that may be missing. One type on the wire (double), so that a column decodes without looking at unions.
Number = Annotated[
    float,
    BeforeValidator(_null_to_nan),
    PlainSerializer(_nan_to_null, return_type=float | None, when_used="json"),
]
MAX_EPOCH_MS = 253_402_300_799_999  # the last millisecond of the year 9999
EpochMs = Annotated[int, Field(ge=0, le=MAX_EPOCH_MS, description="Unix epoch, milliseconds, UTC")]
Identifier = Annotated[str, Field(min_length=1, max_length=200)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Record(BaseModel):
    """A value nested in an event."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Event(Record):
    """Anything that travels on a topic."""

    network_id: NetworkId
    event_id: Identifier = Field(description="Unique within the network and topic; a repeat is a duplicate")

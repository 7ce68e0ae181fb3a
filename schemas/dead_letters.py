"""Events that could not be used: dead letters with a typed reason, and events too late for their period."""

from enum import StrEnum

from pydantic import Field

from schemas.base import EpochMs, Event
from schemas.telemetry import PartitionOffset


class Reason(StrEnum):
    """Why an event was dead-lettered."""

    UNDECODABLE = "undecodable"  # not Confluent wire format, unknown schema id, corrupt Avro
    INVALID = "invalid"  # decoded, but breaks its schema's constraints
    BAD_KEY = "bad_key"  # the key is no network|managed-element, or contradicts the value
    UNKNOWN_ELEMENT = "unknown_element"  # a managed element or cell that the topology lacks
    UNKNOWN_LAYOUT = "unknown_layout"  # counters in a layout nobody registered, or of the wrong length
    OUT_OF_RANGE = "out_of_range"  # a counter or measurement outside what is physically possible
    BAD_TIME = "bad_time"  # not on a period boundary, or from the future
    NOT_PSEUDONYMOUS = "not_pseudonymous"  # a user id that looks like a subscriber's identity


class DeadLetter(Event):
    """An unusable event, byte for byte, with where it came from and why it was refused."""

    origin: PartitionOffset
    key: bytes
    value: bytes = Field(description="The event as it was; emptied where keeping it would keep a subscriber's identity")
    reason: Reason
    detail: str = Field(max_length=4000)
    stage: str = Field(description="Which operator refused it")
    attempt: int = Field(default=1, ge=1, description="1, plus how often it has been re-injected")
    time_ms: EpochMs = Field(description="End of the period in which it was refused")


class LateEvent(Event):
    """An event that arrived after its period was closed."""

    origin: PartitionOffset
    key: bytes
    value: bytes
    managed_element: str
    period_end_ms: EpochMs = Field(description="The period it belongs to")
    closed_ms: EpochMs = Field(description="The period that was last closed when it came")

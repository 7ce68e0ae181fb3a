"""Learned models: versions, promotions, roll-backs."""

from typing import Literal

from pydantic import Field

from schemas.base import EpochMs, Event, Identifier, Number


class ModelEvent(Event):
    """A model changed: a new challenger, a promotion into the twin, a roll-back, or a refusal."""

    region: Identifier = Field(default="1", description="Whose twin it serves")
    model: Identifier
    version: Identifier
    parent: str = Field(default="", description="Version that was in force; of a roll-back the one that comes back")
    action: Literal["challenger", "promoted", "rolled_back", "refused"]
    champion_score: Number
    challenger_score: Number
    parameters: str = Field(default="", description="JSON, or base64 of safetensors")
    reason: str = Field(default="", max_length=2000)
    time_ms: EpochMs

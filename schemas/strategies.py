"""Strategies: what an agent or a person proposes to change, to what end, and what must not happen."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import EpochMs, Event, Identifier, Record
from schemas.levers import problem_with
from schemas.names import Dn


class ConfigChange(Record):
    """One attribute to set (an entry of TS 28.572 configChanges)."""

    change_id: Identifier
    object: Dn
    attribute: Identifier
    value: float | str
    modify_operator: Literal["merge"] = "merge"

    @model_validator(mode="after")
    def _settable(self) -> Self:
        problem = problem_with(self.object, self.attribute, self.value)
        if problem:
            raise ValueError(problem)
        return self


class Direction(StrEnum):
    """Which way an objective or guard looks."""

    UP = "up"
    DOWN = "down"


class Objective(Record):
    """What the strategy is for: move one KPI of the whole network one way, by at least so much."""

    kpi: Identifier = Field(description="3GPP name, e.g. PEE.AvgPower")
    direction: Direction
    min_gain: float = Field(default=0, ge=0, description="Smallest worthwhile relative change, e.g. 0.02")


class Guard(Record):
    """A limit that the change must not push a KPI over where the present configuration keeps it.

    Harm is a guard breached by the candidate in a scenario in which the baseline keeps it. A guard with both limits is
    breached when both are exceeded: worse by more than ``relative``, and beyond ``absolute``. Where either alone
    should count, state two guards.
    """

    kpi: Identifier
    scope: Literal["cell", "network"] = "cell"
    direction: Direction = Field(
        description="UP: the KPI must stay above the limit (a floor); DOWN: below it (a ceiling)"
    )
    absolute: float | None = Field(default=None, description="Limit in the KPI's unit")
    relative: float | None = Field(
        default=None, ge=0, description="Largest tolerated relative change for the worse against the baseline"
    )

    @model_validator(mode="after")
    def _has_limit(self) -> Self:
        if self.absolute is None and self.relative is None:
            raise ValueError("a guard needs an absolute or a relative limit")
        return self


class Strategy(Event):
    """A proposal: configuration changes with an objective and guards."""

    strategy_id: Identifier
    region: Identifier = "1"
    agent: Identifier = Field(description="Who proposes: an agent's name, or person:NAME")
    title: str = Field(max_length=300)
    kind: Literal["change"] = "change"
    changes: list[ConfigChange] = Field(min_length=1, max_length=1000)
    objective: Objective
    guards: list[Guard] = Field(default_factory=list, description="Beside the defaults of the guards file")
    priority: int = Field(default=5, ge=1, le=10, description="cCLPriority of TS 28.567: 1 lowest to 10")
    proposed_at_ms: EpochMs
    revision: int = Field(ge=0, description="Twin revision it was made on")
    rationale: str = Field(default="", max_length=2000)

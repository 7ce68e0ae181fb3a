"""Strategies: what an agent or a person proposes to change, to what end, and what must not happen.

A strategy is a *change* that is made once, a *schedule* of changes by time of day, or a *policy* of rules that act by
themselves. Schedules and policies are *standing*: approved, they stay in force and bring forth changes, each of which
names its parent and is verified by itself before it is pushed.
"""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import EpochMs, Event, Identifier, Record
from schemas.levers import problem_with
from schemas.names import CellDn, Dn


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

    @property
    def sign(self) -> float:
        """1 upwards, -1 downwards."""
        return 1.0 if self is Direction.UP else -1.0


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


class ScheduleEntry(Record):
    """Changes to make every day at one time."""

    at_minute: int = Field(ge=0, le=1439, description="Minute of the day, UTC")
    changes: list[ConfigChange] = Field(min_length=1, max_length=1000)


class Condition(Record):
    """A KPI beyond a threshold for so many periods in a row (TriggerDescriptor of TS 28.572)."""

    kpi: Identifier = Field(description="3GPP name")
    cells: list[CellDn] = Field(default_factory=list, description="Which cells to look at; none: the whole network")
    statistic: Literal["mean", "max", "min"] = Field(default="mean", description="Over those cells")
    above: float | None = Field(default=None, description="True while the KPI is above this, in its unit")
    below: float | None = Field(default=None, description="True while the KPI is below this")
    periods: int = Field(default=1, ge=1, le=1000, description="numberOfTrueEvaluations: periods in a row")

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("a condition has one threshold: above or below")
        return self


class Rule(Record):
    """Changes to make when a condition has come true. Where they are in force already, nothing is done."""

    when: Condition
    changes: list[ConfigChange] = Field(min_length=1, max_length=1000)


class Strategy(Event):
    """A proposal: configuration changes with an objective and guards."""

    strategy_id: Identifier
    region: Identifier = "1"
    agent: Identifier = Field(description="Who proposes: an agent's name, or person:NAME")
    title: str = Field(max_length=300)
    kind: Literal["change", "schedule", "policy"] = "change"
    changes: list[ConfigChange] = Field(default_factory=list, max_length=1000, description="Of a change")
    schedule: list[ScheduleEntry] = Field(default_factory=list, max_length=96, description="Of a schedule")
    rules: list[Rule] = Field(default_factory=list, max_length=64, description="Of a policy")
    rest_periods: int = Field(default=5, ge=1, le=10_000, description="Least time between two actions of a policy")
    expires_ms: int = Field(default=0, ge=0, description="When a standing strategy ends by itself; 0: never")
    parent: str = Field(default="", max_length=200, description="Standing strategy that brought this change forth")
    objective: Objective
    guards: list[Guard] = Field(default_factory=list, description="Beside the defaults of the guards file")
    priority: int = Field(default=5, ge=1, le=10, description="cCLPriority of TS 28.567: 1 lowest to 10")
    proposed_at_ms: EpochMs
    revision: int = Field(ge=0, description="Twin revision it was made on")
    rationale: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        parts = {"change": self.changes, "schedule": self.schedule, "policy": self.rules}
        if not parts[self.kind]:
            raise ValueError(f"a {self.kind} needs {'rules' if self.kind == 'policy' else self.kind + ' entries'}")
        if foreign := [name for name, part in parts.items() if part and name != self.kind]:
            raise ValueError(f"a {self.kind} cannot be a {foreign[0]} as well; write two strategies")
        if self.parent and self.kind != "change":
            raise ValueError("only a change can have a parent")
        return self

    @property
    def standing(self) -> bool:
        """Whether it stays in force and brings forth changes."""
        return self.kind != "change"

    @property
    def must_gain(self) -> bool:
        """Whether it has to bring its gain at once. What is standing gains when its time comes, and a change that it
        brings forth is a part of it: these must only do no harm."""
        return not self.standing and not self.parent

    @property
    def all_changes(self) -> list[ConfigChange]:
        """Every change it may make, whatever its kind."""
        parts = [self.changes, *(e.changes for e in self.schedule), *(r.changes for r in self.rules)]
        return [change for part in parts for change in part]

"""How strategies are verified: scenarios, horizon, guards, and the errors that a verdict may make."""

from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from loops.inner.guards import load_guards
from loops.inner.scenarios import ScenarioSet
from schemas.base import Record
from schemas.strategies import Guard


class Design(Record):
    """What every verification of an installation has in common.

    A verdict may wrongly approve a strategy that is harmful with more than ``alpha`` probability in some class of
    scenario, or wrongly reject one that is harmful with less, each with probability at most ``1 - confidence``.
    """

    scenarios: ScenarioSet = Field(default_factory=ScenarioSet)
    guards: list[Guard] = Field(default_factory=load_guards, description="In force for every strategy")
    alpha: float = Field(
        default=0.1, gt=0, lt=1, description="Probability of harm that a change may have in any class of scenario"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Of the whole verdict, over all its looks")
    looks: tuple[int, ...] = Field(
        default=(12, 36, 60),
        min_length=1,
        description="Scenarios of each class after which a verdict may fall; the last is the most that are run",
    )
    horizon_periods: int = Field(default=6, ge=1, le=1000, description="Periods that each roll-out looks ahead")
    validity_periods: int = Field(default=10, ge=1, description="Periods for which a verdict holds")
    oldest_periods: int = Field(default=3, ge=0, description="A revision older than this is too stale to verify on")

    @model_validator(mode="after")
    def _can_end(self) -> Self:
        if any(b <= a for a, b in pairwise((0, *self.looks))):
            raise ValueError(f"looks must rise: {self.looks}")
        if not self.approving:
            fewest = smallest_sample(self.alpha, 1 - self.confidence)
            raise ValueError(
                f"with {self.looks[-1]} scenarios a class nothing can be approved: {fewest} harmless ones are needed "
                f"to bound harm by {self.alpha:g} at confidence {self.confidence:g}; raise looks or alpha"
            )
        return self

    @property
    def approving(self) -> tuple[int, ...]:
        """The looks at which a strategy without any harm would be approved; earlier ones can only reject."""
        for k in range(len(self.looks), 0, -1):
            if self.looks[-k] >= smallest_sample(self.alpha, (1 - self.confidence) / k):
                return self.looks[-k:]
        return ()

    @property
    def approval_error(self) -> float:
        """Error of one look that may approve: they share the verdict's equally (Bonferroni)."""
        return (1 - self.confidence) / len(self.approving)

    @property
    def rejection_error(self) -> float:
        """Error of one look in rejecting: all looks share the verdict's equally."""
        return (1 - self.confidence) / len(self.looks)

    @property
    def total(self) -> int:
        """Scenarios of a whole job, all classes."""
        return self.looks[-1] * len(self.scenarios.classes)


def smallest_sample(alpha: float, error: float) -> int:
    """How many harmless scenarios bound the probability of harm by alpha: (1 - alpha)^n <= error.

    >>> smallest_sample(0.05, 0.025)
    72
    """
    n = 1
    while (1 - alpha) ** n > error:
        n += 1
    return n

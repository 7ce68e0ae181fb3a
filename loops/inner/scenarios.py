"""Classes of scenario: what may happen to the network while a change is in force, and how severe it may be.

The drawing itself is the twin's (`twin_core.scenarios.draw`): a scenario depends on the job's seed and its own index
alone, never on the shard it travels in or on the worker. Here stands which classes a verification covers.
"""

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from loops.exceptions import UnknownScenario
from schemas.base import Record
from twin_core.network import Network
from twin_core.scenarios import (
    CELL_FAILURE,
    CLASSES,
    HOTSPOT,
    MEASUREMENT_ERROR,
    NOMINAL,
    RADIO_DRIFT,
    SURGE,
    Scenarios,
    Spreads,
    draw,
)

# Classes that describe what is expected: usual variation, and the twin's own errors. Benefit and predictions rest on
# these; the others ask what would happen if, and count for harm alone.
EXPECTED = frozenset({NOMINAL, MEASUREMENT_ERROR})

# A verdict holds for minutes. Within those, demand that doubles is another network, for which another verdict is
# asked; 40 % more is what an event or an outage next door brings.
SEVERITY = Spreads(surge=(1.1, 1.4), hotspot_share=(0.05, 0.15))

_ABSENT = {
    SURGE: "a surge of demand",
    HOTSPOT: "a crowd at one place",
    CELL_FAILURE: "failure of a cell",
    MEASUREMENT_ERROR: "errors of measured demand",
    RADIO_DRIFT: "changes of propagation",
}


class ScenarioSet(Record):
    """The classes that a verification covers, each judged for itself, and their severities."""

    classes: tuple[str, ...] = Field(default=CLASSES, min_length=1, description=f"Any of {', '.join(CLASSES)}")
    spreads: Spreads = Field(default=SEVERITY, description="How widely perturbations are drawn")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        unknown = [c for c in self.classes if c not in CLASSES]
        if unknown:
            raise ValueError(f"no class of scenario {unknown[0]!r}; there are {', '.join(CLASSES)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("a class of scenario stands twice")
        if not EXPECTED & set(self.classes):
            raise ValueError(f"no class describes what is expected; add {NOMINAL} or {MEASUREMENT_ERROR}")
        return self

    @property
    def expected(self) -> frozenset[str]:
        """Names of the classes that describe what is expected."""
        return EXPECTED & set(self.classes)

    def class_of(self, index: int) -> str:
        """Class of scenario ``index``: they take turns, so that every prefix is balanced.

        >>> [ScenarioSet().class_of(i) for i in (0, 1, 6)]
        ['nominal', 'surge', 'nominal']
        """
        return self.classes[index % len(self.classes)]

    def draw(self, network: Network, classes: Sequence[str], horizon: int, seed: int, first: int) -> Scenarios:
        """Scenarios ``first``, ``first + 1``, … of the job with that seed.

        Raises
        ------
        UnknownScenario
            If the set does not have one of the classes.
        """
        foreign = sorted(set(classes) - set(self.classes))
        if foreign:
            raise UnknownScenario(
                f"no class of scenario {foreign[0]!r} in this design; it has {', '.join(self.classes)}"
            )
        return draw(network, classes, horizon, seed, first, self.spreads)

    def not_covered(self) -> list[str]:
        """What no scenario of this set shows, in words."""
        out = [words for name, words in _ABSENT.items() if name not in self.classes]
        if SURGE in self.classes:
            out.append(f"demand beyond {self.spreads.surge[1]:g} times the expected")
        if CELL_FAILURE in self.classes:
            out.append("failure of more than one cell at once")
        return [
            *out,
            "commands that the network refuses or applies in part",
            "uplink, delay and handover failures",
            "users who move otherwise than now",
        ]

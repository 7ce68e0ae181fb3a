"""Classes of scenario: what may happen to the network while a change is in force, and how severe it may be.

The drawing itself is the twin's (`twin_core.scenarios.draw`): a scenario depends on the job's seed and its own index
alone, never on the shard it travels in or on the worker. Here stands which classes a verification covers, and how
other packages add some: a function under the entry points `twinloop.scenarios` that perturbs a world with the usual
variation.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from typing import Self

import torch
from pydantic import Field, model_validator

from loops.exceptions import BadScenario, UnknownScenario
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
    generator,
)

GROUP = "twinloop.scenarios"

Perturbation = Callable[[Scenarios, Network, torch.Generator], Scenarios]
"""Makes of one usual world (S = 1) one of its class: ``(usual, network, random) -> perturbed``.

It draws from ``random`` alone and returns new tensors (`dataclasses.replace`). Contract suite:
tests/contracts/test_scenarios.py.
"""

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

    classes: tuple[str, ...] = Field(
        default=CLASSES,
        min_length=1,
        description=f"Any of {', '.join(CLASSES)}, and of what packages offer under the entry points {GROUP}",
    )
    spreads: Spreads = Field(default=SEVERITY, description="How widely perturbations are drawn")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        added = sorted(set(self.classes) - set(CLASSES))
        known = offered() if added else frozenset[str]()
        if unknown := [c for c in added if c not in known]:
            raise ValueError(f"no class of scenario {unknown[0]!r}; there are {', '.join((*CLASSES, *sorted(known)))}")
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
        BadScenario
            If a class that a package offers cannot be loaded, fails, or makes what is no scenario.
        """
        foreign = sorted(set(classes) - set(self.classes))
        if foreign:
            raise UnknownScenario(
                f"no class of scenario {foreign[0]!r} in this design; it has {', '.join(self.classes)}"
            )
        usual = [c if c in CLASSES else NOMINAL for c in classes]
        drawn = replace(draw(network, usual, horizon, seed, first, self.spreads), classes=tuple(classes))
        for i, name in enumerate(classes):
            if name not in CLASSES:
                # Numbers of its own: those of scenario `first + i` have gone into the usual variation.
                _put(drawn, i, _perturbed(name, drawn.select([i]), network, generator(seed, -1 - first - i)))
        return drawn

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


def offered() -> frozenset[str]:
    """Names of the classes that other packages offer."""
    return frozenset(e.name for e in entry_points(group=GROUP)) - frozenset(CLASSES)


@cache
def load_scenario(name: str) -> Perturbation:
    """A class that another package offers.

    Raises
    ------
    BadScenario
        If it cannot be loaded.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                loaded: Perturbation = entry.load()
            except Exception as error:  # it may come from anywhere
                raise BadScenario(f"class of scenario {name!r} cannot be loaded from {entry.value}: {error}") from error
            return loaded
    raise UnknownScenario(f"no class of scenario {name!r} is installed here; install its package for workers as well")


def _perturbed(name: str, usual: Scenarios, network: Network, random: torch.Generator) -> Scenarios:
    """One scenario of an added class, checked."""
    perturb = load_scenario(name)
    try:
        made = perturb(usual, network, random)
        made.check(len(network.cells))
    except Exception as error:  # it may come from anywhere, and one answer fits: it cannot be used
        raise BadScenario(f"class of scenario {name!r} failed: {type(error).__name__}: {error}") from error
    if (len(made), made.horizon) != (1, usual.horizon):
        got, due = f"{len(made)} worlds over {made.horizon} periods", f"1 over {usual.horizon}"
        raise BadScenario(f"class of scenario {name!r} made {got}, not {due}")
    return made


def _put(into: Scenarios, i: int, one: Scenarios) -> None:
    """Write one scenario into row i of freshly made tensors."""
    for name, value in vars(one).items():
        if name != "classes":
            getattr(into, name)[i] = value[0]

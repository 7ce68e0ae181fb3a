"""Episodes: a twin and a task brought together, and one course through a world drawn from them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidTask
from twin_core.kpis import kpis_of
from twin_core.layouts import hexagonal
from twin_core.scenarios import Scenarios, draw
from twin_core.training.levers import Array, Levers
from twin_core.training.senses import Seen, Senses
from twin_core.training.task import Task
from twin_core.twin import Twin
from twin_core.worlds import Ground, Period, World

Tensor = torch.Tensor
Info = dict[str, object]


def example() -> Twin:
    """The twin of an environment that is given none: 21 cells that have seen no telemetry."""
    return Twin.create(hexagonal(sites=7))


class Arena:
    """A twin and a task brought together: what all episodes share.

    Parameters
    ----------
    twin
        Where episodes start; as it is, none of them changes it.
    task
        What they are about.

    Attributes
    ----------
    usual
        The next period if nothing is changed, in an unperturbed world.
    kpis
        Names on axis M.

    Raises
    ------
    InvalidTask
        If the task does not fit the network, or its reward asks for a KPI that the twin does not predict or that has
        no value in an unperturbed world and no reference.
    """

    def __init__(self, twin: Twin, task: Task) -> None:
        self.twin, self.task = twin, task
        self.network = twin.network
        self.kpis = kpis_of(twin.network)
        self.levers = Levers(twin.network, task)
        self._horizon = task.periods + 1
        self.ground = Ground(twin, torch.arange(1, self._horizon + 1))
        unperturbed = Scenarios.nominal(twin.network, 1, self._horizon)
        self.usual = World(self.ground, unperturbed).step(twin.configuration)
        self.senses = Senses(twin.network, self.usual)
        self._terms = torch.tensor([self._row(term.kpi) for term in task.reward])
        weights = [term.weight / (term.reference or self._usual(term.kpi)) for term in task.reward]
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def _row(self, kpi: str) -> int:
        if kpi not in self.kpis:
            raise InvalidTask(f"the twin predicts no KPI {kpi!r} to reward; it predicts {', '.join(self.kpis)}")
        return self.kpis.index(kpi)

    def _usual(self, kpi: str) -> float:
        value = float(self.usual.network[self._row(kpi)])
        if not value > 0:
            raise InvalidTask(f"{kpi} is {value:g} if nothing is changed, no scale for a reward; give a reference")
        return value

    def scenario(self, name: str, demand: float, seed: int) -> Scenarios:
        """One world of a class, with so many times the demand expected."""
        drawn = draw(self.network, [name], self._horizon, seed, spreads=self.task.spreads)
        return replace(drawn, demand_factor=drawn.demand_factor * demand)

    def terms(self, kpis: Tensor) -> Tensor:
        """[..., R] terms of the reward for KPIs [..., M]."""
        return kpis[..., self._terms].nan_to_num(0.0) * self.weights


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a step.

    Attributes
    ----------
    period
        KPIs.
    terms
        [R] terms of the reward, which is their sum.
    """

    period: Period
    terms: NDArray[np.float64]

    @property
    def reward(self) -> float:
        """Of the whole network."""
        return float(self.terms.sum())


class Episode:
    """One course through one world.

    Parameters
    ----------
    arena
        Twin and task.
    random
        Draws class, demand and seed of the world, always all three, so that options change nothing of what follows.
    options
        `scenario` and `demand` in place of those drawn.
    """

    def __init__(self, arena: Arena, random: np.random.Generator, options: dict[str, object] | None = None) -> None:
        task = arena.task
        scenario, demand = task.options(options)
        drawn = task.classes[int(random.integers(len(task.classes)))], float(random.uniform(*task.demand))
        self.seed = int(random.integers(2**62))
        self.scenario = drawn[0] if scenario is None else scenario
        self.demand = drawn[1] if demand is None else demand
        self._arena = arena
        self._world = World(arena.ground, arena.scenario(self.scenario, self.demand, self.seed))
        self.configuration: Configuration = arena.twin.configuration
        self.period = self._world.step(self.configuration)

    @property
    def over(self) -> bool:
        """Whether the last period was lived through."""
        return not self._world.periods_left

    @property
    def seen(self) -> Seen:
        """[C, F] of the latest period."""
        return self._arena.senses.features(self.period, self.configuration)

    def step(self, steps: Array) -> Outcome:
        """Move levers by [C, L] steps in -1..1 and live through a period."""
        self.configuration = self._arena.levers.moved(self.configuration, steps)
        self.period = self._world.step(self.configuration)
        return Outcome(self.period, self._arena.terms(self.period.network).numpy())

    @property
    def beginning(self) -> Info:
        """What a reset tells beside the observation."""
        return {"scenario": self.scenario, "demand": self.demand, "kpis": self.period.network.numpy().copy()}

    def information(self, outcome: Outcome) -> Info:
        """What a step tells beside observation and reward."""
        return {
            "kpis": outcome.period.network.numpy().copy(),
            "reward_terms": outcome.terms.copy(),
            "converged": outcome.period.converged,
        }

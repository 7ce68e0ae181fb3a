"""A job and its shards: pieces of at most about two seconds, each a run of scenarios that no look cuts through."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from loops.inner.design import Design
from loops.inner.guards import in_force
from schemas.identifiers import digest
from schemas.ndt import NdtShard
from schemas.strategies import Guard, Strategy

# A worker that dies loses at most one shard, and urgent work waits for at most one.
SHARD_SECONDS = 2.0
# One period of one scenario, both configurations, per cell, on one slow core (measured with 21 and 57 cells).
SECONDS_PER_CELL_PERIOD = 4.0e-4


@dataclass(frozen=True)
class Job:
    """One verification: a strategy on a twin revision, under a design.

    Everything about it follows from these, so that a role that was killed makes the same job again.

    Parameters
    ----------
    strategy
        What is verified; its network and region are the job's.
    revision
        Twin revision on which it is verified; need not be the one it was proposed on.
    cells
        Number of cells of the twin, which decides how large a shard may be.
    seed
        Of the installation; the job's own seed is derived from it.
    """

    strategy: Strategy
    revision: int
    design: Design
    cells: int
    seed: int = 0

    @cached_property
    def job_id(self) -> str:
        """Derived from strategy, revision, design and seed."""
        s = self.strategy
        return digest(
            s.network_id, s.region, s.strategy_id, self.revision, self.seed, self.cells, self.design.model_dump_json()
        )

    @cached_property
    def draws(self) -> int:
        """Seed of the job's scenarios, below 2**62.

        All jobs on a revision draw the same, so that what strategies do alone and together can be compared scenario by
        scenario.
        """
        s, scenarios = self.strategy, self.design.scenarios.model_dump_json()
        return int(digest("scenarios", s.network_id, s.region, self.revision, self.seed, scenarios, length=15), 16)

    @cached_property
    def guards(self) -> list[Guard]:
        """All guards in force."""
        return in_force(self.strategy.guards, self.design.guards)

    @cached_property
    def waves(self) -> tuple[tuple[NdtShard, ...], ...]:
        """The shards of each look, in index order; a look is decided when its wave and all before are complete."""
        classes = len(self.design.scenarios.classes)
        size = scenarios_per_shard(self.cells, self.design.horizon_periods)
        edges = [0, *(n * classes for n in self.design.looks)]
        spans = [
            [(first, min(first + size, end)) for first in range(start, end, size)] for start, end in pairwise(edges)
        ]
        shards = sum(map(len, spans))
        index = 0
        waves = []
        for wave in spans:
            waves.append(tuple(self._shard(index + i, shards, *span) for i, span in enumerate(wave)))
            index += len(wave)
        return tuple(waves)

    @cached_property
    def shards(self) -> tuple[NdtShard, ...]:
        """All shards; position is index."""
        return tuple(shard for wave in self.waves for shard in wave)

    def _shard(self, index: int, shards: int, first: int, end: int) -> NdtShard:
        scenarios = self.design.scenarios
        return NdtShard(
            network_id=self.strategy.network_id,
            event_id=f"{self.job_id}/{index}/1",
            job_id=self.job_id,
            shard_index=index,
            shards=shards,
            region=self.strategy.region,
            revision=self.revision,
            seed=self.draws,
            scenario_classes=[scenarios.class_of(i) for i in range(first, end)],
            first_scenario=first,
            horizon_periods=self.design.horizon_periods,
            strategy=self.strategy,
            guards=self.guards,
            scenario_design=scenarios.model_dump_json(),
        )


def scenarios_per_shard(cells: int, horizon_periods: int) -> int:
    """How many scenarios a shard may hold to stay within its time on a slow core.

    >>> scenarios_per_shard(21, 6)
    39
    """
    return max(1, int(SHARD_SECONDS / (SECONDS_PER_CELL_PERIOD * cells * horizon_periods)))


def again(shard: NdtShard, attempt: int) -> NdtShard:
    """The same shard, asked for once more."""
    return shard.model_copy(update={"attempt": attempt, "event_id": f"{shard.job_id}/{shard.shard_index}/{attempt}"})

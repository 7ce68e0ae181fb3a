"""What the scenarios of a job showed, merged from complete shards in index order; and what the twin is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from loops.exceptions import ForeignResult
from schemas.ndt import Layer, NdtShard, NdtShardResult

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The first n scenarios of a job.

    Parameters
    ----------
    classes
        [n] class of each scenario.
    kpis, cells
        [M] names and [C] DNs; position C of the arrays is the network.
    baseline, candidate
        [n, M, C + 1] means over the horizon.
    breached
        [n] the guard that the candidate breaches first, '' where none.
    """

    classes: tuple[str, ...]
    kpis: tuple[str, ...]
    cells: tuple[str, ...]
    baseline: Array
    candidate: Array
    breached: tuple[str, ...]

    @classmethod
    def merge(cls, shards: Sequence[NdtShard], results: Mapping[int, NdtShardResult]) -> Self:
        """Put the results of these shards, in this order, together.

        Raises
        ------
        ForeignResult
            If a result does not fit its shard or the other results.
        """
        parts = [results[s.shard_index] for s in shards]
        for shard, part in zip(shards, parts, strict=True):
            problem = misfit(shard, part)
            if not problem and (part.kpis, part.cells) != (parts[0].kpis, parts[0].cells):
                problem = "it names other KPIs or cells than the first shard's"
            if problem:
                raise ForeignResult(
                    f"result of shard {shard.shard_index} of job {shard.job_id} from {part.worker}: {problem}; "
                    "run the same version of twinloop on every worker"
                )
        shape = (-1, len(parts[0].kpis), len(parts[0].cells) + 1)
        return cls(
            classes=tuple(c for s in shards for c in s.scenario_classes),
            kpis=tuple(parts[0].kpis),
            cells=tuple(parts[0].cells),
            baseline=np.concatenate([np.array(p.baseline).reshape(shape) for p in parts]),
            candidate=np.concatenate([np.array(p.candidate).reshape(shape) for p in parts]),
            breached=tuple(b for p in parts for b in p.breached),
        )

    def of_classes(self, names: frozenset[str]) -> NDArray[np.bool_]:
        """[n] which scenarios belong to these classes."""
        return np.array([c in names for c in self.classes])

    def network(self, kpi: str) -> tuple[Array, Array]:
        """[n] network aggregate of a KPI, baseline and candidate."""
        m = self.kpis.index(kpi)
        return self.baseline[:, m, -1], self.candidate[:, m, -1]


def misfit(shard: NdtShard, result: NdtShardResult) -> str:
    """Why a result cannot be that of the shard, '' if it can."""
    n = len(shard.scenario_classes)
    if result.job_id != shard.job_id or result.shard_index != shard.shard_index:
        return f"it answers {result.job_id}/{result.shard_index}"
    if len(result.breached) != n:
        return f"it has {len(result.breached)} scenarios where the shard has {n}"
    wanted = n * len(result.kpis) * (len(result.cells) + 1)
    if len(result.baseline) != wanted or len(result.candidate) != wanted:
        return f"its arrays have {len(result.baseline)} and {len(result.candidate)} numbers, not {wanted}"
    return ""


class Problem(NamedTuple):
    """Why nothing may be concluded, in words, and in which layer that lies (None: with the workers)."""

    text: str
    layer: Layer | None = None


@dataclass(frozen=True, eq=False)
class Basis:
    """What a verdict rests on beside the scenarios: the twin it forks, and how far that twin is to be trusted.

    Parameters
    ----------
    period_end_ms
        Event time of the revision.
    newest_ms
        Event time of the newest telemetry known, to tell whether the revision is stale.
    granularity_s
        Length of a period.
    gate_open
        Whether the twin's measured fidelity lets anybody act on it.
    model_versions
        Of the twin.
    noise_sd
        KPI to [C + 1] standard deviation of what one period's observation differs from the twin's prediction by; NaN
        where unknown. Position C is the network.
    bias
        KPI to [C + 1] by how much observations have lately been larger than predictions, in the mean: as far as that is
        sure, else 0. Position C is the network.
    problems
        Why the data is not enough to judge on; empty if it is.
    not_covered
        What the scenarios do not show of this strategy, in words.
    """

    period_end_ms: int
    newest_ms: int
    granularity_s: int
    gate_open: bool
    model_versions: Mapping[str, str]
    noise_sd: Mapping[str, Array] = field(default_factory=dict)
    bias: Mapping[str, Array] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    not_covered: tuple[str, ...] = ()

    def objections(self, oldest_periods: int) -> list[Problem]:
        """Why nothing may be concluded, whatever the scenarios show."""
        out = list(self.problems)
        if not self.gate_open:
            out.append(Problem("the twin's measured fidelity is below its gate", Layer.MODEL))
        age = (self.newest_ms - self.period_end_ms) / (1000 * self.granularity_s)
        if age > oldest_periods:
            out.append(Problem(f"the twin revision is {age:.0f} periods old, more than {oldest_periods}", Layer.DATA))
        return out

"""Which change of a strategy causes its harm: leave one cell's changes out at a time, and see what harm is gone.

The scenarios are those in which the whole strategy did harm, so a few of them tell. Shards travel the way of all
others; one that fails is asked for again, and where it keeps failing the cause stays unknown.
"""

from dataclasses import dataclass, field
from functools import cached_property

from loops.inner.coordinator import Patience, Verification
from loops.inner.evidence import misfit
from schemas.names import cell_of
from schemas.ndt import NdtShard, NdtShardResult
from schemas.strategies import ConfigChange

# Scenarios that are tried again, and cells whose changes are left out in turn: bounds what a diagnosis costs.
_MOST_SCENARIOS, _MOST_GROUPS = 6, 12


@dataclass(frozen=True)
class Cause:
    """A cell's changes, and which part of the harm is gone without them, 0..1."""

    changes: tuple[ConfigChange, ...]
    share: float


@dataclass
class Ablation:
    """Finds the cause of a verification's harm. To be driven beside verifications (`loops.inner.verify.drive`)."""

    of: Verification
    patience: Patience = field(default_factory=Patience)
    done: bool = False
    _results: dict[int, NdtShardResult] = field(default_factory=dict)
    _asked: dict[int, tuple[int, float]] = field(default_factory=dict)  # shard to attempt and time

    @property
    def job_id(self) -> str:
        """Under which its shards travel."""
        return f"{self.of.job.job_id}-cause"

    @cached_property
    def groups(self) -> tuple[tuple[ConfigChange, ...], ...]:
        """The changes, by cell."""
        by_cell: dict[str, list[ConfigChange]] = {}
        for change in self.of.job.strategy.changes:
            by_cell.setdefault(cell_of(change.object), []).append(change)
        return tuple(tuple(group) for group in by_cell.values())

    @cached_property
    def scenarios(self) -> tuple[int, ...]:
        """Indices of the scenarios that are tried again."""
        evidence = self.of.evidence
        harmful = [i for i, b in enumerate(evidence.breached) if b] if evidence else []
        return tuple(harmful[:_MOST_SCENARIOS])

    @cached_property
    def shards(self) -> tuple[NdtShard, ...]:
        """One for each scenario and cell left out."""
        if not 2 <= len(self.groups) <= _MOST_GROUPS:
            return ()  # one cell needs no trying; of very many, none is the cause
        job, out = self.of.job, []
        for g in range(len(self.groups)):
            left = [c for h, other in enumerate(self.groups) if h != g for c in other]
            strategy = job.strategy.model_copy(update={"changes": left})
            for s, scenario in enumerate(self.scenarios):
                index = g * len(self.scenarios) + s
                out.append(
                    job.shards[0].model_copy(
                        update={
                            "event_id": f"{self.job_id}/{index}/1",
                            "job_id": self.job_id,
                            "shard_index": index,
                            "shards": len(self.groups) * len(self.scenarios),
                            "first_scenario": scenario,
                            "scenario_classes": [job.design.scenarios.class_of(scenario)],
                            "strategy": strategy,
                        }
                    )
                )
        return tuple(out)

    def start(self, now_s: float) -> list[NdtShard]:
        """All shards; none where the cause is plain."""
        self.done = not self.shards
        self._asked = {s.shard_index: (1, now_s) for s in self.shards}
        return list(self.shards)

    def receive(self, result: NdtShardResult, now_s: float) -> list[NdtShard]:
        """Take a result in; what to ask for again."""
        i = result.shard_index
        if result.job_id != self.job_id or self.done or i in self._results or i not in self._asked:
            return []
        if result.error or misfit(self.shards[i], result):
            return self._again(i, now_s)
        self._results[i] = result
        del self._asked[i]
        self.done = not self._asked
        return []

    def overdue(self, now_s: float) -> list[NdtShard]:
        """Shards that nobody answered by the deadline."""
        late = [i for i, (_, at) in self._asked.items() if now_s - at >= self.patience.deadline_s]
        return [shard for i in late for shard in self._again(i, now_s)] if not self.done else []

    @property
    def next_deadline_s(self) -> float | None:
        """When `overdue` has next something to say, None if never."""
        return None if self.done else min(at for _, at in self._asked.values()) + self.patience.deadline_s

    def _again(self, i: int, now_s: float) -> list[NdtShard]:
        attempt = self._asked[i][0] + 1
        if attempt > self.patience.attempts:
            self.done, self._results = True, {}
            return []
        self._asked[i] = (attempt, now_s)
        event_id = f"{self.job_id}/{i}/{attempt}"
        return [self.shards[i].model_copy(update={"attempt": attempt, "event_id": event_id})]

    @property
    def cause(self) -> Cause | None:
        """The cell whose changes cause most of the harm; None where no cell's do by themselves."""
        if len(self.groups) == 1:
            return Cause(self.groups[0], 1.0)
        n = len(self.scenarios)
        if not self.shards or len(self._results) < len(self.shards):
            return None
        gone = [sum(not self._results[g * n + s].breached[0] for s in range(n)) / n for g in range(len(self.groups))]
        best = max(range(len(gone)), key=gone.__getitem__)
        return Cause(self.groups[best], gone[best]) if gone[best] > 0 else None

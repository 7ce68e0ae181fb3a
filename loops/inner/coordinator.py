"""Lead verifications from shards to verdicts: a state machine without queue, database or clock.

Each look's shards are a *wave*. A wave is asked for only when the look before did not decide, and decides only when it
is complete, with results merged in index order. So which worker was fast, slow or killed changes nothing:

- a result counts once, however often it comes, and may come before it was asked for (from before a restart);
- a shard without result by its deadline is asked for again, and again when a worker reports an error;
- a shard that keeps failing makes the verdict INCONCLUSIVE.
"""

from dataclasses import dataclass, field

from loops.exceptions import ForeignResult
from loops.inner.evidence import Basis, Evidence, Problem, misfit
from loops.inner.guards import label, unjudgeable
from loops.inner.report import conclude
from loops.inner.sharding import Job, again
from loops.inner.verdict import Finding, find
from schemas.ndt import Layer, NdtReport, NdtShard, NdtShardResult


@dataclass(frozen=True)
class Patience:
    """How long to wait for a shard.

    Parameters
    ----------
    deadline_s
        After which a shard is asked for again: a shard takes two seconds, its queue and a rebalance some more.
    attempts
        After so many a shard has failed.
    job_s
        After which a job that is not done ends INCONCLUSIVE (maxRuntime of TS 28.561).
    """

    deadline_s: float = 20.0
    attempts: int = 5
    job_s: float = float("inf")


@dataclass
class Counts:
    """What happened to the results of a job."""

    merged: int = 0
    duplicates: int = 0
    errors: int = 0
    reissued: int = 0


@dataclass
class _Asked:
    attempt: int
    at_s: float


@dataclass
class Verification:
    """One job on its way to a verdict. Times are seconds of any clock that does not jump back.

    With the report come the ``evidence`` and ``finding`` of the last look, and the ``objections``: what a diagnosis
    goes by.
    """

    job: Job
    basis: Basis
    patience: Patience = field(default_factory=Patience)
    report: NdtReport | None = None
    evidence: Evidence | None = None
    finding: Finding | None = None
    objections: list[Problem] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    _results: dict[int, NdtShardResult] = field(default_factory=dict)
    _asked: dict[int, _Asked] = field(default_factory=dict)
    _look: int = -1
    _started_s: float = 0.0

    @property
    def job_id(self) -> str:
        """Under which its shards travel."""
        return self.job.job_id

    @property
    def done(self) -> bool:
        """Whether it has its report."""
        return self.report is not None

    @property
    def results(self) -> list[NdtShardResult]:
        """What was merged, in index order."""
        return [self._results[i] for i in sorted(self._results)]

    def start(self, now_s: float) -> list[NdtShard]:
        """The first wave; none where nothing could be concluded from it, and then the report is there at once."""
        self._started_s = now_s
        objections = self.basis.objections(self.job.design.oldest_periods)
        if objections:
            self._conclude(objections)
            return []
        return self._next_wave(now_s)

    def receive(self, result: NdtShardResult, now_s: float) -> list[NdtShard]:
        """Take a result in; returns the shards to ask for now. Results of other jobs are ignored."""
        job, i = self.job, result.shard_index
        if result.job_id != job.job_id or self.report or i >= len(job.shards):
            return []
        if i in self._results:
            self.counts.duplicates += 1
            return []
        problem = result.error or misfit(job.shards[i], result)
        if problem:
            return self._failed(i, result.attempt, problem, now_s)
        self._results[i] = result
        self._asked.pop(i, None)
        self.counts.merged += 1
        return self._advance(now_s)

    def overdue(self, now_s: float) -> list[NdtShard]:
        """Shards to ask for again because nobody answered by the deadline."""
        out: list[NdtShard] = []
        if not self.report and now_s - self._started_s >= self.patience.job_s:
            self._give_up(f"not done within {self.patience.job_s:g} s; run more workers, or raise the deadline")
        for i, asked in sorted(self._asked.items()):
            if not self.report and now_s - asked.at_s >= self.patience.deadline_s:
                silence = f"no worker answered within {self.patience.deadline_s:g} s; is a worker running?"
                out += self._failed(i, asked.attempt, silence, now_s)
        return out

    @property
    def next_deadline_s(self) -> float | None:
        """When `overdue` has next something to say, None if never."""
        if self.report:
            return None
        deadlines = [a.at_s + self.patience.deadline_s for a in self._asked.values()]
        return min([*deadlines, self._started_s + self.patience.job_s])

    def _next_wave(self, now_s: float) -> list[NdtShard]:
        self._look += 1
        missing = [s for s in self.job.waves[self._look] if s.shard_index not in self._results]
        if not missing:
            return self._advance(now_s)
        for shard in missing:
            self._asked[shard.shard_index] = _Asked(shard.attempt, now_s)
        return missing

    def _give_up(self, reason: str) -> None:
        self._asked.clear()
        self.evidence = self.finding = None
        self._conclude([Problem(reason)])

    def _conclude(self, objections: list[Problem]) -> None:
        self.objections = objections
        self.report = conclude(self.job, self.basis, self.evidence, self.finding, objections=objections)

    def _failed(self, i: int, attempt: int, problem: str, now_s: float) -> list[NdtShard]:
        asked = self._asked.get(i)
        if asked is None or attempt < asked.attempt:
            return []  # an old attempt; a newer one is out
        self.counts.errors += 1
        if asked.attempt >= self.patience.attempts:
            self._give_up(f"shard {i} could not be computed in {asked.attempt} attempts: {problem}")
            return []
        self._asked[i] = _Asked(asked.attempt + 1, now_s)
        self.counts.reissued += 1
        return [again(self.job.shards[i], asked.attempt + 1)]

    def _advance(self, now_s: float) -> list[NdtShard]:
        """Decide if the present wave is complete; go on to the next if that was not enough."""
        if self._look < 0 or any(s.shard_index not in self._results for s in self.job.waves[self._look]):
            return []
        prefix = [s for wave in self.job.waves[: self._look + 1] for s in wave]
        self.evidence = self.finding = None
        try:
            self.evidence = Evidence.merge(prefix, self._results)
            objections = cannot_judge(self.job, self.evidence)
        except ForeignResult as error:
            objections = [Problem(str(error))]
        if self.evidence and not objections:
            self.finding = find(self.job, self.evidence)
        last = self._look + 1 == len(self.job.waves)
        if objections or last or (self.finding and self.finding.verdict):
            self._asked.clear()
            self._conclude(objections)
            return []
        return self._next_wave(now_s)


def cannot_judge(job: Job, evidence: Evidence) -> list[Problem]:
    """Why this evidence does not allow any verdict: what the strategy is about must have been predicted."""
    out = [
        Problem(f"the twin does not predict {g.kpi}, so the guard «{label(g)}» cannot be judged", Layer.MODEL)
        for g in unjudgeable(job.guards, evidence.kpis)
    ]
    objective = job.strategy.objective.kpi
    if objective not in evidence.kpis:
        out.append(Problem(f"the twin does not predict {objective}, so the benefit cannot be judged", Layer.MODEL))
    return out

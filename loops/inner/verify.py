"""Drive what asks for shards to its end, over ports or within this process."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from loops.inner.coordinator import Patience, Verification
from loops.inner.evaluate import Baselines, evaluate
from loops.inner.evidence import Basis
from loops.inner.ports import ResultSource, ShardQueue
from loops.inner.sharding import Job
from schemas.ndt import NdtReport, NdtShard, NdtShardResult
from twin_core.twin import Twin

# Longest wait for results before deadlines and the stop flag are looked at.
_POLL_S = 0.5


class Inquiry(Protocol):
    """What asks for shards until it knows: a verification, the search for a cause."""

    @property
    def job_id(self) -> str:
        """Under which its shards travel."""

    @property
    def done(self) -> bool:
        """Whether it knows."""

    @property
    def next_deadline_s(self) -> float | None:
        """When `overdue` has next something to say."""

    def start(self, now_s: float) -> list[NdtShard]:
        """The first shards to ask for."""

    def receive(self, result: NdtShardResult, now_s: float) -> list[NdtShard]:
        """Take a result in; the shards to ask for now."""

    def overdue(self, now_s: float) -> list[NdtShard]:
        """Shards to ask for again."""


def drive(
    inquiries: Sequence[Inquiry],
    queue: ShardQueue,
    results: ResultSource,
    stopped: Callable[[], bool],
    now: Callable[[], float] = time.monotonic,
) -> bool:
    """Run inquiries until each is done.

    Shards of all jobs are out at once, so that workers are never idle while a job waits for its next wave.

    Parameters
    ----------
    stopped
        Looked at about twice a second.
    now
        Seconds of a clock that does not jump back; deadlines of shards go by it, verdicts do not.

    Returns
    -------
    bool
        False if it was stopped before all were done.
    """
    by_job = {v.job_id: v for v in inquiries}
    queue.send([shard for v in inquiries for shard in v.start(now())])
    while open_ := [v for v in inquiries if not v.done]:
        if stopped():
            return False
        again = [
            shard
            for r in results.poll(_wait_s(open_, now()))
            if r.job_id in by_job
            for shard in by_job[r.job_id].receive(r, now())
        ]
        again += [shard for v in open_ for shard in v.overdue(now())]
        if again:
            queue.send(again)
    return True


def _wait_s(open_: Sequence[Inquiry], now_s: float) -> float:
    deadlines = [d - now_s for v in open_ if (d := v.next_deadline_s) is not None]
    return max(0.0, min([_POLL_S, *deadlines]))


class LocalWorkers:
    """Queue, worker and results in one: computes shards in this process when results are asked for.

    Parameters
    ----------
    twins
        Revision to twin.
    """

    def __init__(self, twins: Mapping[int, Twin], device: torch.device | str = "cpu") -> None:
        self._twins, self._device, self._baselines = twins, device, Baselines()
        self._waiting: deque[NdtShard] = deque()

    def send(self, shards: Sequence[NdtShard]) -> None:
        """Put shards on the queue."""
        self._waiting.extend(shards)

    def poll(self, timeout_s: float) -> list[NdtShardResult]:
        """Compute the next shard; nothing if none waits."""
        if not self._waiting:
            return []
        shard = self._waiting.popleft()
        twin = self._twins[shard.revision]
        return [evaluate(shard, twin, "local", self._device, baselines=self._baselines)]


def verify_here(job: Job, basis: Basis, twin: Twin, device: torch.device | str = "cpu") -> NdtReport:
    """Verify one strategy in this process; the same verdict as workers would give."""
    verification = Verification(job, basis, Patience(deadline_s=float("inf"), attempts=1))
    workers = LocalWorkers({job.revision: twin}, device)
    drive([verification], workers, workers, lambda: False)
    assert verification.report is not None
    return verification.report

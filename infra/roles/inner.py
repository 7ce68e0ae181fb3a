"""The inner loop's role: agents and people propose, workers try it on the twin, the verdict is written.

Delivery order, for each period that the twin has finished:

1. in one database transaction: ask agents, the schedule and `strategies.proposed` for strategies; write them, a job for
   each, and the position to which the topic was read;
2. verify: shards go to the workers and results come back until every job has its verdict; then, the same way,
   conflicts among those approved are settled and causes of those not approved are found; nothing is written;
3. in one transaction: verdicts with what they rest on, conflicts, diagnoses, states of strategies and jobs, audit,
   reports in the outbox, and the role's progress;
4. publish the outbox.

A period that is done again after step 1 finds the strategies it took in, makes the same jobs, and gets the same
verdicts: they depend on revision, design and seed alone. On start: claim the region (one inner loop decides, others
stand by).
In lock-step every revision is worked on, in order; beside a network that does not wait, only the newest.
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import structlog
import torch

from infra.agents.panel import Panel
from infra.exceptions import SettingsError
from infra.metrics import STEP_SECONDS, VERDICTS
from infra.roles.base import Context, keep_trying, stand_by
from infra.roles.inbox import Inbox
from infra.roles.inner_proposals import Proposals
from infra.roles.inner_sight import Sight, next_revision, revision_to_fork, sight_of
from infra.roles.publishing import OutboxPublisher
from infra.roles.schedule import Schedule
from infra.roles.shard_queue import ShardQueue
from infra.storage import progress
from infra.storage.database import Connection, Database
from infra.storage.exceptions import ProgressTimeout
from infra.storage.findings import save_conflict, save_diagnosis
from infra.storage.plans import open_plans
from infra.storage.strategies import cancel_other_jobs, close_job, open_job, take_in
from infra.topologies import load_topology
from infra.twin_source import PostgresTwins
from loops.exceptions import UnknownAgent
from loops.inner.conflicts import UnderWay, area_of
from loops.inner.coordinator import Patience, Verification
from loops.inner.deliberation import deliberate
from loops.inner.sharding import Job
from loops.inner.verify import drive
from schemas.strategies import Strategy
from schemas.topics import STRATEGIES, TOPICS
from schemas.twin import TwinUpdate
from twin_core.regions import Shard, regions_of, shard_of

NAME = "inner"
_AFTER = "twin"  # the role whose periods are followed
_LOOK_AGAIN_S = 0.5


def build(context: Context) -> "InnerRole":
    """The inner loop of the context's region.

    Raises
    ------
    SettingsError
        If no package offers an agent that the settings name.
    """
    torch.set_num_threads(1)  # the view is made here; the work is the workers'
    s = context.settings.inner
    try:
        agents = Panel(s.agents, s.agent_deadline_s, s.agent_most, s.agent_failures, s.agent_suspension_periods)
    except UnknownAgent as error:
        raise SettingsError(str(error), "correct inner.agents") from None
    return InnerRole(context, agents)


class InnerRole:
    """Verifies, as the docstring above orders it.

    Parameters
    ----------
    agents
        Who proposes.
    """

    name = NAME

    def __init__(self, context: Context, agents: Panel) -> None:
        self._context, self._agents = context, agents
        self._regions: tuple[str, ...] = (context.region,)
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id, region=context.region)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        keep_trying(NAME, stop, lambda: self._attempt(stop))

    def _attempt(self, stop: threading.Event) -> None:
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            if not stand_by(database, f"{NAME}|{context.network_id}|{context.region}", stop):
                return
            topology = load_topology(database, context.network_id, stop)
            if topology is None:
                return
            context.transport.ensure_topics(TOPICS)
            stack.enter_context(closing(self._agents)).start()
            publisher = stack.enter_context(closing(OutboxPublisher(context, NAME)))
            inbox = Inbox(context, STRATEGIES, Strategy, f"{NAME}-{context.region}", database)
            schedule = Schedule(context.settings.inner.schedule, topology, context.region)
            self._regions = regions_of(topology)
            shard = shard_of(topology, context.region)
            proposals = Proposals(
                context, self._part, self._agents, schedule, stack.enter_context(closing(inbox)), shard
            )
            work = _Work(
                context, database, proposals, stack.enter_context(ShardQueue(context, NAME)), self._regions, shard
            )
            watch = stack.enter_context(progress.ProgressWatch(context.database_url))
            publisher.publish(database)
            while not stop.is_set():
                update = self._next(database, watch)
                if update is None:
                    continue
                began = time.monotonic()
                if not work.period(update, stop.is_set):
                    return
                publisher.publish(database)
                context.after_step(NAME, 4, update.period_end_ms)
                STEP_SECONDS.labels(NAME).observe(time.monotonic() - began)

    def _next(self, database: Database, watch: progress.ProgressWatch) -> TwinUpdate | None:
        """The revision to work on next, None if there is none yet."""
        context = self._context
        with database.transaction() as connection:
            done = progress.reached(connection, context.network_id).get(self._part, -1)
        try:
            watch.wait(context.network_id, [_AFTER], done + 1, _LOOK_AGAIN_S)
        except ProgressTimeout:
            return None
        with database.transaction() as connection:
            in_order = NAME in context.settings.lockstep.roles
            return next_revision(connection, context.network_id, context.region, done, newest=not in_order)

    @property
    def _part(self) -> str:
        return progress.part_of(NAME, self._context.region, self._regions)


class _Work:
    """Steps 1 to 3."""

    def __init__(
        self,
        context: Context,
        database: Database,
        proposals: Proposals,
        queue: ShardQueue,
        regions: tuple[str, ...],
        shard: Shard,
    ) -> None:
        self._context, self._database, self._regions, self._shard = context, database, regions, shard
        self._proposals, self._queue = proposals, queue
        self._twins = PostgresTwins(database, kept=2)
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id, region=context.region)

    def period(self, update: TwinUpdate, stopped: Callable[[], bool]) -> bool:
        """Steps 1 to 3 for the period of a revision; False if told to stop before it was done."""
        context = self._context
        with self._database.transaction() as connection:
            revision = revision_to_fork(connection, context.network_id, context.region, update.revision)
        twin = self._twins.load(context.network_id, context.region, revision)
        with self._database.transaction() as connection:
            sight = sight_of(connection, twin, context.region, update.period_end_ms, self._shard)
            jobs = [self._job(s, sight) for s in self._proposals.of_period(connection, sight, update)]
            for job in jobs:
                open_job(connection, job, update.period_end_ms)
            self._proposals.save(connection)
            plans = [p for p in open_plans(connection, context.network_id) if not p.strategy.standing]
            under_way = [UnderWay.of(p.strategy, p.predictions, twin) for p in plans]
        context.after_step(NAME, 1, update.period_end_ms)
        settings = context.settings.inner
        patience = Patience(deadline_s=settings.shard_deadline_s, job_s=settings.job_deadline_s)
        verifications = [Verification(job, sight.basis(job.strategy), patience) for job in jobs]
        if not drive(verifications, self._queue, self._queue, stopped):
            return False
        found = deliberate(
            verifications,
            under_way,
            area_of(twin.network.cells, twin.network.neighbours),
            lambda strategy: Verification(self._job(strategy, sight), sight.basis(strategy), patience),
            lambda inquiries: drive(inquiries, self._queue, self._queue, stopped),
            patience,
        )
        if found is None:
            return False
        context.after_step(NAME, 2, update.period_end_ms)
        with self._database.transaction() as connection:
            for v in found.joint:
                take_in(connection, NAME, v.job.strategy, update.period_end_ms)
                open_job(connection, v.job, update.period_end_ms)
            for v in (*verifications, *found.joint):
                self._close(connection, v, update.period_end_ms)
            for conflict in found.conflicts:
                save_conflict(connection, NAME, context.network_id, context.region, conflict, update.period_end_ms)
            cancel_other_jobs(connection, context.network_id, context.region)
            progress.report_part(
                connection, context.network_id, NAME, context.region, self._regions, update.period_end_ms
            )
        self._tell([*verifications, *found.joint])
        context.after_step(NAME, 3, update.period_end_ms)
        return True

    def _job(self, strategy: Strategy, sight: Sight) -> Job:
        settings = self._context.settings.inner
        return Job(strategy, sight.twin.revision, settings.design, len(sight.twin.network.cells), settings.seed)

    def _close(self, connection: Connection, verification: Verification, period_end_ms: int) -> None:
        assert verification.report is not None, "drive ends when every verification has its report"
        counts = vars(verification.counts)
        report = verification.report
        close_job(connection, NAME, report, verification.results, counts, period_end_ms)
        if report.diagnosis:
            save_diagnosis(
                connection, report.network_id, report.job_id, report.strategy_id, report.diagnosis, period_end_ms
            )

    def _tell(self, verifications: list[Verification]) -> None:
        """Metrics and log of verdicts, once they are durable."""
        for v in verifications:
            report = v.report
            assert report is not None
            VERDICTS.labels(report.network_id, report.verdict.value).inc()
            self._log.info(
                "verdict", strategy=report.strategy_id, title=v.job.strategy.title, job=report.job_id,
                verdict=report.verdict.value, reason=report.reason, **vars(v.counts),
            )  # fmt: skip

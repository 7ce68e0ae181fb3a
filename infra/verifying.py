"""Verify a strategy file on request (`twinloop verify`): nothing is written, nothing is pushed."""

import contextlib
import threading
from pathlib import Path
from typing import NamedTuple

from infra.roles.base import Context
from infra.roles.inner_sight import Sight, revision_to_fork, sight_of
from infra.roles.shard_queue import ShardQueue
from infra.roles.worker import GROUP
from infra.storage.database import Database
from infra.storage.exceptions import UnknownRevision
from infra.storage.revisions import latest_revision, load_revision
from infra.topologies import topology_or_explain
from infra.twin_source import PostgresTwins
from loops.agents.from_file import load_strategy
from loops.inner.coordinator import Patience, Verification
from loops.inner.sharding import Job
from loops.inner.verify import drive, verify_here
from schemas.ndt import NdtReport
from schemas.strategies import Guard, Strategy
from schemas.topics import TOPICS
from schemas.twin import TwinUpdate

# Longest wait for the broker to say who is in the workers' group.
_ASK_S = 3.0


class Verified(NamedTuple):
    """A verdict and what it is about."""

    strategy: Strategy
    guards: list[Guard]
    report: NdtReport
    where: str  # "3 workers", or "this process"


def verify(context: Context, path: Path, revision: int | None = None) -> Verified:
    """Verify a strategy file on a twin revision, by the workers if any run, else in this process.

    The verdict is the same either way.

    Parameters
    ----------
    revision
        Twin revision; the newest if None. On an earlier one the verdict is that of its time.

    Raises
    ------
    BadStrategyFile
        If the file is no strategy for this network.
    UnknownRevision
        If the revision or its snapshot is not kept.
    InfraError
        If the network is not known yet.
    """
    with context.database("verify") as database:
        topology = topology_or_explain(database, context.network_id)
        update = revision_or_newest(context, database, revision)
        strategy = load_strategy(
            path,
            topology,
            proposed_at_ms=update.period_end_ms,
            revision=update.revision,
            region=context.region,
        )
        sight = _sight(context, database, update)
        settings = context.settings.inner
        job = Job(strategy, sight.twin.revision, settings.design, len(sight.twin.network.cells), settings.seed)
        workers = count_workers(context)
        if workers:
            report, where = _by_workers(context, job, sight), f"{workers} worker{'s' if workers > 1 else ''}"
        else:
            report, where = verify_here(job, sight.basis(strategy), sight.twin), "this process"
    return Verified(strategy, job.guards, report, where)


def count_workers(context: Context) -> int:
    """How many workers are in the group; 0 if Kafka does not say so soon."""
    from confluent_kafka import KafkaException
    from confluent_kafka import admin as typed_admin

    from streams.kafka import KafkaTransport

    if not isinstance(context.transport, KafkaTransport):
        return 0
    kafka = context.settings.kafka
    admin = typed_admin.AdminClient(
        {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0, **kafka.properties()}
    )
    with contextlib.suppress(KafkaException):
        groups = admin.describe_consumer_groups([GROUP], request_timeout=_ASK_S)
        return len(groups[GROUP].result(_ASK_S).members)
    return 0


def revision_or_newest(context: Context, database: Database, revision: int | None = None) -> TwinUpdate:
    """A revision of the twin, the newest if None.

    Raises
    ------
    UnknownRevision
        If there is none, or not that one.
    """
    with database.transaction() as connection:
        if revision is not None:
            return load_revision(connection, context.network_id, context.region, revision)
        found = latest_revision(connection, context.network_id, context.region)
    if found is None:
        raise UnknownRevision(context.network_id, context.region, "revision yet")
    return found


def _sight(context: Context, database: Database, update: TwinUpdate) -> Sight:
    with database.transaction() as connection:
        fork = revision_to_fork(connection, context.network_id, context.region, update.revision)
    twin = PostgresTwins(database).load(context.network_id, context.region, fork)
    with database.transaction() as connection:
        return sight_of(connection, twin, context.region, update.period_end_ms)


def _by_workers(context: Context, job: Job, sight: Sight) -> NdtReport:
    settings = context.settings.inner
    patience = Patience(deadline_s=settings.shard_deadline_s, job_s=settings.job_deadline_s)
    verification = Verification(job, sight.basis(job.strategy), patience)
    context.transport.ensure_topics(TOPICS)
    with ShardQueue(context, "verify") as queue:
        drive([verification], queue, queue, threading.Event().is_set)
    assert verification.report is not None, "nothing stops it before"
    return verification.report

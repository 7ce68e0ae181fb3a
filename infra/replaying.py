"""Deriving the past again: revisions checked against what was logged of them, and the twin as it was at a time.

A revision is derived from a snapshot and the telemetry between the frontiers that its successors logged, by the same
operator that the twin role runs. So what is compared here is everything: decoding, governance, physics, calibration.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import structlog
import torch

from infra.exceptions import InfraError
from infra.roles.base import Context
from infra.roles.twin import state_name
from infra.storage.database import Connection
from infra.storage.exceptions import UnknownRevision
from infra.storage.revisions import (
    PostgresSnapshotStore,
    latest_revision,
    load_revision,
    revisions_between,
)
from infra.topologies import topology_or_explain
from processors.epoch_reader import EpochReader
from processors.promotions import PromotionReader, models_of
from processors.twin_sync import Revision, TwinState, TwinSync
from schemas.twin import TwinUpdate
from streams.exceptions import CorruptSnapshot
from streams.frontier import Frontier, from_records, gap
from twin_core.twin import Twin

# A moment in a twin's life: the number of a revision, or an event time in epoch milliseconds. Revisions count periods;
# a network would have to report for two thousand years to reach a number that is also a time since 1973.
_FIRST_TIME_MS = 100_000_000_000
_POLL_S = 0.5


class ReplayError(InfraError):
    """The past cannot be derived again: telemetry or snapshots are gone, or never were."""


@dataclass(frozen=True)
class ReplayedRevision:
    """One revision derived again, beside what was logged of it."""

    revision: int
    period_end_ms: int
    logged_hash: str
    derived_hash: str
    counts_equal: bool

    @property
    def matches(self) -> bool:
        """Whether state and counts are what they were."""
        return self.logged_hash == self.derived_hash and self.counts_equal


@dataclass(frozen=True)
class TwinAt:
    """A twin as it was, with its logged record."""

    update: TwinUpdate
    twin: Twin


def resolve(context: Context, at: int | None) -> TwinUpdate:
    """The logged revision at a moment: a revision's number, or an event time in epoch milliseconds; None: the newest.

    A time means the newest revision whose period had ended by then.

    Raises
    ------
    UnknownRevision
        If there is none.
    """
    network, region = context.network_id, context.region
    with context.database("replay") as database, database.transaction() as connection:
        if at is not None and at < _FIRST_TIME_MS:
            return load_revision(connection, network, region, at)
        found = latest_revision(connection, network, region, at)
    if found is None:
        raise UnknownRevision(network, region, "revision" if at is None else f"revision that ended by {at}")
    return found


def verify_replay(context: Context, first: int | None = None, last: int | None = None) -> Iterator[ReplayedRevision]:
    """Derive revisions again and compare each with its logged row, from one moment to another (see :func:`resolve`).

    Parameters
    ----------
    first, last
        Moments; None is the first and the newest logged revision. Derivation starts at the newest good snapshot
        before ``first``, or at the beginning of the topics.

    Raises
    ------
    UnknownRevision
        If nothing is logged there.
    ReplayError
        If telemetry or snapshots in between are gone.
    """
    to = resolve(context, last)
    begin = _first(context) if first is None else resolve(context, first)
    if begin.revision > to.revision:
        raise ReplayError(
            f"the range begins at revision {begin.revision} and ends at {to.revision}", "name the earlier moment first"
        )
    with context.database("replay") as database, database.transaction() as connection:
        rows = revisions_between(connection, context.network_id, context.region, begin.revision, to.revision)
    logged = {row.revision: row for row in rows}
    for revision in _derive(context, begin.revision, to):
        row = logged.get(revision.twin.revision)
        if row is not None:
            yield ReplayedRevision(
                row.revision,
                row.period_end_ms,
                row.state_hash,
                revision.twin.state_hash(),
                row.counts == revision.epoch.counts,
            )


def twin_at(context: Context, at: int | None = None) -> TwinAt:
    """The twin at a moment (see :func:`resolve`): from its snapshot, or derived from the one before it.

    Raises
    ------
    UnknownRevision
        If nothing is logged there.
    ReplayError
        If it cannot be derived, or what is derived is not what was logged.
    """
    update = resolve(context, at)
    state = _snapshot_before(context, _sync(context), update.revision)
    twin = state.twin
    if twin.revision != update.revision:
        for revision in _derive(context, update.revision, update):
            twin = revision.twin
    if twin.state_hash() != update.state_hash:
        raise ReplayError(
            f"revision {update.revision} has the hash {twin.state_hash()}, where {update.state_hash} was logged",
            "derive it with the twinloop version, device and thread count that made it",
        )
    return TwinAt(update, twin)


def _first(context: Context) -> TwinUpdate:
    with context.database("replay") as database, database.transaction() as connection:
        row = connection.execute(
            "SELECT min(revision) FROM revisions WHERE network_id = %s AND region = %s",
            (context.network_id, context.region),
        ).fetchone()
    if row is None or row[0] is None:
        raise UnknownRevision(context.network_id, context.region, "revision")
    return resolve(context, int(row[0]))


def _derive(context: Context, first: int, to: TwinUpdate) -> Iterator[Revision]:
    """Revisions ``first`` to ``to``, from the newest good snapshot before ``first``."""
    sync = _sync(context)
    state = _snapshot_before(context, sync, first - 1)
    goal = from_records(to.frontier)
    promotions = PromotionReader(context.transport, context.serde, context.network_id, context.region, "replay-models")
    reader = EpochReader(
        context.transport,
        context.serde,
        context.network_id,
        name="replay",
        adopt_unkeyed=context.settings.twin.adopt_unkeyed,
    )
    taken_up = _taken_up(context, state.twin.revision + 1, to.revision)
    with one_thread(), closing(reader), closing(promotions):
        promotions.start(state.promotions)
        reader.start(state.frontier, state.twin.period_end_ms or None)
        while state.twin.revision < to.revision:
            epochs = reader.read(_POLL_S)
            for epoch in epochs:
                until = taken_up.get(state.twin.revision + 1, {})
                revision = sync.take_up(sync.apply(state, sync.govern(state, epoch)), promotions.read(until))
                state = revision.state
                if state.twin.revision >= first:
                    yield revision
                if state.twin.revision == to.revision:
                    break
            if not epochs and reader.at_end():
                have = {**state.frontier, **state.promotions}
                raise ReplayError(
                    f"the topics end before revision {to.revision}; missing offsets: {gap(have, goal)}",
                    "replay against the Kafka cluster that the twin read from",
                )


def _taken_up(context: Context, first: int, last: int) -> dict[int, Frontier]:
    """Promotions of learned models that revisions had taken up when they were logged."""
    with context.database("replay") as database, database.transaction() as connection:
        rows = revisions_between(connection, context.network_id, context.region, first, last)
    return {row.revision: models_of(from_records(row.frontier)) for row in rows}


def _sync(context: Context) -> TwinSync:
    settings = context.settings.twin
    with context.database("replay") as database:
        topology = topology_or_explain(database, context.network_id)
    return TwinSync(topology, context.serde, settings.governance, settings.core, context.region)


def _snapshot_before(context: Context, sync: TwinSync, revision: int) -> TwinState:
    """State of the newest good snapshot at or before a revision; the initial state where there is none."""
    with context.database("replay") as database, database.transaction() as connection:
        for kept in sorted(_kept(connection, context, revision), reverse=True):
            try:
                return sync.load(PostgresSnapshotStore(lambda: connection).load(state_name(context), kept).payload)
            except CorruptSnapshot as error:
                structlog.get_logger().warning("snapshot passed over", revision=kept, error=error.cause)
    return sync.initial()


def _kept(connection: Connection, context: Context, until: int) -> list[int]:
    return [r for r in PostgresSnapshotStore(lambda: connection).revisions(state_name(context)) if r <= until]


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread, as in the twin role: the order of sums decides the last bit of a state."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

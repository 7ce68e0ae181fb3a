"""The twin role: telemetry in, revisions out; the single writer of a region's twin.

Delivery order, for each epoch (docs/delivery.md says what happens if it dies after a step, and which test kills it
there):

1. poll until the epoch's barrier is covered;
2. decode and govern its messages, in memory;
3. apply them to the twin, in memory: the next revision, which takes up the models that have been promoted by now, or,
   if it is derived again, those that it had taken up when it was logged;
4. produce late events and dead letters under ids derived from the offsets of what they hold, and wait for the
   acknowledgements;
5. in one database transaction: the revision's row with frontier, state hash, fidelity and counts, its KPIs, its entry
   in the outbox, the role's progress, and when due the snapshot: twin, governance and frontier as one thing;
6. commit the group's offsets at the last snapshot's frontier, never beyond;
7. publish the outbox.

On start: claim the region (a second process stands by until the first is gone), load the newest good snapshot, read
from its frontier. Revisions that were logged after that snapshot are derived again and must get the logged state hash.
Where there is none, a twin begins. What it is told of propagation beforehand (settings `gains`, `buildings`) is saved
as its snapshot of revision 0: the files are read once, and replay needs them no more.
"""

import threading
import time
from contextlib import ExitStack, closing
from typing import NamedTuple

import structlog
import torch

from infra.exceptions import SettingsError
from infra.metrics import EVENTS, FIDELITY, GATE_OPEN, REPLAY_MISMATCHES, REVISION, STEP_SECONDS
from infra.roles.base import Context, keep_trying, stand_by
from infra.roles.publishing import OutboxPublisher
from infra.roles.twin_records import update_of, write_kpi_rows
from infra.storage import outbox, progress
from infra.storage.database import Database
from infra.storage.revisions import PostgresSnapshotStore, revisions_between, save_revision
from infra.storage.rows import find_one
from infra.surveys import named_files, survey_for
from infra.topologies import load_topology
from processors.collector import Epoch
from processors.epoch_reader import EpochReader
from processors.promotions import PromotionReader, models_of
from processors.refusals import send_refusals
from processors.twin_sync import Revision, TwinState, TwinSync
from schemas.topics import TOPICS, TWIN_UPDATES
from schemas.topology import Topology
from schemas.twin import TwinUpdate
from streams.exceptions import CommitFailed
from streams.frontier import Frontier, from_records
from streams.snapshots import Snapshot
from streams.transport import Producer
from twin_core.exceptions import UnknownObject

NAME = "twin"
_POLL_S = 0.5
_FLUSH_S = 30.0
# How often a process that stands by, or waits for its network's topology, looks again.
_LOOK_AGAIN_S = 0.5
_LAST = 2**62  # no twin reaches this revision


class _Models(NamedTuple):
    """Where promotions are read, and up to where: None for all that there are."""

    reader: PromotionReader
    until: Frontier | None


def build(context: Context) -> "TwinRole":
    """The twin role of the context's network and region."""
    # One thread: the order of sums, and with it the state hash, must not depend on how many cores there are.
    torch.set_num_threads(1)
    return TwinRole(context)


class TwinRole:
    """Keeps the twin of one region in step, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id, region=context.region)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        keep_trying(NAME, stop, lambda: self._attempt(stop))

    def _attempt(self, stop: threading.Event) -> None:
        context = self._context
        settings = context.settings.twin
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            if not stand_by(database, f"twin|{context.network_id}|{context.region}", stop):
                return
            topology = load_topology(database, context.network_id, stop)
            if topology is None:
                return
            context.transport.ensure_topics(TOPICS)
            sync = sync_of(context, topology)
            reader = stack.enter_context(
                closing(
                    EpochReader(
                        context.transport,
                        context.serde,
                        context.network_id,
                        name=f"twin-{context.network_id}-{context.region}",
                        group=group_of(context),
                        adopt_unkeyed=settings.adopt_unkeyed,
                    )
                )
            )
            producer = stack.enter_context(closing(context.transport.producer(NAME)))
            publisher = stack.enter_context(closing(OutboxPublisher(context, NAME)))
            promotions = stack.enter_context(closing(self._promotions()))
            state = self._restore(database, sync)
            promotions.start(state.promotions)
            logged = self._logged(database, state)
            reader.start(state.frontier, state.twin.period_end_ms or None)
            publisher.publish(database)
            while not stop.is_set():
                for epoch in reader.read(_POLL_S):
                    began = time.monotonic()
                    until = logged.get(state.twin.revision + 1)
                    models = _Models(promotions, until)
                    state = self._follow(epoch, state, sync, models, producer, database, reader)
                    publisher.publish(database)
                    self._done(7, epoch)
                    STEP_SECONDS.labels(NAME).observe(time.monotonic() - began)
                    if stop.is_set():
                        break

    def _follow(
        self,
        epoch: Epoch,
        state: TwinState,
        sync: TwinSync,
        models: _Models,
        producer: Producer,
        database: Database,
        reader: EpochReader,
    ) -> TwinState:
        """Steps 1 to 6 for one epoch."""
        self._done(1, epoch)
        step = sync.govern(state, epoch)
        self._done(2, epoch)
        revision = sync.take_up(sync.apply(state, step), models.reader.read(models.until))
        self._done(3, epoch)
        send_refusals(producer, self._context.serde, step.late, step.dead_letters)
        producer.flush(_FLUSH_S)
        self._done(4, epoch)
        snapshot_due = revision.twin.revision % self._context.settings.twin.snapshot_every == 0
        update, logged = self._save(database, sync, revision, snapshot_due)
        self._done(5, epoch)
        if snapshot_due:
            try:
                reader.commit(epoch.frontier)
            except CommitFailed as error:
                # The group is for the eye; the snapshot is what a restart goes by.
                self._log.warning("offsets not committed", error=error.cause)
        self._done(6, epoch)
        self._report(revision, update, logged)
        return revision.state

    def _save(
        self, database: Database, sync: TwinSync, revision: Revision, snapshot_due: bool
    ) -> tuple[TwinUpdate, str | None]:
        """Step 5; the revision's record, and the state hash under which it had been logged before, if it had."""
        context, settings = self._context, self._context.settings.twin
        update = update_of(revision, context.network_id, context.region)
        key = {"network_id": context.network_id, "region": context.region, "revision": update.revision}
        with database.transaction() as connection:
            row = find_one(connection, "revisions", key)
            save_revision(connection, update)
            write_kpi_rows(connection, revision, context.network_id, sync.shard, new=row is None)
            if snapshot_due:
                store = PostgresSnapshotStore(lambda: connection)
                payload = sync.dump(revision.state)
                store.save(state_name(context), Snapshot(update.revision, revision.epoch.frontier, payload))
                store.prune(state_name(context), settings.keep_snapshots)
            outbox.enqueue(connection, NAME, TWIN_UPDATES.name, TWIN_UPDATES.key_of(update), update, update.event_id)
            progress.report_part(
                connection, context.network_id, NAME, context.region, sync.regions, update.period_end_ms
            )
        return update, None if row is None else str(row["state_hash"])

    def _promotions(self) -> PromotionReader:
        context = self._context
        name = f"twin-models-{context.network_id}-{context.region}"
        return PromotionReader(context.transport, context.serde, context.network_id, context.region, name)

    def _logged(self, database: Database, state: TwinState) -> dict[int, Frontier]:
        """Promotions that revisions after this state had taken up when they were logged."""
        context = self._context
        with database.transaction() as connection:
            rows = revisions_between(connection, context.network_id, context.region, state.twin.revision + 1, _LAST)
        return {row.revision: models_of(from_records(row.frontier)) for row in rows}

    def _restore(self, database: Database, sync: TwinSync) -> TwinState:
        with database.transaction() as connection:
            saved = PostgresSnapshotStore(lambda: connection).latest(state_name(self._context))
        if saved is None:
            self._log.info("no snapshot; the twin begins at the beginning of the topics")
            return self._begin(database, sync)
        state = sync.load(saved.payload)
        if state.twin.network.survey_db is None and (files := named_files(self._context.settings.twin)):
            self._log.warning(
                "the twin has begun without these files; delete its snapshots to begin anew",
                files=files,
            )
        self._log.info("twin restored", revision=state.twin.revision, period_end_ms=state.twin.period_end_ms)
        return state

    def _begin(self, database: Database, sync: TwinSync) -> TwinState:
        """A new twin; saved at once if it knows something beforehand."""
        survey = survey_for(self._context.settings.twin, sync)
        if survey is None:
            return sync.initial()
        state = sync.initial(survey.loss_db)
        with database.transaction() as connection:
            store = PostgresSnapshotStore(lambda: connection)
            store.save(state_name(self._context), Snapshot(state.twin.revision, state.frontier, sync.dump(state)))
        self._log.info("the twin begins with known path loss", share_of_links=round(survey.known, 3))
        if survey.under_roof:
            self._log.warning("antennas under a roof; if outdoors, mend their height or the roof's",
                              cells=survey.under_roof)  # fmt: skip
        return state

    def _report(self, revision: Revision, update: TwinUpdate, logged: str | None) -> None:
        """Metrics and log, once the revision is durable."""
        network, region = self._context.network_id, self._context.region
        if logged is not None and logged != update.state_hash:
            REPLAY_MISMATCHES.labels(network).inc()
            self._log.error(
                "a revision derived again differs from the logged one",
                revision=update.revision, logged=logged, derived=update.state_hash,
            )  # fmt: skip
        if logged is None:
            for fate, n in revision.epoch.epoch_counts.model_dump(exclude={"in_flight"}).items():
                EVENTS.labels(network, fate).inc(n)
        REVISION.labels(network, region).set(update.revision)
        GATE_OPEN.labels(network, region).set(update.gate_open)
        for fidelity in update.fidelity:
            FIDELITY.labels(network, region, fidelity.kpi).set(fidelity.score)
        for refusal in revision.refused:
            self._log.error("a promoted model cannot be used; the twin stays", model=refusal.event.model,
                            version=refusal.event.version, error=refusal.reason)  # fmt: skip
        quality = revision.epoch.quality
        self._log.info(
            "revision", revision=update.revision, period_end_ms=update.period_end_ms, gate_open=update.gate_open,
            applied=revision.epoch.epoch_counts.applied, late=revision.epoch.epoch_counts.late,
            dead_lettered=revision.epoch.epoch_counts.dead_lettered, silent_cells=quality.silent_cells,
            suspect_cells=quality.suspect_cells, resets=quality.resets,
        )  # fmt: skip

    def _done(self, step: int, epoch: Epoch) -> None:
        self._context.after_step(NAME, step, epoch.barrier.period_end_ms)


def sync_of(context: Context, topology: Topology) -> TwinSync:
    """The operator of the context's region.

    Raises
    ------
    SettingsError
        If the network has no such region.
    """
    settings = context.settings.twin
    try:
        return TwinSync(topology, context.serde, settings.governance, settings.core, context.region)
    except UnknownObject as error:
        raise SettingsError(str(error), "correct TWINLOOP_REGION") from None


def group_of(context: Context) -> str:
    """Consumer group that shows how far the twin has come."""
    return f"twinloop.twin.{context.network_id}.{context.region}"


def state_name(context: Context) -> str:
    """Name of the twin's snapshots."""
    return f"{context.network_id}|{context.region}"

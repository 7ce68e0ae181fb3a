"""The features role: windowed features of every cell, on the topic ``features`` and in the table of that name.

It reads telemetry for its own use, in a group of its own, and counts and dead-letters nothing: that is the twin role's.

Delivery order, for each epoch:

1. poll until the epoch's barrier is covered;
2. and 3. govern it and put it into windows, in memory;
4. produce the features of complete windows under ids derived from cell and window, and wait for the acknowledgements;
5. in one database transaction: feature rows (upserts), progress, and the snapshot with its frontier;
6. commit the group's offsets at that frontier.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import numpy as np
import structlog

from infra.metrics import STEP_SECONDS
from infra.roles.base import Context, keep_trying
from infra.storage import progress
from infra.storage.database import Database, claim
from infra.storage.revisions import PostgresSnapshotStore
from infra.storage.timeseries import FeatureRow, write_features
from infra.topologies import load_topology
from processors.collector import Epoch
from processors.epoch_reader import EpochReader
from processors.feature_sync import FeatureState, FeatureSync
from processors.features import FEATURES, FeatureBlock
from processors.refusals import EVENT_ID
from processors.windows import WindowSpec
from schemas.topics import FEATURES as TOPIC
from schemas.topics import TOPICS
from schemas.topology import Topology
from schemas.twin import Features
from streams.exceptions import CommitFailed
from streams.snapshots import Snapshot
from streams.transport import Producer

NAME = "features"
_POLL_S = 0.5
_FLUSH_S = 30.0
_LOOK_AGAIN_S = 0.5
_KEEP_SNAPSHOTS = 5


def build(context: Context) -> "FeaturesRole":
    """The features role of the context's network."""
    return FeaturesRole(context)


class FeaturesRole:
    """Makes features, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        keep_trying(NAME, stop, lambda: self._attempt(stop))

    def _attempt(self, stop: threading.Event) -> None:
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            while not self._claim(database):
                if stop.wait(_LOOK_AGAIN_S):
                    return
            topology = load_topology(database, context.network_id, stop)
            if topology is None:
                return
            context.transport.ensure_topics(TOPICS)
            sync = FeatureSync(topology, context.serde, self._windows(topology), context.settings.twin.governance)
            group = f"twinloop.features.{context.network_id}"
            reader = stack.enter_context(
                closing(EpochReader(context.transport, context.serde, context.network_id, group, group))
            )
            producer = stack.enter_context(closing(context.transport.producer(NAME)))
            state, number = self._restore(database, sync, reader)
            while not stop.is_set():
                for epoch in reader.read(_POLL_S):
                    began = time.monotonic()
                    number += 1
                    state = self._follow(epoch, state, number, sync, producer, database, reader)
                    STEP_SECONDS.labels(NAME).observe(time.monotonic() - began)
                    if stop.is_set():
                        break

    def _follow(
        self,
        epoch: Epoch,
        state: FeatureState,
        number: int,
        sync: FeatureSync,
        producer: Producer,
        database: Database,
        reader: EpochReader,
    ) -> FeatureState:
        context, end_ms = self._context, epoch.barrier.period_end_ms
        context.after_step(NAME, 1, end_ms)
        step = sync.process(state, [epoch])
        context.after_step(NAME, 3, end_ms)
        for block in step.outputs:
            for event in _events(block, sync.topology):
                producer.send(
                    TOPIC.name,
                    TOPIC.key_of(event),
                    context.serde.encode(TOPIC, event),
                    [(EVENT_ID, event.event_id.encode())],
                    timestamp_ms=event.window_end_ms,
                )
        producer.flush(_FLUSH_S)
        context.after_step(NAME, 4, end_ms)
        with database.transaction() as connection:
            rows = [row for block in step.outputs for row in _rows(block, sync.topology)]
            if rows:
                write_features(connection, context.network_id, rows)
            store = PostgresSnapshotStore(lambda: connection)
            store.save(self._state_name, Snapshot(number, epoch.frontier, sync.dump(step.state)))
            store.prune(self._state_name, _KEEP_SNAPSHOTS)
            progress.report(connection, context.network_id, NAME, end_ms)
        context.after_step(NAME, 5, end_ms)
        try:
            reader.commit(epoch.frontier)
        except CommitFailed as error:
            self._log.warning("offsets not committed", error=error.cause)
        context.after_step(NAME, 6, end_ms)
        if step.late:
            self._log.info("rows came too late for their windows", rows=sum(len(late.key) for late in step.late))
        return step.state

    def _restore(self, database: Database, sync: FeatureSync, reader: EpochReader) -> tuple[FeatureState, int]:
        with database.transaction() as connection:
            saved = PostgresSnapshotStore(lambda: connection).latest(self._state_name)
        if saved is None:
            reader.start({}, None)
            return sync.initial(), 0
        state = sync.load(saved.payload)
        reader.start(saved.frontier, state.governance.closed_ms)
        return state, saved.revision

    def _claim(self, database: Database) -> bool:
        with database.transaction() as connection:
            return claim(connection, f"{NAME}|{self._context.network_id}")

    @property
    def _state_name(self) -> str:
        return f"{self._context.network_id}|{NAME}"

    def _windows(self, topology: Topology) -> WindowSpec:
        settings, period_ms = self._context.settings.features, topology.granularity_s * 1000
        return WindowSpec(
            settings.window_periods * period_ms,
            settings.slide_periods * period_ms,
            settings.allowed_lateness_periods * period_ms,
        )


def _events(block: FeatureBlock, topology: Topology) -> Iterator[Features]:
    """One event per cell and window; its id is the same whenever it is made again."""
    for cell, start_ms, end_ms, values in zip(
        block.cell.tolist(), block.start_ms.tolist(), block.end_ms.tolist(), block.values.tolist(), strict=True
    ):
        name = topology.cell_names[cell]
        yield Features(
            network_id=topology.network_id,
            event_id=f"{name}/{start_ms}/{end_ms}",
            cell=name,
            window_start_ms=start_ms,
            window_end_ms=end_ms,
            names=list(FEATURES),
            values=values,
        )


def _rows(block: FeatureBlock, topology: Topology) -> Iterator[FeatureRow]:
    """Rows of the features that could be made; a missing one has no row."""
    for w, f in zip(*np.nonzero(~np.isnan(block.values)), strict=True):
        value = float(block.values[w, f])
        yield int(block.end_ms[w]), topology.cell_names[int(block.cell[w])], FEATURES[int(f)], value

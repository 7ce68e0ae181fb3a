"""Features and anomaly scores of a network or of one partition of it: from an epoch to events, rows and a snapshot.

Both hosts of the features role run lanes: the in-process host one over all partitions, the Faust host one for each
partition. A lane's state depends on its epochs alone, so that it makes the same features wherever it runs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import structlog

from infra.roles.base import Context
from infra.storage import progress
from infra.storage.database import Connection, Database
from infra.storage.revisions import PostgresSnapshotStore
from infra.storage.timeseries import FeatureRow, write_anomalies, write_features
from processors.anomalies import AnomalyBlock, anomaly_events
from processors.collector import Epoch
from processors.feature_sync import FeatureState, FeatureSync
from processors.features import FEATURES, FeatureBlock, feature_events
from processors.refusals import EVENT_ID
from processors.windows import WindowSpec
from schemas.base import Event
from schemas.topics import ANOMALIES, Topic
from schemas.topics import FEATURES as FEATURES_TOPIC
from schemas.topology import Topology
from streams.frontier import Frontier
from streams.snapshots import Snapshot
from streams.transport import Producer

ROLE = "features"
_FLUSH_S = 30.0
_KEEP_SNAPSHOTS = 5


class FeatureLane:
    """One state, one frontier.

    Parameters
    ----------
    database, producer
        Used by one thread at a time.
    partition, partitions
        Whose features these are, and of how many; None: of all.
    """

    def __init__(
        self,
        context: Context,
        topology: Topology,
        database: Database,
        producer: Producer,
        partition: int | None = None,
        partitions: int = 1,
    ) -> None:
        self._context, self._database, self._producer = context, database, producer
        self._partition, self._partitions = partition, partitions
        self._sync = FeatureSync(topology, context.serde, _windows(context, topology), context.settings.twin.governance)
        self._log = structlog.get_logger().bind(role=ROLE, network=context.network_id, partition=partition)
        self._state, self._number = self._sync.initial(), 0

    @property
    def _name(self) -> str:
        whole = f"{self._context.network_id}|{ROLE}"
        return whole if self._partition is None else f"{whole}|{self._partition}"

    def restore(self) -> tuple[Frontier, int | None]:
        """Take the newest snapshot up; its frontier, and the end of the last period below it."""
        with self._database.transaction() as connection:
            saved = PostgresSnapshotStore(lambda: connection).latest(self._name)
        if saved is None:
            self._state, self._number = self._sync.initial(), 0
            return {}, None
        self._state, self._number = self._sync.load(saved.payload), saved.revision
        return saved.frontier, self._state.governance.closed_ms

    def follow(self, epoch: Epoch) -> None:
        """Steps 2 to 5 of the features role (`infra.roles.features`) for an epoch."""
        context, end_ms = self._context, epoch.barrier.period_end_ms
        context.after_step(ROLE, 1, end_ms)
        step = self._sync.process(self._state, [epoch])
        context.after_step(ROLE, 3, end_ms)
        for block in step.outputs:
            if isinstance(block, FeatureBlock):
                for event in feature_events(block, self._sync.topology):
                    self._send(FEATURES_TOPIC, event, event.window_end_ms)
            else:
                for scored in anomaly_events(block, self._sync.topology):
                    self._send(ANOMALIES, scored, scored.time_ms)
        self._producer.flush(_FLUSH_S)
        context.after_step(ROLE, 4, end_ms)
        self._number += 1
        self._save(epoch, step.state, step.outputs)
        context.after_step(ROLE, 5, end_ms)
        if step.late:
            self._log.info("rows came too late for their windows", rows=sum(len(late.key) for late in step.late))
        self._state = step.state

    def _send(self, topic: Topic, event: Event, time_ms: int) -> None:
        value = self._context.serde.encode(topic, event)
        self._producer.send(
            topic.name, topic.key_of(event), value, [(EVENT_ID, event.event_id.encode())], timestamp_ms=time_ms
        )

    def _save(self, epoch: Epoch, state: FeatureState, blocks: Sequence[FeatureBlock | AnomalyBlock]) -> None:
        network_id, topology = self._context.network_id, self._sync.topology
        with self._database.transaction() as connection:
            for block in blocks:
                if isinstance(block, FeatureBlock):
                    write_features(connection, network_id, _rows(block, topology))
                else:
                    write_anomalies(connection, anomaly_events(block, topology))
            store = PostgresSnapshotStore(lambda: connection)
            store.save(self._name, Snapshot(self._number, epoch.frontier, self._sync.dump(state)))
            store.prune(self._name, _KEEP_SNAPSHOTS)
            self._report(connection, epoch.barrier.period_end_ms)

    def _report(self, connection: Connection, end_ms: int) -> None:
        """The role has finished what all its partitions have."""
        parts = [str(p) for p in range(self._partitions)]
        progress.report_part(connection, self._context.network_id, ROLE, str(self._partition or 0), parts, end_ms)


def _windows(context: Context, topology: Topology) -> WindowSpec:
    settings, period_ms = context.settings.features, topology.granularity_s * 1000
    return WindowSpec(
        settings.window_periods * period_ms,
        settings.slide_periods * period_ms,
        settings.allowed_lateness_periods * period_ms,
    )


def _rows(block: FeatureBlock, topology: Topology) -> Iterator[FeatureRow]:
    """Rows of the features that could be made; a missing one has no row."""
    for w, f in zip(*np.nonzero(~np.isnan(block.values)), strict=True):
        value = float(block.values[w, f])
        yield int(block.end_ms[w]), topology.cell_names[int(block.cell[w])], FEATURES[int(f)], value

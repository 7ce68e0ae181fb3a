"""The features role: windowed features of every cell, on the topic ``features`` and in the table of that name.

It reads telemetry for its own use, in a group of its own, and counts and dead-letters nothing: that is the twin role's.

Delivery order, for each epoch:

1. poll until the epoch's barrier is covered;
2. and 3. govern it and put it into windows, in memory;
4. produce the features of complete windows under ids derived from cell and window, and wait for the acknowledgements;
5. in one database transaction: feature rows (upserts), progress, and the snapshot with its frontier;
6. commit the group's offsets at that frontier.

There are two hosts. *In-process*: one role reads all partitions; others stand by. *Faust*: any number of roles share
the partitions, each with a state of its own (`processors.faust_host`). Both make the same features, under the same ids.
They keep their states apart: after a change of host everything that the topics still hold is made again, the same.
"""

import threading
import time
from contextlib import ExitStack, closing

import structlog

from infra.exceptions import SettingsError
from infra.metrics import STEP_SECONDS
from infra.roles.base import Context, keep_trying
from infra.roles.feature_lane import ROLE, FeatureLane
from infra.storage.database import Database, claim
from infra.topologies import load_topology
from processors.epoch_reader import EpochReader
from processors.exceptions import HostUnavailable
from processors.faust_host import PARTITIONS, FaustHost, Lane
from schemas.topics import TOPICS
from schemas.topology import Topology
from streams.exceptions import CommitFailed

NAME = ROLE
_POLL_S = 0.5
_LOOK_AGAIN_S = 0.5


def build(context: Context) -> "FeaturesRole":
    """The features role of the context's network.

    Raises
    ------
    SettingsError
        If the Faust host cannot be used with these settings.
    """
    kafka = context.settings.kafka
    if context.settings.features.host == "faust" and (kafka.security_protocol != "PLAINTEXT" or kafka.extra):
        raise SettingsError(
            "the Faust host speaks to brokers without TLS, SASL or further properties of librdkafka only",
            "use --host in-process, or a listener on loopback",
        )
    return FeaturesRole(context)


class FeaturesRole:
    """Makes features, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        attempt = self._in_process if self._context.settings.features.host == "in-process" else self._on_faust
        keep_trying(NAME, stop, lambda: attempt(stop))

    def _in_process(self, stop: threading.Event) -> None:
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            while not self._claim(database):
                if stop.wait(_LOOK_AGAIN_S):
                    return
            topology = self._prepare(database, stop)
            if topology is None:
                return
            group = f"twinloop.features.{context.network_id}"
            reader = stack.enter_context(
                closing(EpochReader(context.transport, context.serde, context.network_id, group, group))
            )
            producer = stack.enter_context(closing(context.transport.producer(NAME)))
            lane = FeatureLane(context, topology, database, producer)
            reader.start(*lane.restore())
            while not stop.is_set():
                for epoch in reader.read(_POLL_S):
                    began = time.monotonic()
                    lane.follow(epoch)
                    try:
                        reader.commit(epoch.frontier)
                    except CommitFailed as error:
                        self._log.warning("offsets not committed", error=error.cause)
                    context.after_step(NAME, 6, epoch.barrier.period_end_ms)
                    STEP_SECONDS.labels(NAME).observe(time.monotonic() - began)
                    if stop.is_set():
                        break

    def _on_faust(self, stop: threading.Event) -> None:
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            topology = self._prepare(database, stop)
            if topology is None:
                return
            producer = stack.enter_context(closing(context.transport.producer(NAME)))

            def open_lane(partition: int) -> Lane:
                follower = FeatureLane(context, topology, database, producer, partition, PARTITIONS)
                return Lane(context.transport, context.serde, context.network_id, partition, follower)

            settings = context.settings
            try:
                host = FaustHost(
                    settings.kafka.bootstrap_servers,
                    f"twinloop.features.faust.{context.network_id}",
                    open_lane,
                    settings.features.faust_session_s,
                )
            except HostUnavailable as error:
                raise SettingsError(error.cause, error.remedy) from None
            host.run(stop)

    def _prepare(self, database: Database, stop: threading.Event) -> Topology | None:
        topology = load_topology(database, self._context.network_id, stop)
        if topology is not None:
            self._context.transport.ensure_topics(TOPICS)
        return topology

    def _claim(self, database: Database) -> bool:
        with database.transaction() as connection:
            return claim(connection, f"{NAME}|{self._context.network_id}")

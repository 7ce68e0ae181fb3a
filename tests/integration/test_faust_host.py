"""The Faust host against the in-process host on real Kafka: the same bytes, shared by workers, one of them killed."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from infra.line_protocol.messages import Inject, Start
from infra.local.services import LocalServices
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from infra.roles.base import Context
from infra.roles.bridge_telemetry import TelemetryWriter
from infra.roles.features import FeaturesRole
from infra.settings import Settings
from infra.simulated import run_period
from infra.storage import progress
from infra.storage.database import connect
from processors.faust_host import PARTITIONS
from schemas.registry import connect as connect_registry
from schemas.registry import register
from schemas.topics import ANOMALIES, FEATURES, TELEMETRY, TOPICS
from streams.kafka import KafkaTransport
from streams.testing import wait_until
from tests.crash.dying import TwinProcess
from tests.databases import copy_of
from tests.network_runs import EVENING_MS, cell
from tests.twin_runs import running, tell_topology, wait_for

pytestmark = pytest.mark.integration

PERIOD_MS = 60_000
SESSION_S = 6.0
MADE = (FEATURES.name, ANOMALIES.name)


@dataclass
class Fed:
    """A reference network whose telemetry lies on Kafka, with faults in it, and a database of the network's own."""

    settings: dict[str, Any]
    context: Context
    network: ReferenceNetwork
    writer: TelemetryWriter

    @property
    def end_ms(self) -> int:
        return self.network.now_ms

    def feed(self, periods: int) -> None:
        """Run it, as the bridge does."""
        for _ in range(periods):
            run_period(self.network, self.writer, self.context.network_id)

    def with_host(self, host: str, database_url: str) -> dict[str, Any]:
        """Settings of a features role."""
        own = {"features": {"host": host, "faust_session_s": SESSION_S}, "database": {"url": database_url}}
        return self.settings | own


@pytest.fixture
def another_database(_plain_template: str) -> Iterator[str]:
    """For the other host."""
    with copy_of(_plain_template) as url:
        yield url


@pytest.fixture
def fed(services: LocalServices, database_url: str, another_database: str, unique: str) -> Iterator[Fed]:
    register(connect_registry(services.endpoints.registry_url))
    settings: dict[str, Any] = {
        "network_id": unique,
        "kafka": {"bootstrap_servers": services.endpoints.bootstrap_servers},
        "registry": {"url": services.endpoints.registry_url},
        "database": {"url": database_url},
    }
    transport = KafkaTransport(services.endpoints.bootstrap_servers)
    transport.ensure_topics(TOPICS)
    context = replace(Context.of(Settings(**settings)), transport=transport)
    network = ReferenceNetwork(Parameters.load(overrides={"time.step_s": 1.0, "layout.users": 100}), unique)
    list(network.start(Start(seed=8, start_time_ms=EVENING_MS)))
    for fault, site, delay, more in (
        ("duplicate_events", 2, 60, {}), ("late_events", 3, 120, {}), ("poison", 1, 180, {"lines": 2.0}),
        ("out_of_range", 4, 200, {}),
    ):  # fmt: skip
        target = "" if fault == "poison" else cell(site) if fault == "out_of_range" else cell(site).split(",GNBDU")[0]
        network.inject(Inject(id=fault, fault=fault, target=target, delay_s=delay, duration_s=60, parameters=more))
    for url in (database_url, another_database):
        tell_topology(url, network.hello().topology)
    with closing(TelemetryWriter(context, 60)) as writer:
        yield Fed(settings, context, network, writer)
    transport.close()


def produced(context: Context, since: dict[tuple[str, int], int]) -> dict[str, list[tuple[bytes, tuple[Any, ...]]]]:
    """Feature and anomaly events of the network by topic and key, in order: value and headers."""
    consumer = context.transport.consumer("look")
    consumer.assign(since)
    found: dict[str, list[tuple[bytes, tuple[Any, ...]]]] = {}
    while not consumer.at_end():
        for m in consumer.poll(2000, 0.5):
            key = (m.key or b"").decode()
            if key.startswith(f"{context.network_id}|"):
                found.setdefault(f"{m.topic} {key}", []).append((m.value or b"", tuple(m.headers)))
    consumer.close()
    return found


def rows(database_url: str, network_id: str) -> list[tuple[Any, ...]]:
    """Features and anomaly scores in the tables."""
    found = []
    with connect(database_url) as connection:
        for query in (
            "SELECT period_end_ms, cell, name, value FROM features WHERE network_id = %s ORDER BY 1, 2, 3",
            "SELECT period_end_ms, cell, score, body FROM anomalies WHERE network_id = %s ORDER BY 1, 2",
        ):
            found += connection.execute(query, (network_id,)).fetchall()
    return found


def finished(database_url: str, network_id: str, end_ms: int) -> bool:
    """Whether every partition has come that far."""
    with connect(database_url) as connection:
        reached = progress.reached(connection, network_id)
    return all(reached.get(f"features/{p}", -1) >= end_ms for p in range(PARTITIONS))


def in_process(fed: Fed) -> dict[str, list[tuple[bytes, tuple[Any, ...]]]]:
    """What the in-process host makes of what was fed."""
    since = fed.context.transport.end_offsets(MADE)
    context = replace(fed.context, settings=Settings(**fed.with_host("in-process", fed.context.database_url)))
    with running(FeaturesRole(context)):
        wait_for(fed.context.database_url, fed.end_ms, "features", fed.context.network_id)
    return produced(fed.context, since)


def test_both_hosts_make_the_same_bytes_in_the_same_order(fed: Fed, another_database: str) -> None:
    fed.feed(8)
    expected = in_process(fed)
    assert len(expected) == 2 * 21
    assert len({m.partition for m in telemetry_of(fed)}) > 1, "the elements are spread"
    since = fed.context.transport.end_offsets(MADE)
    settings = Settings(**fed.with_host("faust", another_database))
    with running(FeaturesRole(replace(fed.context, settings=settings, database_url=another_database))):
        wait_until(lambda: finished(another_database, fed.context.network_id, fed.end_ms), 90, "the Faust host")
    assert produced(fed.context, since) == expected
    assert rows(another_database, fed.context.network_id) == rows(fed.context.database_url, fed.context.network_id)


@pytest.mark.crash
def test_workers_share_the_partitions_and_one_that_is_killed_loses_and_doubles_nothing(
    fed: Fed, another_database: str
) -> None:
    network_id = fed.context.network_id
    since = fed.context.transport.end_offsets(MADE)
    settings = fed.with_host("faust", another_database)
    with TwinProcess(settings, role="features") as first, TwinProcess(settings, role="features"):
        fed.feed(4)
        wait_until(lambda: finished(another_database, network_id, fed.end_ms), 90, "both workers")
        wait_until(lambda: members(fed) == 2, 60, "both workers in the group")
        fed.feed(1)
        first.kill()
        fed.feed(4)
        wait_until(lambda: finished(another_database, network_id, fed.end_ms), 120, "the worker that is left")
        assert members(fed) == 1
    shared = produced(fed.context, since)
    expected = in_process(fed)
    assert {key: list(dict.fromkeys(events)) for key, events in shared.items()} == expected
    assert rows(another_database, network_id) == rows(fed.context.database_url, network_id)


def members(fed: Fed) -> int:
    """Workers in the group that have partitions."""
    group = f"twinloop.features.faust.{fed.context.network_id}"
    described = AdminClient({"bootstrap.servers": fed.settings["kafka"]["bootstrap_servers"]})
    found = described.describe_consumer_groups([group])[group].result(10)
    return sum(bool(m.assignment and m.assignment.topic_partitions) for m in found.members)


def telemetry_of(fed: Fed) -> list[Any]:
    """The network's PM on Kafka."""
    consumer = fed.context.transport.consumer("look")
    consumer.assign(fed.context.transport.begin_offsets([t.name for t in TELEMETRY[:1]]))
    found = []
    while not consumer.at_end():
        found += [m for m in consumer.poll(2000, 0.5) if (m.key or b"").startswith(fed.context.network_id.encode())]
    consumer.close()
    return found

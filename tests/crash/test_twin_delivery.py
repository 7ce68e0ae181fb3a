"""Effectively once, on real Kafka, registry and PostgreSQL, with real processes and SIGKILL.

Each test feeds a network that misbehaves, hurts the twin or its services, lets a twin finish, and compares every state
hash, the counts, late events and dead letters with a run that nobody disturbed.
"""

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from infra.dead_letters import Outcome, replay_letters
from infra.local.services import LocalServices
from infra.roles.base import Context
from infra.roles.twin import TwinRole, group_of
from infra.settings import Settings
from infra.storage.database import connect
from schemas.registry import connect as connect_registry
from schemas.registry import register
from schemas.telemetry import Severity
from schemas.topics import TELEMETRY
from streams.kafka import KafkaTransport
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.testing import wait_until
from streams.transport import Transport
from tests.crash.counting import count
from tests.crash.dying import Death, TwinProcess
from tests.telemetry import ELEMENTS, FM, MR, PM, Feeder, alarm, interleaved, mr, period_end, pm, telemetry, topology
from tests.twin_runs import calm_run, check_equals, logged, running, tell_topology, wait_for, without_offsets

pytestmark = [pytest.mark.integration, pytest.mark.crash]

LAST = 4


@dataclass(frozen=True)
class Installation:
    """One network on the shared services, with a database of its own."""

    network_id: str
    services: LocalServices
    settings: dict[str, Any]
    context: Context
    feed: Feeder

    @property
    def transport(self) -> Transport:
        return self.context.transport

    @property
    def database_url(self) -> str:
        return self.context.database_url

    def wait_for(self, period: int) -> None:
        wait_for(self.database_url, period_end(period), network_id=self.network_id)

    def finish(self) -> None:
        """Let a healthy twin do the rest, and compare with calm runs."""
        with running(TwinRole(self.context)):
            self.wait_for(LAST)
        self.check()

    def check(self) -> None:
        serde, network = self.context.serde, self.network_id
        calm = calm_run(self.transport, serde, network)
        check_equals(self.transport, serde, self.database_url, calm, network)

        memory, local = MemoryTransport(), Serde(LocalIds())
        feed = Feeder(memory, local, network)
        for period in range(1, LAST + 1):
            misbehave(feed, network, period)
        undisturbed = calm_run(memory, local, network)
        begin = self.transport.begin_offsets([t.name for t in TELEMETRY])
        assert set(begin.values()) == {0}, "the topics keep what they were given"
        assert undisturbed.counts == calm.counts
        assert without_offsets(undisturbed.state.twin) == without_offsets(calm.state.twin)

        seen, said = count(self.services.endpoints.bootstrap_servers, network), logged(self.database_url, network)[-1]
        assert seen.telemetry == said.counts.ingested
        assert (seen.late, seen.dead_lettered) == (said.counts.late, said.counts.dead_lettered)
        assert seen.reinjected == said.counts.reinjected


def misbehave(feed: Feeder, network: str, period: int, seed: int | None = None) -> None:
    """One period in which events come twice, too late, too early, as poison, and with an identity in them.

    ``seed`` mixes the managed elements' events in another order.
    """
    streams = []
    for element, name in enumerate(ELEMENTS):
        own = [
            (where, event.model_copy(update={"network_id": network}))
            for where, event in telemetry(period)
            if getattr(event, "managed_element") == name  # noqa: B009
        ]
        if period == 2:
            own += [own[0], (PM, pm(1, element, network_id=network)), (PM, pm(3, element, network_id=network))]
            own.append((FM, alarm(2, element, 1, Severity.CRITICAL, network_id=network)))
            own.append((MR, mr(2, element, network_id=network, event_id=f"leak-{element}", ue=["+4915112345678"] * 4)))
        streams.append(own)
    feed.send(interleaved(streams, seed) if seed is not None else [e for own in streams for e in own])
    if period in (2, 3):
        feed.send_bytes(PM, f"{network}|{ELEMENTS[0]}", b"poison")
    feed.barrier(period)


@pytest.fixture(scope="session")
def serde(services: LocalServices) -> Serde:
    """Against the real registry, with all schemas registered."""
    register(connect_registry(services.endpoints.registry_url))
    return Context.of(Settings(registry={"url": services.endpoints.registry_url})).serde


@pytest.fixture
def installed(services: LocalServices, serde: Serde, database_url: str, unique: str) -> Iterator[Installation]:
    settings: dict[str, Any] = {
        "network_id": unique,
        "kafka": {"bootstrap_servers": services.endpoints.bootstrap_servers},
        "registry": {"url": services.endpoints.registry_url},
        "database": {"url": database_url},
        # Other tests share the topics: their unkeyed poison is none of ours.
        "twin": {"adopt_unkeyed": False},
    }
    transport = KafkaTransport(services.endpoints.bootstrap_servers)
    context = replace(Context.of(Settings(**settings)), transport=transport, serde=serde)
    tell_topology(database_url, topology(unique))
    yield Installation(unique, services, settings, context, Feeder(transport, serde, unique))
    transport.close()


def feed_all(installed: Installation) -> None:
    for period in range(1, LAST + 1):
        misbehave(installed.feed, installed.network_id, period)


@pytest.mark.parametrize("step", range(1, 8))
def test_killed_after_step(step: int, installed: Installation) -> None:
    """The table of docs/delivery.md, row by row."""
    feed_all(installed)
    with TwinProcess(installed.settings, Death(step, period_end(2))) as twin:
        twin.await_death()
    durable = [row.revision for row in logged(installed.database_url, installed.network_id)]
    assert durable == ([1] if step < 5 else [1, 2])
    installed.finish()


def test_killed_between_snapshots(installed: Installation) -> None:
    feed_all(installed)
    settings = {**installed.settings, "twin": {"adopt_unkeyed": False, "snapshot_every": 2}}
    with TwinProcess(settings, Death(5, period_end(3))) as twin:
        twin.await_death()
    with connect(installed.database_url) as connection:
        assert connection.execute("SELECT array_agg(revision) FROM snapshots").fetchone() == ([2],)
    installed.finish()


def test_killed_at_any_moment_again_and_again(installed: Installation) -> None:
    feed_all(installed)
    pause = threading.Event()
    for _ in range(4):
        with TwinProcess(installed.settings) as twin:
            pause.wait(random.uniform(0.05, 0.8))
            twin.kill()
    installed.finish()


def test_another_process_takes_over_when_the_first_is_killed(installed: Installation) -> None:
    misbehave(installed.feed, installed.network_id, 1)
    with TwinProcess(installed.settings) as first:
        installed.wait_for(1)
        with TwinProcess(installed.settings) as second:
            misbehave(installed.feed, installed.network_id, 2)
            installed.wait_for(2)
            first.kill()
            for period in (3, 4):
                misbehave(installed.feed, installed.network_id, period)
            installed.wait_for(LAST)
            assert second.stop() == 0, "SIGTERM ends it in good order"
    installed.finish()


def test_letters_sent_again_are_counted_apart(installed: Installation) -> None:
    feed_all(installed)
    with running(TwinRole(installed.context)):
        installed.wait_for(LAST)
    answers = replay_letters(installed.context, actor="person:test")
    assert sorted(a.outcome for a in answers) == [Outcome.IMPOSSIBLE] * 2 + [Outcome.SENT] * 2
    installed.feed.barrier(LAST + 1)
    with TwinProcess(installed.settings, Death(5, period_end(LAST + 1))) as twin:
        twin.await_death()
    counts = logged(installed.database_url, installed.network_id)[-1].counts
    seen = count(installed.services.endpoints.bootstrap_servers, installed.network_id)
    assert (seen.telemetry, seen.reinjected) == (counts.ingested, counts.reinjected)
    assert counts.reinjected == 2
    assert (seen.late, seen.dead_lettered) == (counts.late, counts.dead_lettered)
    assert counts.dead_lettered == 6, "poison stays poison"


def test_order_of_managed_elements_changes_nothing(installed: Installation) -> None:
    for period in range(1, LAST + 1):
        misbehave(installed.feed, installed.network_id, period, seed=period)
    installed.finish()


def test_rebalances_of_its_group_change_nothing(installed: Installation) -> None:
    names = [t.name for t in TELEMETRY]
    with TwinProcess(installed.settings) as twin:
        misbehave(installed.feed, installed.network_id, 1)
        installed.wait_for(1)
        for period in (2, 3):  # a stranger joins the group that the twin commits to, and leaves it again
            stranger = installed.transport.consumer("stranger", group=group_of(installed.context))
            stranger.subscribe(names)
            wait_until(lambda s=stranger: bool(s.poll(1, 0.2) or s.position()), 30, "the stranger has partitions")  # type: ignore[misc]
            misbehave(installed.feed, installed.network_id, period)
            installed.wait_for(period)
            stranger.close()
        misbehave(installed.feed, installed.network_id, LAST)
        installed.wait_for(LAST)
        assert twin.stop() == 0
    installed.check()


def test_a_broker_that_restarts_changes_nothing(installed: Installation) -> None:
    with TwinProcess(installed.settings) as twin:
        misbehave(installed.feed, installed.network_id, 1)
        installed.wait_for(1)
        installed.services.kill_kafka()
        installed.services.start_again("kafka")
        for period in (2, 3, 4):
            misbehave(installed.feed, installed.network_id, period)
        installed.wait_for(LAST)
        assert twin.stop() == 0
    installed.check()


def test_a_database_that_restarts_changes_nothing(installed: Installation) -> None:
    with TwinProcess(installed.settings) as twin:
        misbehave(installed.feed, installed.network_id, 1)
        installed.wait_for(1)
        installed.services.kill_postgres()
        misbehave(installed.feed, installed.network_id, 2)
        installed.services.start_again("postgres")
        for period in (3, 4):
            misbehave(installed.feed, installed.network_id, period)
        installed.wait_for(LAST)
        assert twin.stop() == 0
    installed.check()

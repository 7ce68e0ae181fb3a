"""A learn role killed with SIGKILL, on real Kafka, registry and PostgreSQL: it learns the same and tells it once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infra.local.services import LocalServices
from infra.replaying import verify_replay
from infra.roles.base import Context
from infra.roles.learn import LearnRole
from infra.roles.twin import TwinRole
from infra.settings import Settings
from infra.storage.database import connect
from infra.storage.models import load_learner
from schemas.base import Event
from schemas.registry import connect as connect_registry
from schemas.registry import register
from schemas.topics import MODELS, Topic
from streams.kafka import KafkaTransport
from tests.crash.dying import Death, TwinProcess
from tests.telemetry import Feeder, period_end, telemetry, topology
from tests.twin_runs import events_on, running, tell_topology, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]

LAST = 26
HASTY = {"warm_up": 2, "rest": 1, "block": 4, "looks": [2], "alpha": 0.45}
DEATHS = {step: 9 + 2 * step for step in range(1, 6)}


@pytest.fixture
def settings(services: LocalServices, database_url: str, unique: str) -> dict[str, Any]:
    register(connect_registry(services.endpoints.registry_url))
    tell_topology(database_url, topology(unique))
    return {
        "network_id": unique,
        "kafka": {"bootstrap_servers": services.endpoints.bootstrap_servers},
        "registry": {"url": services.endpoints.registry_url},
        "database": {"url": database_url},
        "twin": {"adopt_unkeyed": False},
        "learn": HASTY,
    }


@pytest.fixture
def context(settings: dict[str, Any]) -> Iterator[Context]:
    transport = KafkaTransport(settings["kafka"]["bootstrap_servers"])
    yield replace(Context.of(Settings(**settings)), transport=transport)
    transport.close()


def of(network: str, period: int) -> list[tuple[Topic, Event]]:
    """A calm period's events of that network."""
    return [(where, event.model_copy(update={"network_id": network})) for where, event in telemetry(period)]


def learned(context: Context) -> tuple[bytes | None, list[Any]]:
    """The learner's state, and everything that was decided."""
    with connect(context.database_url) as connection:
        rows = connection.execute("SELECT * FROM models ORDER BY model, version").fetchall()
        return load_learner(connection, context.network_id, "1", "learn"), rows


def test_killed_after_every_step_it_learns_the_same_and_tells_it_once(
    settings: dict[str, Any], context: Context
) -> None:
    network = context.network_id
    feed = Feeder(context.transport, context.serde, network)
    for period in range(1, LAST + 1):
        feed.period(period, of(network, period))
    with running(TwinRole(context)):
        wait_for(context.database_url, period_end(LAST), network_id=network)
    for step, period in DEATHS.items():
        with TwinProcess(settings, Death(step, period_end(period)), role="learn") as process:
            process.await_death()
    with TwinProcess(settings, role="learn"):
        wait_for(context.database_url, period_end(LAST), role="learn", network_id=network)
    killed = learned(context)
    told = [e.event_id for e in events_on(context.transport, context.serde, MODELS, network)]
    assert {row[5] for row in killed[1]} - {"challenger"}, "something was decided"

    with connect(context.database_url) as connection:
        for table in ("models", "learners", "outbox"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM progress WHERE role = 'learn'")
    with running(LearnRole(context)):
        wait_for(context.database_url, period_end(LAST), role="learn", network_id=network)
    assert learned(context) == killed

    # Models lie in several partitions, so that what came later does not stand later.
    again = Counter(e.event_id for e in events_on(context.transport, context.serde, MODELS, network)) - Counter(told)
    assert again.keys() == set(told)
    assert len(told) <= len(set(told)) + 1, "at most what was published when it died is told twice, under its id"
    feed.period(LAST + 1, of(network, LAST + 1))
    with running(TwinRole(context)):
        wait_for(context.database_url, period_end(LAST + 1), network_id=network)
    assert all(r.matches for r in verify_replay(context, LAST))

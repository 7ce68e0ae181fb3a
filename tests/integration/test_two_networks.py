"""Two networks in one installation do not see each other: each is as it would be alone.

They share Kafka, registry, database and workers, and are as alike as can be: the same names of managed elements, cells
and people's strategies, other users. Beside that each runs alone, in an installation of its own in memory.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.line_protocol.messages import Inject, Start
from infra.local.services import LocalServices
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from infra.roles import alerts, features, inner, learn, outer, twin, worker
from infra.roles.base import Context, Role
from infra.roles.bridge_telemetry import TelemetryWriter
from infra.settings import Settings
from infra.simulated import run_period
from infra.storage.database import Database, connect
from infra.twin_source import PostgresTwins
from loops.inner.design import Design
from schemas.registry import connect as connect_registry
from schemas.registry import register
from streams.kafka import KafkaTransport
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.testing import wait_until
from streams.transport import Transport
from tests.databases import copy_of
from tests.network_runs import EVENING_MS, cell
from tests.twin_runs import running, tell_topology, wait_for, without_offsets

pytestmark = pytest.mark.integration

PERIODS, MINUTE_MS = 16, 60_000
FOLLOWED = ("twin", "features", "inner", "outer", "learn")
# So cheap that many periods fit into a test; what is compared does not depend on how many scenarios there are.
DESIGN = Design.model_validate({"looks": [12, 36], "alpha": 0.2, "horizon_periods": 2})
STRATEGY = """
title: Switch a cell off
by: ada
objective: {kpi: PEE.AvgPower, direction: down}
changes:
  - {cell: gnb1-1, attribute: administrativeState, value: LOCKED}
"""
# What is compared, table by table: what does not tell when by the clock it was written, or where input lay on Kafka.
TABLES = {
    "revisions": "revision, period_end_ms, gate_open, counts, fidelity, model_versions",
    "kpis": "period_end_ms, cell, kpi, observed, predicted",
    "features": "period_end_ms, cell, name, value",
    "anomalies": "period_end_ms, cell, score",
    "strategies": "strategy_id, agent, state, revision, body",
    "verdicts": "job_id, verdict, body",
    "plans": "plan_id, strategy_id",
    "alerts": "alert_id, fingerprint",
    "learners": "region, learner, period_end_ms",
}


class Fed:
    """A network that is fed into an installation period by period."""

    def __init__(self, context: Context, seed: int, users: int) -> None:
        self.context = context
        parameters = Parameters.load(overrides={"time.step_s": 1.0, "layout.users": users})
        self.network = ReferenceNetwork(parameters, context.network_id)
        list(self.network.start(Start(seed=seed, start_time_ms=EVENING_MS)))
        self.network.inject(
            Inject(
                id="gone", fault="cell_outage", target=cell(2, seed % 3 + 1), delay_s=300, duration_s=120, parameters={}
            )
        )
        tell_topology(context.database_url, self.network.hello().topology)
        self.writer = TelemetryWriter(context, 60)

    def step(self) -> None:
        run_period(self.network, self.writer, self.context.network_id)


def roles_of(context: Context) -> list[Role]:
    return [module.build(context) for module in (twin, features, inner, outer, learn, alerts)]


@contextmanager
def installation(
    transport: Transport, serde: Serde, database_url: str, networks: dict[str, tuple[int, int]], schedule: Path
) -> Iterator[list[Fed]]:
    """All roles of some networks, and one worker for them."""
    fed = []
    with ExitStack() as stack:
        for network_id, (seed, users) in networks.items():
            settings = Settings(
                network_id=network_id,
                twin={"adopt_unkeyed": False, "snapshot_every": 1, "keep_snapshots": 50},
                lockstep={"roles": ("twin", "inner", "outer", "learn")},
                inner={
                    "agents": ("energy-saving",), "warm_up_periods": 3, "schedule": schedule,
                    "design": DESIGN.model_dump(mode="json"),
                },
                outer={"ack_deadline_s": 0.2},
                features={"window_periods": 2},
            )  # fmt: skip
            context = Context(settings, network_id, "1", transport, serde, database_url)
            one = Fed(context, seed, users)
            stack.enter_context(closing(one.writer))
            fed.append(one)
            stack.enter_context(running(*roles_of(context)))
        stack.enter_context(running(worker.build(fed[0].context)))
        yield fed


def run(fed: list[Fed]) -> None:
    """All their periods; they take turns."""
    for _ in range(PERIODS):
        for one in fed:
            one.step()
        for one in fed:
            for role in FOLLOWED:
                wait_for(one.context.database_url, one.network.now_ms, role, one.context.network_id)
    wait_until(lambda: not any(_untold(one.context) for one in fed), 30, "the outbox is empty")


def _untold(context: Context) -> int:
    with connect(context.database_url) as connection:
        query = "SELECT count(*) FROM outbox WHERE network_id = %s AND published_at IS NULL"
        row = connection.execute(query, (context.network_id,)).fetchone()
    return int(row[0]) if row else 0


def told(database_url: str, network_id: str, table: str) -> list[Any]:
    """A network's rows of a table."""
    with connect(database_url) as connection:
        query = f"SELECT {TABLES[table]} FROM {table} WHERE network_id = %s"
        return sorted(connection.execute(query, (network_id,)).fetchall(), key=repr)


def final_twin(database_url: str, network_id: str) -> str:
    with Database(database_url) as database:
        return without_offsets(PostgresTwins(database).load(network_id, "1", PERIODS))


@pytest.fixture
def another(_plain_template: str) -> Callable[[], AbstractContextManager[str]]:
    """Makes further databases."""
    return lambda: copy_of(_plain_template)


def test_each_of_two_networks_is_as_it_would_be_alone(
    services: LocalServices,
    database_url: str,
    another: Callable[[], AbstractContextManager[str]],
    unique: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "off.yaml").write_text(STRATEGY)
    schedule = tmp_path / "schedule.yaml"
    schedule.write_text(json.dumps([{"at_period": 8, "file": str(tmp_path / "off.yaml")}]))
    networks = {f"{unique}a": (3, 90), f"{unique}b": (4, 60)}

    register(connect_registry(services.endpoints.registry_url))
    serde = Context.of(Settings(registry={"url": services.endpoints.registry_url})).serde
    transport = KafkaTransport(services.endpoints.bootstrap_servers)
    with installation(transport, serde, database_url, networks, schedule) as fed:
        run(fed)
    transport.close()

    for network_id, (seed, users) in networks.items():
        with another() as own_url:
            local = Serde(LocalIds())
            with installation(MemoryTransport(), local, own_url, {network_id: (seed, users)}, schedule) as alone:
                run(alone)
            assert final_twin(database_url, network_id) == final_twin(own_url, network_id)
            for table in TABLES:
                shared, own = told(database_url, network_id, table), told(own_url, network_id, table)
                assert own or table == "plans", f"{table} says nothing: that proves nothing"
                assert shared == own, table
    a, b = networks
    assert final_twin(database_url, a) != final_twin(database_url, b)
    assert told(database_url, a, "verdicts") != told(database_url, b, "verdicts")

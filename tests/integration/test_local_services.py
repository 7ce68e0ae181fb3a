"""The local services really run: what they promise to clients, and what survives a restart."""

import contextlib
import json

import httpx
import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.local.ports import Ports
from infra.local.services import Endpoints, LocalServices

pytestmark = pytest.mark.integration


def _read_one(endpoints: Endpoints, topic: str, **config: object) -> bytes | None:
    consumer = Consumer(
        {
            "bootstrap.servers": endpoints.bootstrap_servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            **config,
        }
    )
    with contextlib.closing(consumer):
        consumer.subscribe([topic])
        message = consumer.poll(20.0)
        assert message is not None, "nothing came within 20 s"
        assert message.error() is None
        return message.value()


def _make_topic(endpoints: Endpoints, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": endpoints.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)


def _write(endpoints: Endpoints, topic: str, value: bytes, timestamp_ms: int = 0) -> None:
    producer = Producer({"bootstrap.servers": endpoints.bootstrap_servers, "acks": "all"})
    producer.produce(topic, value, timestamp=timestamp_ms)
    assert producer.flush(20) == 0


def test_all_three_answer_and_say_so(services: LocalServices) -> None:
    status = {s.name: s for s in services.status()}
    assert set(status) == {"kafka", "registry", "postgres"}
    assert all(s.healthy and s.running and s.memory_bytes for s in status.values()), status
    written = json.loads((services.root / "endpoints.json").read_text())
    assert written == services.endpoints.model_dump()


def test_nothing_listens_beyond_loopback(services: LocalServices) -> None:
    pids = {s.pid for s in services.status()}
    listening = [
        c.laddr.ip
        for c in psutil.net_connections(kind="inet")
        if c.pid in pids and c.status == psutil.CONN_LISTEN and c.laddr
    ]
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_up_again_finds_what_runs(services: LocalServices) -> None:
    pids = {s.name: s.pid for s in services.status()}
    elsewhere = LocalServices(services.root, Ports.free())
    assert elsewhere.up() == services.endpoints
    assert {s.name: s.pid for s in elsewhere.status()} == pids


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(endpoints: Endpoints, unique: str) -> None:
    _make_topic(endpoints, unique)
    producer = Producer({"bootstrap.servers": endpoints.bootstrap_servers, "transactional.id": unique})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(unique, b"aborted")
    producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(unique, b"committed")
    producer.commit_transaction(20)
    assert _read_one(endpoints, unique) == b"committed"


@pytest.mark.parametrize("timestamp_ms", [1_000, 253_402_300_799_000], ids=["long ago", "far ahead"])
def test_event_time_far_from_now_is_kept(services: LocalServices, unique: str, timestamp_ms: int) -> None:
    _make_topic(services.endpoints, unique)
    _write(services.endpoints, unique, b"event", timestamp_ms)
    assert _read_one(services.endpoints, unique) == b"event"


def test_records_survive_a_killed_broker(services: LocalServices, unique: str) -> None:
    endpoints = services.endpoints
    _make_topic(endpoints, unique)
    _write(endpoints, unique, b"kept")
    services.kill_kafka()
    assert not next(s for s in services.status() if s.name == "kafka").running
    services.restart_kafka()
    assert services.endpoints == endpoints
    assert _read_one(endpoints, unique) == b"kept"


def test_schemas_survive_a_killed_registry(services: LocalServices, unique: str) -> None:
    subject = f"{services.endpoints.registry_url}/subjects/{unique}-value/versions"
    schema = {"schema": json.dumps({"type": "record", "name": unique, "fields": []})}
    assert httpx.post(subject, json=schema).raise_for_status().json()["id"] > 0
    services.registry.kill()
    services.start_again("registry")
    assert httpx.get(subject).raise_for_status().json() == [1]


def test_a_group_of_two_forms_at_once_and_loses_a_member_within_seconds(endpoints: Endpoints, unique: str) -> None:
    _make_topic(endpoints, unique)
    _write(endpoints, unique, b"one")
    # The broker refuses a session timeout below its own minimum.
    assert _read_one(endpoints, unique, **{"session.timeout.ms": 1000, "heartbeat.interval.ms": 300}) == b"one"

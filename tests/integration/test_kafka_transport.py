"""What only a real broker shows: restarts, killed members, retention."""

import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.local.services import LocalServices
from streams.exceptions import DeliveryFailed, OffsetLost
from streams.kafka import KafkaTransport
from streams.testing import wait_until
from streams.transport import Consumer, Message

pytestmark = pytest.mark.integration
_DEADLINE_S = 60.0


class Declared(NamedTuple):
    """A topic of these tests."""

    name: str
    partitions: int = 3


@pytest.fixture
def transport(services: LocalServices) -> Iterator[KafkaTransport]:
    # A member that is killed is missed after two seconds instead of ten.
    properties = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 500}
    transport = KafkaTransport(services.endpoints.bootstrap_servers, properties)
    yield transport
    transport.close()


@pytest.fixture
def topic(transport: KafkaTransport, unique: str) -> str:
    transport.ensure_topics([Declared(unique)])
    return unique


def read(consumer: Consumer, n: int, got: list[Message] | None = None) -> list[Message]:
    out = [] if got is None else got

    def complete() -> bool:
        out.extend(consumer.poll(1000, 0.2))
        return len(out) >= n

    wait_until(complete, _DEADLINE_S, f"{n} messages")
    return out


def test_messages_sent_while_the_broker_is_dead_arrive_once_and_in_order(
    services: LocalServices, transport: KafkaTransport, topic: str
) -> None:
    producer = transport.producer("test")
    consumer = transport.consumer("test")
    for i in range(200):
        producer.send(topic, f"net|{i % 5}", b"%d" % i)
    producer.flush(_DEADLINE_S)
    consumer.assign(transport.begin_offsets([topic]))
    got = read(consumer, 200)
    services.kill_kafka()
    for i in range(200, 400):
        producer.send(topic, f"net|{i % 5}", b"%d" % i)
    with pytest.raises(DeliveryFailed, match="200 not acknowledged"):
        producer.flush(0.5)
    services.start_again("kafka")
    producer.flush(_DEADLINE_S)
    assert sum(producer.acked().values()) == 400
    read(consumer, 400, got)
    for key in range(5):
        values = [int(m.value or b"") for m in got if m.key == b"net|%d" % key]
        assert values == list(range(key, 400, 5))
    assert consumer.position() == transport.end_offsets([topic])


def test_the_work_of_a_killed_member_goes_to_the_others(transport: KafkaTransport, topic: str, unique: str) -> None:
    producer = transport.producer("test")
    for i in range(60):
        producer.send(topic, f"net|{i}", b"%d" % i)
    producer.flush(_DEADLINE_S)
    script = (
        "import sys; from streams.kafka import KafkaTransport\n"
        f"t = KafkaTransport({transport._properties.bootstrap!r}, "
        "{'session.timeout.ms': 2000, 'heartbeat.interval.ms': 500})\n"
        f"c = t.consumer('doomed', {unique!r}); c.subscribe([{topic!r}])\n"
        "n = 0\n"
        "while n < 60: n += len(c.poll(100, 1))\n"
        "print('read', flush=True)\n"
        "while True: c.poll(100, 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as doomed:
        try:
            assert doomed.stdout is not None
            assert doomed.stdout.readline() == "read\n"
        finally:
            doomed.kill()
    heir = transport.consumer("heir", unique)
    heir.subscribe([topic])
    assert sorted(int(m.value or b"") for m in read(heir, 60)) == list(range(60))
    heir.close()


def test_what_retention_took_is_missed_and_not_skipped(transport: KafkaTransport, topic: str) -> None:
    producer = transport.producer("test")
    for i in range(50):
        producer.send(topic, b"one key", b"%d" % i)
    producer.flush(_DEADLINE_S)
    ((place, end),) = producer.acked().items()
    assert end == 50
    admin = AdminClient({"bootstrap.servers": transport._properties.bootstrap})
    for deleted in admin.delete_records([TopicPartition(*place, 20)]).values():
        deleted.result()
    assert transport.begin_offsets([topic])[place] == 20
    consumer = transport.consumer("test")
    consumer.assign({place: 10})

    def polled() -> bool:
        consumer.poll(1, 0.2)
        return False

    with pytest.raises(OffsetLost, match="offset 10"):
        wait_until(polled, _DEADLINE_S, "OffsetLost")
    consumer.assign({place: 20})
    assert [m.offset for m in read(consumer, 30)] == list(range(20, 50))
    latecomer = transport.consumer("latecomer", f"{topic}.group")
    latecomer.subscribe([topic])  # committed nothing: begins with what is left
    assert [m.offset for m in read(latecomer, 30)] == list(range(20, 50))
    latecomer.close()


def test_two_processes_may_create_the_same_topics(services: LocalServices, unique: str) -> None:
    wanted = [Declared(f"{unique}.{i}", 2) for i in range(5)]
    transports = [KafkaTransport(services.endpoints.bootstrap_servers) for _ in range(2)]
    for transport in transports:
        transport.ensure_topics(wanted)
    assert transports[1].partitions([t.name for t in wanted]) == dict.fromkeys((t.name for t in wanted), 2)
    for transport in transports:
        transport.close()

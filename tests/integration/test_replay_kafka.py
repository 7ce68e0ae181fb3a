"""From Kafka to Parquet and back to Kafka: the second pass holds the epochs of the first."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.services import Endpoints
from schemas.registry import connect, register
from schemas.telemetry import PeriodEnd
from schemas.topics import PERIODS, TELEMETRY
from streams.frontier import Frontier, from_records
from streams.kafka import KafkaTransport
from streams.recording import record
from streams.replay import replay
from streams.schema_ids import RegistryIds
from streams.serde import Serde
from streams.transport import Message, Transport
from tests.telemetry import PM, Feeder

pytestmark = pytest.mark.integration
_NAMES = [t.name for t in (*TELEMETRY, PERIODS)]
Epoch = list[tuple[str, bytes | None, bytes | None]]


@pytest.fixture
def transport(endpoints: Endpoints) -> Iterator[KafkaTransport]:
    transport = KafkaTransport(endpoints.bootstrap_servers)
    yield transport
    transport.close()


def between(transport: Transport, begin: Frontier, end: Frontier) -> list[Message]:
    consumer = transport.consumer("test")
    consumer.assign(begin)
    out: list[Message] = []
    while not consumer.at_end():
        out += consumer.poll(1000, 1)
    consumer.close()
    return [m for m in out if m.offset < end[m.topic, m.partition]]


def epochs(serde: Serde, messages: list[Message], begin: Frontier) -> list[Epoch]:
    """What lies between one barrier and the next."""
    out: list[Epoch] = []
    barriers = sorted((m for m in messages if m.topic == PERIODS.name), key=lambda m: m.offset)
    before = begin
    for barrier in (serde.decode_as(PERIODS, m.value, PeriodEnd) for m in barriers):
        until = from_records(barrier.offsets)
        inside = [
            (m.topic, m.key, m.value)
            for m in messages
            if m.topic != PERIODS.name and before[m.topic, m.partition] <= m.offset < until[m.topic, m.partition]
        ]
        out.append(sorted(inside, key=repr))
        before = until
    return out


def test_a_recording_of_kafka_replayed_into_kafka_has_the_same_epochs(
    endpoints: Endpoints, transport: KafkaTransport, tmp_path: Path
) -> None:
    register(connect(endpoints.registry_url))
    serde = Serde(RegistryIds(endpoints.registry_url))
    feeder = Feeder(transport, serde)
    begin = transport.end_offsets(_NAMES)
    feeder.period(1)
    feeder.send_bytes(PM, "tiny|ManagedElement=x", b"poison")
    feeder.period(2)
    feeder.period(3)
    middle = transport.end_offsets(_NAMES)
    recording = record(transport, _NAMES, tmp_path, ids=serde.ids, begin=begin, end=middle)
    done = replay(recording, transport, serde)
    end = transport.end_offsets(_NAMES)
    assert done.end == end
    first = epochs(serde, between(transport, begin, middle), begin)
    second = epochs(serde, between(transport, middle, end), middle)
    assert [len(e) for e in first] == [6, 5, 4]
    assert second == first

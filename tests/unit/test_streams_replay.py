"""A recording, replayed into another cluster, means what it meant: same epochs, same order, same bytes."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from schemas.avro import schema_text
from schemas.telemetry import PeriodEnd, Severity
from schemas.topics import PERIODS, TELEMETRY, TOPICS, Topic
from streams.clock import SettableClock
from streams.exceptions import DeliveryFailed, RecordingError, TopicMissing
from streams.frontier import Frontier, from_records
from streams.memory import MemoryTransport
from streams.recording import Recording, record
from streams.replay import replay
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import Message
from tests import telemetry
from tests.telemetry import PM, Feeder

_NAMES = [t.name for t in (*TELEMETRY, PERIODS)]


class Wide(NamedTuple):
    """A topic with other partitions than the table of topics says."""

    name: str
    partitions: int


def read_all(transport: MemoryTransport, names: list[str]) -> list[Message]:
    consumer = transport.consumer("test")
    consumer.assign(transport.begin_offsets(names))
    out: list[Message] = []
    while not consumer.at_end():
        out += consumer.poll(1000, 0)
    consumer.close()
    return out


def epochs(transport: MemoryTransport, serde: Serde, network: str) -> list[tuple[int, list[tuple[bytes, bytes]]]]:
    """Per barrier of a network: its period, and what lies between it and the one before, sorted."""
    events = read_all(transport, [t.name for t in TELEMETRY])
    barriers = [serde.decode_as(PERIODS, m.value, PeriodEnd) for m in read_all(transport, [PERIODS.name])]
    out = []
    before: Frontier = {}
    for barrier in (b for b in barriers if b.network_id == network):
        until = from_records(barrier.offsets)
        inside = [
            (m.key or b"", m.value or b"")
            for m in events
            if before.get((m.topic, m.partition), 0) <= m.offset < until[m.topic, m.partition]
            and (m.key or b"").startswith(network.encode())
        ]
        out.append((barrier.period_end_ms, sorted(inside)))
        before = until
    return out


def by_key(transport: MemoryTransport, names: list[str]) -> dict[tuple[str, bytes | None], list[Message]]:
    out: dict[tuple[str, bytes | None], list[Message]] = defaultdict(list)
    for m in sorted(read_all(transport, names), key=lambda m: (m.topic, m.partition, m.offset)):
        out[m.topic, m.key].append(m._replace(partition=0, offset=0))
    return out


class Source:
    """A cluster with some periods of the tiny network on it, not all of it beautiful."""

    def __init__(self) -> None:
        self.transport = MemoryTransport()
        self.serde = Serde(LocalIds())
        feeder = Feeder(self.transport, self.serde)
        for period in (1, 2, 3):
            feeder.send(telemetry.telemetry(period))
            if period == 2:
                feeder.send([(PM, telemetry.pm(1, 0))], headers=[("late", b"\x00")])
                feeder.send_bytes(PM, "tiny|ManagedElement=x", b"\x00\x00\x00\x00\x63poison")
                feeder.send_bytes(PM, None, b"keyless")
                feeder.send_bytes(PM, b"\xff", None)
            feeder.barrier(period)
        feeder.send([(PM, telemetry.pm(4, 0))])  # of a period that was not closed
        feeder._producer.flush(1)

    def record(self, folder: Path) -> Recording:
        return record(self.transport, _NAMES, folder, ids=self.serde.ids)


@pytest.fixture
def source() -> Source:
    return Source()


def target_of(partitions: int = 3) -> MemoryTransport:
    transport = MemoryTransport()
    transport.ensure_topics([Wide(t.name, 1 if t is PERIODS else partitions) for t in TOPICS])
    return transport


@pytest.mark.parametrize("partitions", [3, 5, 1])
def test_every_epoch_holds_the_same_events_in_a_cluster_of_another_shape(
    source: Source, tmp_path: Path, partitions: int
) -> None:
    target = target_of(partitions)
    done = replay(source.record(tmp_path), target, source.serde)
    assert epochs(target, source.serde, "tiny") == epochs(source.transport, source.serde, "tiny")
    assert sum(done.sent.values()) == sum(source.transport.end_offsets(_NAMES).values())
    assert done.end == target.end_offsets(_NAMES)


def test_keys_values_headers_times_and_order_within_keys_are_restored(source: Source, tmp_path: Path) -> None:
    target = target_of()
    replay(source.record(tmp_path), target, source.serde)
    names = [t.name for t in TELEMETRY]
    before, after = by_key(source.transport, names), by_key(target, names)
    keyless = (PM.name, None)
    assert after.pop(keyless) == before.pop(keyless)
    assert after == before


def test_barriers_are_translated_where_offsets_do_not_begin_at_zero(source: Source, tmp_path: Path) -> None:
    target = target_of()
    Feeder(target, source.serde).period(9)  # something was there before
    at = target.end_offsets(_NAMES)
    replay(source.record(tmp_path), target, source.serde)
    first = [m for m in read_all(target, [PERIODS.name]) if m.offset == at[PERIODS.name, 0]]
    barrier = source.serde.decode_as(PERIODS, first[0].value, PeriodEnd)
    ends = from_records(barrier.offsets)
    assert all(ends[tp] >= offset for tp, offset in at.items() if tp[0] != PERIODS.name)
    inside = epochs(source.transport, source.serde, "tiny")[0][1]
    assert sum(ends.values()) - sum(o for tp, o in at.items() if tp[0] != PERIODS.name) == len(inside)


def test_schema_ids_are_those_of_the_registry_of_now(source: Source, tmp_path: Path) -> None:
    ids = LocalIds([*reversed(TOPICS)])
    here = Serde(ids)
    assert ids.id_of(PM) != source.serde.ids.id_of(PM)
    target = target_of()
    replay(source.record(tmp_path), target, here)
    decoded = [here.decode(PM, m.value) for m in read_all(target, [PM.name]) if m.key and b"SubNetwork" in m.key]
    assert len(decoded) == 8


def test_poison_is_replayed_as_it_was(source: Source, tmp_path: Path) -> None:
    other = source.serde.encode(telemetry.FM, telemetry.alarm(1, 0, 1, Severity.MAJOR))
    feeder = Feeder(source.transport, source.serde)
    feeder.send_bytes(PM, "tiny|x", other)  # a good event on the wrong topic
    feeder.send_bytes(PERIODS, "tiny", b"no barrier")
    feeder._producer.flush(1)
    target = target_of()
    replay(source.record(tmp_path), target, source.serde)
    values = {m.value for m in read_all(target, [PM.name, PERIODS.name])}
    assert {other, b"no barrier", b"keyless", None, b"\x00\x00\x00\x00\x63poison"} <= values


def test_networks_that_share_topics_keep_their_own_epochs(tmp_path: Path) -> None:
    transport, serde = MemoryTransport(), Serde(LocalIds())
    one, two = Feeder(transport, serde, "tiny"), Feeder(transport, serde, "other")

    def of_other(period: int) -> list[tuple[Topic, object]]:
        return [(t, e.model_copy(update={"network_id": "other"})) for t, e in telemetry.telemetry(period)]

    for period in (1, 2, 3):
        one.send(telemetry.telemetry(period))
        two.send(of_other(period))  # type: ignore[arg-type]
        if period == 2:  # the second network closes its period late: much lies beyond its barrier's offsets
            one.barrier(period)
            one.send(telemetry.telemetry(period + 1)[:1])
            two.barrier(period)
        else:
            two.barrier(period)
            one.barrier(period)
    recording = record(transport, _NAMES, tmp_path, ids=serde.ids)
    target = target_of(2)
    replay(recording, target, serde)
    for network in ("tiny", "other"):
        assert epochs(target, serde, network) == epochs(transport, serde, network)


def test_speed_is_event_time_against_the_clock(source: Source, tmp_path: Path) -> None:
    producer = source.transport.producer("alerts")
    for i in range(4):
        producer.send("alerts", "tiny|a", b"%d" % i, timestamp_ms=telemetry.T0 + i * 60_000)
    recording = record(source.transport, ["alerts"], tmp_path, ids=source.serde.ids)
    clock = SettableClock(1_000_000)
    done = replay(recording, target_of(), source.serde, speed=60, clock=clock)
    assert clock.now_ms() == 1_000_000 + 3_000
    assert (done.first_ms, done.last_ms) == (telemetry.T0, telemetry.T0 + 180_000)
    with pytest.raises(ValueError, match="positive"):
        replay(recording, target_of(), source.serde, speed=0)


def test_a_late_message_stays_late(source: Source, tmp_path: Path) -> None:
    """Messages are sent in the order in which they can have arrived, not sorted by their time."""
    producer = source.transport.producer("alerts")
    for i, minute in enumerate((0, 5, 1, 6)):
        producer.send("alerts", "tiny|a", b"%d" % i, timestamp_ms=telemetry.T0 + minute * 60_000)
    recording = record(source.transport, ["alerts"], tmp_path, ids=source.serde.ids)
    assert [(at, m.value) for at, m in recording.messages()] == [
        (telemetry.T0 + minute * 60_000, b"%d" % i) for i, minute in enumerate((0, 5, 5, 6))
    ]


def test_a_stopped_replay_has_sent_what_it_says(source: Source, tmp_path: Path) -> None:
    stop = threading.Event()

    class Stopping(SettableClock):
        def sleep(self, seconds: float) -> None:
            stop.set()

    producer = source.transport.producer("alerts")
    for i in range(4):
        producer.send("alerts", "tiny|a", b"%d" % i, timestamp_ms=telemetry.T0 + i * 60_000)
    recording = record(source.transport, ["alerts"], tmp_path, ids=source.serde.ids)
    target = target_of()
    done = replay(recording, target, source.serde, speed=1, clock=Stopping(0), stop=stop)
    assert done.sent == {"alerts": 1}
    assert sum(target.end_offsets(["alerts"]).values()) == 1


def test_a_refused_message_ends_the_replay(source: Source, tmp_path: Path) -> None:
    target = target_of()
    target.refuse(PM.name, 1)
    with pytest.raises(DeliveryFailed):
        replay(source.record(tmp_path), target, source.serde)


def test_a_target_without_the_topics_is_named(source: Source, tmp_path: Path) -> None:
    with pytest.raises(TopicMissing):
        replay(source.record(tmp_path), MemoryTransport(), source.serde)


def test_a_range_of_offsets_is_recorded(source: Source, tmp_path: Path) -> None:
    begin = {(PM.name, p): 1 for p in range(3) if source.transport.end_offsets([PM.name])[PM.name, p] > 1}
    end = {tp: offset + 1 for tp, offset in begin.items()}
    recording = record(source.transport, [PM.name], tmp_path, ids=source.serde.ids, begin=begin, end=end)
    assert [m.offset for _, m in recording.messages()] == [1] * len(begin)
    assert (recording.begin, recording.end) == (begin, end)


def test_a_recording_holds_the_schemas_that_its_messages_name(source: Source, tmp_path: Path) -> None:
    recording = source.record(tmp_path)
    assert recording.schemas[source.serde.ids.id_of(PM)] == schema_text(PM.event)
    assert recording == Recording.open(tmp_path)
    assert recording.topics() == sorted(_NAMES)


def test_what_is_no_recording_is_refused(source: Source, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no finished recording"):
        Recording.open(tmp_path)
    recording = source.record(tmp_path / "one")
    with pytest.raises(RecordingError, match="not empty"):
        source.record(tmp_path / "one")
    (tmp_path / "one" / "telemetry.pm-0.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(RecordingError, match=r"telemetry\.pm-0"):
        list(recording.messages())
    for text in ("{", "[]", '{"format": 1}', '{"format": 99, "schemas": {}}'):
        (tmp_path / "one" / "recording.json").write_text(text)
        with pytest.raises(RecordingError):
            Recording.open(tmp_path / "one")

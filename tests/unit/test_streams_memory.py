"""What the in-memory transport can do beyond the contract: play a broker in trouble; and the scripted consumer."""

import pytest

from schemas.topics import topic
from streams.clock import SettableClock, SystemClock
from streams.deadline import Deadline
from streams.exceptions import CommitFailed, DeliveryFailed, OffsetLost, SimulatedCrash
from streams.frontier import (
    TopicPartition,
    advance,
    covers,
    from_keys,
    from_records,
    gap,
    has_seen,
    to_keys,
    to_records,
)
from streams.memory import MemoryTransport
from streams.testing import Crash, EndOfInput, Pause, ScriptedConsumer, wait_until
from streams.transport import Consumer, Message

_PM = topic("telemetry.pm")


@pytest.fixture
def transport() -> MemoryTransport:
    transport = MemoryTransport(SettableClock(77))
    transport.ensure_topics([_PM])
    return transport


def fill(transport: MemoryTransport, n: int) -> None:
    producer = transport.producer("test")
    for i in range(n):
        producer.send(_PM.name, f"net|{i}", b"%d" % i)
    producer.flush(1)


def test_a_refused_message_is_reported_once_and_by_name(transport: MemoryTransport) -> None:
    producer = transport.producer("test")
    transport.refuse(_PM.name, 2)
    for key in ("net|a", "net|b", "net|c"):
        producer.send(_PM.name, key, b"v")
    with pytest.raises(DeliveryFailed, match=r"net\|a") as caught:
        producer.flush(1)
    assert caught.value.count == 2
    assert [m.key for m in caught.value.undelivered] == ["net|a", "net|b"]
    producer.flush(1)
    assert sum(transport.end_offsets([_PM.name]).values()) == 1
    assert sum(producer.acked().values()) == 1


def test_what_retention_took_is_missed_and_not_skipped(transport: MemoryTransport) -> None:
    fill(transport, 30)
    end = transport.end_offsets([_PM.name])
    transport.trim({(_PM.name, 0): 3})
    assert transport.begin_offsets([_PM.name])[_PM.name, 0] == 3
    assert transport.end_offsets([_PM.name]) == end
    consumer = transport.consumer("test")
    consumer.assign({(_PM.name, 0): 2})
    with pytest.raises(OffsetLost, match="not 2"):
        consumer.poll(10, 0)
    consumer.assign({(_PM.name, 0): 3})
    assert [m.offset for m in consumer.poll(100, 0)] == list(range(3, end[_PM.name, 0]))


def test_the_clock_stamps_messages_without_event_time(transport: MemoryTransport) -> None:
    fill(transport, 1)
    consumer = transport.consumer("test")
    consumer.assign(transport.begin_offsets([_PM.name]))
    assert consumer.poll(1, 0)[0].timestamp_ms == 77


def test_an_expelled_member_loses_its_partitions_and_may_come_back(transport: MemoryTransport) -> None:
    lost: list[frozenset[TopicPartition]] = []

    class Listener:
        def on_assigned(self, partitions: frozenset[TopicPartition], deadline: Deadline) -> dict[TopicPartition, int]:
            return {}

        def on_revoked(self, partitions: frozenset[TopicPartition], deadline: Deadline) -> None:
            pytest.fail("nobody is asked")

        def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
            lost.append(partitions)

    fill(transport, 12)
    stalled, healthy = transport.consumer("stalled", "g"), transport.consumer("healthy", "g")
    stalled.subscribe([_PM.name], Listener())
    got = stalled.poll(100, 0)
    assert len(got) == 12
    transport.expel(stalled)
    healthy.subscribe([_PM.name])
    assert len(healthy.poll(100, 0)) == 12  # nothing was committed
    with pytest.raises(CommitFailed):
        stalled.commit(advance({}, got))
    stalled.poll(0, 0)
    assert lost == [frozenset((_PM.name, p) for p in range(3))]
    healthy.close()
    wait_until(lambda: len(stalled.poll(100, 0)) == 12, 5, "the member is back")


def messages(*offsets: int) -> list[Message]:
    return [Message("t", 0, offset, None, b"v", 0) for offset in offsets]


def test_a_script_cuts_polls_crashes_and_ends() -> None:
    a, b, c = messages(0, 1, 2)
    consumer: Consumer = ScriptedConsumer([a, Pause(), b, Crash(), c, EndOfInput(), *messages(3)])
    consumer.assign({("t", 0): 0})
    assert consumer.poll(10, 0) == [a]
    assert consumer.poll(10, 0) == []
    assert consumer.poll(10, 0) == [b]
    with pytest.raises(SimulatedCrash):
        consumer.poll(10, 0)
    consumer.assign({("t", 0): 1})  # the process starts again from a snapshot
    assert consumer.position() == {("t", 0): 1}
    got = []
    for _ in range(4):
        got += consumer.poll(1, 0)
    assert [m.offset for m in got] == [1, 2]
    assert consumer.at_end()
    assert consumer.poll(10, 0) == messages(3)
    assert consumer.position() == {("t", 0): 4}


def test_a_script_serves_only_what_is_assigned() -> None:
    other = Message("other", 0, 0, None, b"v", 0)
    consumer = ScriptedConsumer([other, *messages(0)])
    consumer.subscribe(["t"])
    assert consumer.poll(10, 0) == messages(0)
    consumer.commit({("t", 0): 1})
    assert consumer.committed([("t", 0), ("other", 0)]) == {("t", 0): 1}


def test_waiting_ends_with_the_name_of_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match="pigs fly"):
        wait_until(lambda: False, 0.01, "pigs fly")


def test_frontiers() -> None:
    frontier = {("telemetry.pm", 0): 4, ("telemetry.mr", 12): 1}
    assert from_records(to_records(frontier)) == frontier
    assert from_keys(to_keys(frontier)) == frontier
    assert covers(frontier, {})
    assert not covers({}, frontier)
    assert covers({}, {("t", 0): 0})
    assert has_seen({("t", 0): 1}, messages(0)[0])
    assert not has_seen({("t", 0): 1}, messages(1)[0])
    assert not has_seen({}, messages(0)[0])
    assert advance({("t", 0): 9}, messages(3)) == {("t", 0): 9}
    assert gap(frontier, frontier) == {}


def test_clocks() -> None:
    clock = SettableClock(5)
    clock.set(9)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.set(8)
    before = SystemClock().now_ms()
    SystemClock().sleep(-1)
    assert 1_700_000_000_000 < before <= SystemClock().now_ms()


def test_what_one_step_uses_the_next_no_longer_has() -> None:
    now = [100.0]
    deadline = Deadline(10, lambda: now[0])
    now[0] += 7
    assert deadline.remaining == 3
    now[0] += 7
    assert deadline.remaining == 0
    assert deadline.expired

"""What every transport promises, of memory and of a real broker alike."""

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from streams.deadline import Deadline
from streams.exceptions import CommitFailed, ConsumerMisuse, OffsetLost, TopicMissing
from streams.frontier import Frontier, TopicPartition, advance, merge
from streams.memory import MemoryTransport
from streams.partitioner import partition_of
from streams.testing import wait_until
from streams.transport import REINJECTED, Consumer, Message, Transport

_DEADLINE_S = 30.0


class Declared(NamedTuple):
    """A topic of the suite."""

    name: str
    partitions: int = 3


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport
    if request.param == "memory":
        made = MemoryTransport()
    else:
        from streams.kafka import KafkaTransport

        made = KafkaTransport(request.getfixturevalue("endpoints").bootstrap_servers)
    yield made
    made.close()


@pytest.fixture
def topic(transport: Transport) -> str:
    """A topic of three partitions that no other test knows."""
    name = f"contract.{uuid.uuid4().hex[:12]}"
    transport.ensure_topics([Declared(name)])
    return name


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


def send(transport: Transport, topic: str, n: int, start: int = 0) -> None:
    producer = transport.producer("contract")
    for i in range(start, start + n):
        producer.send(topic, f"net|element-{i % 7}", str(i).encode(), timestamp_ms=1_000 + i)
    producer.flush(_DEADLINE_S)
    producer.close()


def read(consumer: Consumer, n: int) -> list[Message]:
    """Exactly n messages, however they are cut into batches."""
    deadline = Deadline(_DEADLINE_S)
    got: list[Message] = []
    while len(got) < n and not deadline.expired:
        got += consumer.poll(n - len(got), 1)
    assert len(got) == n
    return got


def numbers(messages: list[Message]) -> list[int]:
    return sorted(int(m.value or b"-1") for m in messages)


@dataclass
class Noting:
    """A listener that notes what it is told."""

    start: Frontier = field(default_factory=dict)
    held: set[TopicPartition] = field(default_factory=set)
    events: list[tuple[str, frozenset[TopicPartition]]] = field(default_factory=list)
    finish: Callable[[frozenset[TopicPartition], Deadline], None] | None = None

    def on_assigned(self, partitions: frozenset[TopicPartition], deadline: Deadline) -> Mapping[TopicPartition, int]:
        assert not deadline.expired
        self.events.append(("assigned", partitions))
        self.held |= partitions
        return {tp: offset for tp, offset in self.start.items() if tp in partitions}

    def on_revoked(self, partitions: frozenset[TopicPartition], deadline: Deadline) -> None:
        assert not deadline.expired
        self.events.append(("revoked", partitions))
        if self.finish is not None:
            self.finish(partitions, deadline)
        self.held -= partitions

    def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        self.events.append(("lost", partitions))
        self.held -= partitions


def test_what_was_sent_comes_back_byte_for_byte(transport: Transport, topic: str) -> None:
    producer = transport.producer("contract")
    headers = ((REINJECTED, b"2"), ("empty", b""), (REINJECTED, b"3"))
    producer.send(topic, "net|ManagedElement=ü", b"\x00\xff", headers, timestamp_ms=1_700_000_000_123)
    producer.flush(_DEADLINE_S)
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    (message,) = read(consumer, 1)
    key = "net|ManagedElement=ü".encode()
    expected = Message(topic, partition_of(key, 3), 0, key, b"\x00\xff", 1_700_000_000_123, headers)
    assert message == expected
    assert message.header(REINJECTED) == b"3"
    assert message.header("absent") is None


def test_tombstones_and_messages_without_a_key_pass(transport: Transport, topic: str) -> None:
    producer = transport.producer("contract")
    producer.send(topic, "net|a", None)
    producer.send(topic, None, b"keyless")
    producer.send(topic, b"\xfe\xff", b"key is no text")
    producer.flush(_DEADLINE_S)
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    got = {(m.key, m.value) for m in read(consumer, 3)}
    assert got == {(b"net|a", None), (None, b"keyless"), (b"\xfe\xff", b"key is no text")}


def test_a_message_without_event_time_is_stamped_with_the_present(transport: Transport, topic: str) -> None:
    producer = transport.producer("contract")
    producer.send(topic, "net|a", b"v")
    producer.flush(_DEADLINE_S)
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    (message,) = read(consumer, 1)
    assert message.timestamp_ms > 1_700_000_000_000


@pytest.mark.parametrize("timestamp_ms", [1, 4_000_000_000_000])
def test_event_times_of_any_age_are_kept(transport: Transport, topic: str, timestamp_ms: int) -> None:
    producer = transport.producer("contract")
    producer.send(topic, "net|a", b"v", timestamp_ms=timestamp_ms)
    producer.flush(_DEADLINE_S)
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    assert read(consumer, 1)[0].timestamp_ms == timestamp_ms


def test_keys_lie_where_the_partitioner_says_and_keep_their_order(transport: Transport, topic: str) -> None:
    keys = [f"net-{i}|SubNetwork=1,ManagedElement=gnb{i}" for i in range(40)]
    producer = transport.producer("contract")
    for round_ in range(3):
        for key in keys:
            producer.send(topic, key, str(round_).encode())
    producer.flush(_DEADLINE_S)
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    seen: dict[bytes, list[bytes]] = {}
    for m in sorted(read(consumer, 120), key=lambda m: m.offset):
        assert m.partition == partition_of(m.key or b"", 3)
        seen.setdefault(m.key or b"", []).append(m.value or b"")
    assert len({partition_of(k.encode(), 3) for k in keys}) == 3
    assert all(values == [b"0", b"1", b"2"] for values in seen.values())


def test_offsets_bound_what_a_topic_holds(transport: Transport, topic: str) -> None:
    assert transport.end_offsets([topic]) == dict.fromkeys(((topic, p) for p in range(3)), 0)
    send(transport, topic, 50)
    begin, end = transport.begin_offsets([topic]), transport.end_offsets([topic])
    assert begin == dict.fromkeys(((topic, p) for p in range(3)), 0)
    assert sum(end.values()) == 50
    assert transport.partitions([topic]) == {topic: 3}


def test_acked_is_the_end_of_what_was_flushed(transport: Transport, topic: str) -> None:
    producer = transport.producer("contract")
    assert producer.acked() == {}
    for i in range(30):
        producer.send(topic, f"net|{i}", b"v")
    producer.flush(_DEADLINE_S)
    assert producer.acked() == {tp: n for tp, n in transport.end_offsets([topic]).items() if n}


def test_a_topic_that_exists_keeps_its_partitions(transport: Transport, topic: str) -> None:
    transport.ensure_topics([Declared(topic, partitions=9)])
    assert transport.partitions([topic]) == {topic: 3}


def test_a_topic_that_does_not_exist_is_named(transport: Transport, topic: str, group: str) -> None:
    absent = f"{topic}.absent"
    for ask in (transport.partitions, transport.begin_offsets, transport.end_offsets):
        with pytest.raises(TopicMissing, match=absent):
            ask([absent])
    with pytest.raises(TopicMissing, match=absent):
        transport.producer("contract").send(absent, "net|a", b"v")
    with pytest.raises(TopicMissing, match=absent):
        transport.consumer("contract").assign({(absent, 0): 0})
    with pytest.raises(TopicMissing, match="partition 3"):
        transport.consumer("contract").assign({(topic, 3): 0})
    with pytest.raises(TopicMissing, match=absent):
        transport.consumer("contract", group).subscribe([absent])


def test_a_consumer_starts_where_it_was_told_and_reads_each_offset_once(transport: Transport, topic: str) -> None:
    send(transport, topic, 60)
    start = {tp: offset // 2 for tp, offset in transport.end_offsets([topic]).items()}
    end = transport.end_offsets([topic])
    consumer = transport.consumer("contract")
    consumer.assign(start)
    assert consumer.position() == start
    got = read(consumer, sum(end.values()) - sum(start.values()))
    for tp in end:
        offsets = [m.offset for m in got if (m.topic, m.partition) == tp]
        assert offsets == list(range(start[tp], end[tp]))
    assert consumer.position() == end == advance(start, got)


def test_poll_returns_no_more_than_asked_for(transport: Transport, topic: str) -> None:
    send(transport, topic, 20)
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    deadline = Deadline(_DEADLINE_S)
    got: list[Message] = []
    while len(got) < 20 and not deadline.expired:
        batch = consumer.poll(3, 1)
        assert len(batch) <= 3
        got += batch
    assert numbers(got) == list(range(20))


def test_the_end_is_known_when_it_is_reached_and_forgotten_when_more_comes(transport: Transport, topic: str) -> None:
    send(transport, topic, 10)
    consumer = transport.consumer("contract")
    assert not consumer.at_end()  # nothing is assigned
    consumer.assign(transport.begin_offsets([topic]))
    assert not consumer.at_end()
    read(consumer, 10)
    wait_until(lambda: bool(consumer.poll(1, 0.2)) or consumer.at_end(), _DEADLINE_S, "at_end")
    assert consumer.poll(1, 0) == []
    send(transport, topic, 1, start=10)
    assert numbers(read(consumer, 1)) == [10]


def test_poll_wakes_for_a_message_that_comes_while_it_waits(transport: Transport, topic: str) -> None:
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    wait_until(lambda: consumer.poll(1, 0.1) == [] and consumer.at_end(), _DEADLINE_S, "at_end")
    later = threading.Thread(target=send, args=(transport, topic, 1))
    later.start()
    assert len(consumer.poll(1, _DEADLINE_S)) == 1
    later.join()


def test_seek_goes_back_and_forth(transport: Transport, topic: str) -> None:
    send(transport, topic, 30)
    consumer = transport.consumer("contract")
    begin, end = transport.begin_offsets([topic]), transport.end_offsets([topic])
    consumer.assign(begin)
    first = read(consumer, 30)
    consumer.seek(begin)
    assert consumer.position() == begin
    assert sorted(read(consumer, 30)) == sorted(first)
    consumer.seek({(topic, 0): 0, **{tp: n for tp, n in end.items() if tp[1] != 0}})
    again = read(consumer, end[topic, 0])
    assert {m.partition for m in again} == {0}
    with pytest.raises(ConsumerMisuse, match="own"):
        consumer.seek({("elsewhere", 0): 0})


def test_assigning_again_replaces_what_was_assigned(transport: Transport, topic: str) -> None:
    send(transport, topic, 30)
    end = transport.end_offsets([topic])
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([topic]))
    consumer.poll(5, 1)
    consumer.assign({(topic, 1): 2})
    got = read(consumer, end[topic, 1] - 2)
    assert [m.offset for m in got] == list(range(2, end[topic, 1]))
    assert {m.partition for m in got} == {1}


def test_an_offset_beyond_the_log_is_an_error_and_no_jump(transport: Transport, topic: str) -> None:
    send(transport, topic, 5)
    consumer = transport.consumer("contract")
    consumer.assign({(topic, 0): 1_000})

    def polled() -> bool:
        consumer.poll(1, 0.2)
        return False

    with pytest.raises(OffsetLost, match="1000"):
        wait_until(polled, _DEADLINE_S, "OffsetLost")


def test_only_a_commit_commits(transport: Transport, topic: str, group: str) -> None:
    send(transport, topic, 12)
    places = list(transport.begin_offsets([topic]))
    consumer = transport.consumer("contract", group)
    consumer.subscribe([topic])
    got = read(consumer, 12)
    assert consumer.committed(places) == {}
    done = advance({}, got[:5])
    consumer.commit(done)
    assert consumer.committed(places) == done
    consumer.close()
    next_one = transport.consumer("contract", group)
    next_one.subscribe([topic])
    rest = read(next_one, 12 - sum(done.values()))
    assert {(m.partition, m.offset) for m in rest}.isdisjoint((m.partition, m.offset) for m in got[:5])
    next_one.close()


def test_an_assigned_consumer_with_a_group_may_commit(transport: Transport, topic: str, group: str) -> None:
    send(transport, topic, 6)
    consumer = transport.consumer("contract", group)
    consumer.assign(transport.begin_offsets([topic]))
    end = advance({}, read(consumer, 6))
    consumer.commit(end)
    consumer.commit({})
    assert consumer.committed(end) == end
    consumer.close()


def test_without_a_group_nobody_subscribes_or_commits(transport: Transport, topic: str, group: str) -> None:
    consumer = transport.consumer("contract")
    with pytest.raises(ConsumerMisuse, match="group"):
        consumer.subscribe([topic])
    with pytest.raises(ConsumerMisuse, match="group"):
        consumer.commit({(topic, 0): 1})
    with pytest.raises(ConsumerMisuse, match="group"):
        consumer.committed([(topic, 0)])
    member = transport.consumer("contract", group)
    member.subscribe([topic])
    with pytest.raises(ConsumerMisuse, match="subscribed"):
        member.assign({(topic, 0): 0})
    member.close()


def test_after_close_nothing_works_and_closing_again_is_harmless(transport: Transport, topic: str) -> None:
    consumer = transport.consumer("contract")
    consumer.close()
    consumer.close()
    with pytest.raises(ConsumerMisuse, match="closed"):
        consumer.poll(1, 0)
    producer = transport.producer("contract")
    producer.close()
    producer.close()
    with pytest.raises(ConsumerMisuse, match="closed"):
        producer.send(topic, "net|a", b"v")


def test_members_of_a_group_share_partitions_and_read_everything_once(
    transport: Transport, topic: str, group: str
) -> None:
    send(transport, topic, 40)
    one, two = Noting(), Noting()
    first, second = transport.consumer("one", group), transport.consumer("two", group)

    def finish(partitions: frozenset[TopicPartition], deadline: Deadline) -> None:
        first.commit({tp: n for tp, n in first.position().items() if tp in partitions})

    one.finish = finish
    first.subscribe([topic], one)
    got = read(first, 40)
    second.subscribe([topic], two)

    def shared() -> bool:
        got.extend(first.poll(10, 0.1))
        got.extend(second.poll(10, 0.1))
        return bool(one.held and two.held and len(one.held | two.held) == 3)

    wait_until(shared, _DEADLINE_S, "both members hold partitions")
    assert one.held.isdisjoint(two.held)
    assert one.held == first.position().keys()
    assert two.held == second.position().keys()
    revoked = frozenset(itertools.chain.from_iterable(tps for event, tps in one.events if event == "revoked"))
    assert revoked == two.held  # cooperative: what stays is not given up in between
    send(transport, topic, 40, start=40)

    def complete() -> bool:
        got.extend(first.poll(10, 0.1))
        got.extend(second.poll(10, 0.1))
        return len(got) >= 80

    wait_until(complete, _DEADLINE_S, "everything is read")
    assert numbers(got) == list(range(80))
    first.close()
    second.close()


def test_a_member_that_leaves_finishes_first_and_the_other_goes_on_from_its_commit(
    transport: Transport, topic: str, group: str
) -> None:
    send(transport, topic, 21)
    leaving = transport.consumer("leaving", group)
    done: Frontier = {}

    def finish(partitions: frozenset[TopicPartition], deadline: Deadline) -> None:
        leaving.commit({tp: n for tp, n in done.items() if tp in partitions})

    listener = Noting(finish=finish)
    leaving.subscribe([topic], listener)
    got = read(leaving, 21)
    done = merge(leaving.position(), advance({}, got))
    leaving.close()
    assert listener.events[-1][0] == "revoked"
    assert listener.held == set()
    send(transport, topic, 7, start=21)
    staying = transport.consumer("staying", group)
    staying.subscribe([topic])
    assert numbers(read(staying, 7)) == list(range(21, 28))
    staying.close()


def test_a_listener_may_say_where_to_start(transport: Transport, topic: str, group: str) -> None:
    send(transport, topic, 30)
    end = transport.end_offsets([topic])
    snapshot = {tp: n // 2 for tp, n in end.items()}
    consumer = transport.consumer("contract", group)
    consumer.subscribe([topic], Noting(start=snapshot))
    got = read(consumer, sum(end.values()) - sum(snapshot.values()))
    assert all(m.offset >= snapshot[m.topic, m.partition] for m in got)
    consumer.seek({(topic, 0): 0})
    assert {m.partition for m in read(consumer, end[topic, 0])} == {0}
    consumer.close()


def test_what_a_listener_raises_comes_out_of_poll(transport: Transport, topic: str, group: str) -> None:
    class Failing(Noting):
        def on_assigned(self, partitions: frozenset[TopicPartition], deadline: Deadline) -> Frontier:
            raise RuntimeError("snapshot store is down")

    consumer = transport.consumer("contract", group)
    consumer.subscribe([topic], Failing())

    def polled() -> bool:
        consumer.poll(1, 0.2)
        return False

    with pytest.raises(RuntimeError, match="snapshot store"):
        wait_until(polled, _DEADLINE_S, "the listener's error")
    consumer.close()


def test_partitions_that_moved_on_cannot_be_committed(transport: Transport, topic: str, group: str) -> None:
    send(transport, topic, 9)
    consumer = transport.consumer("contract", group)
    consumer.subscribe([topic])
    got = advance({}, read(consumer, 9))
    other = transport.consumer("other", group)
    other.subscribe([topic])
    wait_until(
        lambda: not consumer.poll(1, 0.1) and not other.poll(1, 0.1) and bool(other.position()),
        _DEADLINE_S,
        "a partition moved",
    )
    with pytest.raises(CommitFailed, match="owner"):
        consumer.commit(got)
    consumer.close()
    other.close()


def test_consumers_of_different_groups_do_not_see_each_other(transport: Transport, topic: str, group: str) -> None:
    send(transport, topic, 8)
    for name in (f"{group}-a", f"{group}-b"):
        consumer = transport.consumer("contract", name)
        consumer.subscribe([topic])
        assert numbers(read(consumer, 8)) == list(range(8))
        consumer.close()

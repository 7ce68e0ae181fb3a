"""Sequencer, epoch reader and in-process host over the in-memory transport."""

import pytest

from processors.epoch_reader import TOPICS, EpochReader
from processors.host import Host, Hosting, Outgoing
from processors.sequencer import Sequencer, SequencerState
from schemas.telemetry import PeriodEnd
from schemas.topics import PERIODS, TELEMETRY
from streams.exceptions import OffsetLost
from streams.frontier import Frontier, from_records
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.snapshots import MemorySnapshotStore, Snapshot
from streams.transport import Message
from tests.telemetry import CM, MR, NETWORK, PM, Feeder, mr, period_end, pm, snapshot, telemetry, topology

SERDE = Serde(LocalIds())
NAMES = tuple(t.name for t in TELEMETRY)


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def feed(transport: MemoryTransport) -> Feeder:
    return Feeder(transport, SERDE)


def sequencer() -> Sequencer:
    return Sequencer(topology(), {t.name: t.partitions for t in TELEMETRY}, SERDE.decode)


def read(transport: MemoryTransport, frontier: Frontier | None = None) -> list[Message]:
    consumer = transport.consumer("test")
    consumer.assign(transport.begin_offsets(NAMES) | (frontier or {}))
    out: list[Message] = []
    while not consumer.at_end():
        out += consumer.poll(1000, 0)
    return out


class Sequencing:
    """A sequencer that looks at what was added since it last looked."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport, self._operator = transport, sequencer()
        self.state: SequencerState = self._operator.initial()

    def __call__(self) -> list[PeriodEnd]:
        messages = read(self._transport, self.state.offsets)
        step = self._operator.process(self.state, messages)
        self.state = step.state
        return list(step.outputs)


def test_a_period_closes_when_every_element_has_reported(transport: MemoryTransport, feed: Feeder) -> None:
    look = Sequencing(transport)
    feed.send([(PM, pm(1, 0)), (MR, mr(1, 0)), (CM, snapshot(1, 0))])
    feed.barrier(0)
    assert look() == []
    feed.send([(MR, mr(1, 1)), (PM, pm(1, 1))])
    feed.barrier(0)
    (barrier,) = look()
    assert barrier.period_end_ms == period_end(1)
    assert from_records(barrier.offsets) == transport.end_offsets(NAMES)


def test_a_silent_element_holds_a_period_only_until_the_others_are_past_it(
    transport: MemoryTransport, feed: Feeder
) -> None:
    look = Sequencing(transport)
    feed.send([(PM, pm(1, 0)), (MR, mr(1, 0))])
    feed.barrier(0)
    assert look() == []
    feed.send([(PM, pm(2, 0)), (MR, mr(2, 0))])
    feed.barrier(0)
    assert [b.period_end_ms for b in look()] == [period_end(1)]


def test_one_clock_that_runs_ahead_closes_nothing(transport: MemoryTransport, feed: Feeder) -> None:
    look = Sequencing(transport)
    feed.send(telemetry(1))
    feed.send([(PM, pm(500, 0)), (PM, pm(2, 1))])
    feed.barrier(0)
    assert [b.period_end_ms for b in look()] == [period_end(1)]
    feed.send([(PM, pm(2, 0)), (MR, mr(2, 0)), (MR, mr(2, 1))])
    feed.barrier(0)
    assert [b.period_end_ms for b in look()] == [period_end(2)]


def test_after_a_long_silence_of_all_the_sequence_goes_on(transport: MemoryTransport, feed: Feeder) -> None:
    look = Sequencing(transport)
    feed.send(telemetry(1))
    feed.send(telemetry(900))
    feed.barrier(0)
    assert [b.period_end_ms for b in look()] == [period_end(1), period_end(900)]


class DyingStore(MemorySnapshotStore):
    """The process dies in its first save."""

    dead = False

    def save(self, name: str, snapshot: Snapshot) -> None:
        if not self.dead:
            self.dead = True
            raise RuntimeError("the process dies here")
        super().save(name, snapshot)


def hosted_sequencer(transport: MemoryTransport, store: MemorySnapshotStore) -> Host[SequencerState, PeriodEnd]:
    def route(barrier: PeriodEnd) -> list[Outgoing]:
        return [Outgoing(PERIODS.name, PERIODS.key_of(barrier), SERDE.encode(PERIODS, barrier))]

    return Host(sequencer(), Hosting(NAMES, route, poll=3, ordered=True), transport, SERDE, store, "sequencer")


def epochs_of(transport: MemoryTransport) -> list[tuple[int, tuple[Message, ...]]]:
    reader = EpochReader(transport, SERDE, NETWORK, "test")
    reader.start({}, None)
    epochs: list[tuple[int, tuple[Message, ...]]] = []
    while not reader.at_end():
        epochs += [(e.barrier.period_end_ms, e.messages) for e in reader.read(0)]
    return epochs


def test_foreign_telemetry_becomes_epochs_through_a_hosted_sequencer(transport: MemoryTransport, feed: Feeder) -> None:
    for period in (1, 2, 3):
        feed.send(telemetry(period))
    hosted_sequencer(transport, MemorySnapshotStore()).drain()
    assert [(end, len(messages)) for end, messages in epochs_of(transport)] == [
        (period_end(1), 6),
        (period_end(2), 4),
        (period_end(3), 4),
    ]


def test_a_host_that_dies_before_its_snapshot_repeats_itself_and_nobody_notices(
    transport: MemoryTransport, feed: Feeder
) -> None:
    for period in (1, 2):
        feed.send(telemetry(period))
    store = DyingStore()
    with pytest.raises(RuntimeError):
        hosted_sequencer(transport, store).drain()
    hosted_sequencer(transport, store).drain()
    ends = [end for end, _ in epochs_of(transport)]
    assert ends == [period_end(1), period_end(2)]


def test_a_host_goes_on_from_its_snapshot(transport: MemoryTransport, feed: Feeder) -> None:
    store = MemorySnapshotStore()
    feed.send(telemetry(1))
    first = hosted_sequencer(transport, store)
    first.drain()
    first.close()
    feed.send(telemetry(2))
    second = hosted_sequencer(transport, store)
    assert second.frontier == first.frontier
    second.drain()
    assert transport.end_offsets([PERIODS.name]) == {(PERIODS.name, 0): 2}
    committed = transport.consumer("look", group="sequencer").committed(list(second.frontier))
    assert committed == second.frontier


def test_a_reader_resumes_at_a_frontier(transport: MemoryTransport, feed: Feeder) -> None:
    for period in (1, 2, 3):
        feed.period(period)
    reader = EpochReader(transport, SERDE, NETWORK, "test")
    reader.start({}, None)
    first, *_ = reader.read(0)
    again = EpochReader(transport, SERDE, NETWORK, "test")
    again.start(first.frontier, first.barrier.period_end_ms)
    assert [e.barrier.period_end_ms for e in again.read(0)] == [period_end(2), period_end(3)]


def test_a_reader_says_so_when_what_it_needs_was_deleted(transport: MemoryTransport, feed: Feeder) -> None:
    feed.period(1)
    feed.period(2)
    reader = EpochReader(transport, SERDE, NETWORK, "test")
    reader.start({}, None)
    frontier = reader.read(0)[0].frontier
    transport.trim(transport.end_offsets(TOPICS))
    late = EpochReader(transport, SERDE, NETWORK, "test")
    late.start(frontier, period_end(1))
    with pytest.raises(OffsetLost, match="Remedy"):
        late.read(0)


def test_telemetry_without_barriers_does_not_fill_the_memory(transport: MemoryTransport, feed: Feeder) -> None:
    reader = EpochReader(transport, SERDE, NETWORK, "test", most_pending=20)
    reader.start({}, None)
    for period in range(1, 30):
        feed.send(telemetry(period))
        reader.read(0)
        assert reader.pending <= 20
    feed.barrier(29)
    epochs: list[object] = []
    while not epochs:
        epochs += reader.read(0)
    (epoch,) = epochs
    assert len(epoch.messages) == 2 + 4 * 29  # type: ignore[attr-defined]

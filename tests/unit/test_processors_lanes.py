"""Lanes of partitions: together they make what one reader of all partitions makes, and skip what lies below them."""

import sys
from collections.abc import Sequence

import pytest

from infra.exceptions import SettingsError
from infra.roles import features
from processors.collector import Epoch
from processors.exceptions import HostUnavailable
from processors.faust_host import PARTITIONS, FaustHost, Lane
from processors.feature_sync import FeatureSync
from processors.features import FeatureBlock
from processors.windows import WindowSpec
from schemas.topics import TELEMETRY
from streams.exceptions import OffsetLost
from streams.frontier import Frontier
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import Message
from tests.telemetry import NETWORK, PERIOD_MS, Feeder, topology
from tests.twin_runs import context_for

SERDE = Serde(LocalIds())


class Followed:
    """Keeps the features and the frontier in memory."""

    def __init__(self) -> None:
        self.sync = FeatureSync(topology(), SERDE, WindowSpec(2 * PERIOD_MS, PERIOD_MS))
        self.state = self.sync.initial()
        self.frontier: Frontier = {}
        self.closed_ms: int | None = None
        self.blocks: list[FeatureBlock] = []
        self.periods: list[int] = []

    def restore(self) -> tuple[Frontier, int | None]:
        return self.frontier, self.closed_ms

    def follow(self, epoch: Epoch) -> None:
        step = self.sync.process(self.state, [epoch])
        self.state, self.frontier, self.closed_ms = step.state, epoch.frontier, epoch.barrier.period_end_ms
        self.blocks += [block for block in step.outputs if isinstance(block, FeatureBlock)]
        self.periods.append(epoch.barrier.period_end_ms)

    @property
    def features(self) -> set[tuple[int, int, bytes]]:
        return {
            (int(cell), int(end), values.tobytes())
            for b in self.blocks
            for cell, end, values in zip(b.cell, b.end_ms, b.values, strict=True)
        }


@pytest.fixture
def transport() -> MemoryTransport:
    made = MemoryTransport()
    feed = Feeder(made, SERDE)
    for period in range(1, 6):
        feed.period(period)
    return made


def log_of(transport: MemoryTransport, partition: int) -> list[Message]:
    consumer = transport.consumer("look")
    begin = transport.begin_offsets([t.name for t in TELEMETRY])
    consumer.assign({at: o for at, o in begin.items() if at[1] == partition})
    found: list[Message] = []
    while not consumer.at_end():
        found += consumer.poll(100, 0.1)
    return found


def lane(transport: MemoryTransport, partition: int, follower: Followed) -> Lane:
    return Lane(transport, SERDE, NETWORK, partition, follower)


def run(transport: MemoryTransport, cut: Sequence[int] = ()) -> list[Followed]:
    """Every partition's lane over the whole log, given up and opened again after so many messages."""
    out = []
    for partition in range(PARTITIONS):
        follower = Followed()
        messages = log_of(transport, partition)
        for count in (*cut, len(messages)):
            one = lane(transport, partition, follower)
            one.take(messages[:count])  # a group begins again below the frontier, never above
            one.close()
        out.append(follower)
    return out


def test_lanes_together_make_what_one_reader_makes(transport: MemoryTransport) -> None:
    lanes = run(transport)
    assert all(f.periods == lanes[0].periods for f in lanes)
    assert len(lanes[0].periods) == 5
    whole = Followed()
    for epoch in _epochs(transport):
        whole.follow(epoch)
    assert whole.features
    assert set().union(*(f.features for f in lanes)) == whole.features
    assert sum(len(f.features) for f in lanes) == len(whole.features), "none is made by two lanes"


def test_a_lane_that_is_opened_again_follows_each_period_once(transport: MemoryTransport) -> None:
    calm, broken = run(transport), run(transport, cut=(0, 1, 3, 4))
    assert [f.periods for f in broken] == [f.periods for f in calm]
    assert [f.features for f in broken] == [f.features for f in calm]


def test_a_group_that_is_ahead_of_the_state_is_told_and_not_believed(transport: MemoryTransport) -> None:
    partition = next(p for p in range(PARTITIONS) if len(log_of(transport, p)) > 2)
    with pytest.raises(OffsetLost, match="goes on at offset"):
        lane(transport, partition, Followed()).take(log_of(transport, partition)[1:])


def test_without_faust_the_host_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faust", None)
    with pytest.raises(HostUnavailable, match=r"twinloop\[faust\]"):
        FaustHost("127.0.0.1:1", "g", lambda partition: pytest.fail("no lane"))


def test_encrypted_brokers_are_refused_before_anything_starts(transport: MemoryTransport) -> None:
    host, kafka = {"host": "faust"}, {"security_protocol": "SSL"}
    with pytest.raises(SettingsError, match="--host in-process"):
        features.build(context_for(transport, SERDE, "", NETWORK, features=host, kafka=kafka))


def _epochs(transport: MemoryTransport) -> list[Epoch]:
    from processors.epoch_reader import EpochReader

    reader = EpochReader(transport, SERDE, NETWORK, "whole")
    reader.start({}, None)
    found: list[Epoch] = []
    while not reader.at_end():
        found += reader.read(0.1)
    reader.close()
    return found

"""A recording through a transport into a twin: the same topics, barriers and operators as for a live network.

Period by period, as a bridge does it: the period's events, an acknowledgement, then the barrier that names the offsets
they reached. On the other side the epochs are read back and go through governance into twin state, and into features.
Reading begins where the topics ended when the replay began, so that a replay sees itself alone.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice

from infra.datasets.exceptions import ReplayIncomplete
from infra.datasets.recording import Period, Recording
from processors.epoch_reader import TOPICS as READ
from processors.epoch_reader import EpochReader
from processors.feature_sync import FeatureSync
from processors.features import FeatureBlock, feature_events
from processors.refusals import EVENT_ID, send_refusals
from processors.twin_sync import Revision, TwinState, TwinSync
from processors.windows import WindowSpec
from schemas.telemetry import PeriodEnd
from schemas.topics import FEATURES as FEATURES_TOPIC
from schemas.topics import PERIODS, TOPICS
from schemas.topology import Topology
from schemas.twin import EventCounts
from streams.deadline import Deadline
from streams.frontier import Frontier, merge, to_records
from streams.serde import Serde
from streams.transport import Producer, Transport
from twin_core.settings import PhysicsSettings, TwinSettings

Progress = Callable[[str, int, int], None]
_CHUNK = 100  # periods sent before they are read back
_FLUSH_S, _READ_S = 60.0, 60.0
_WINDOW_PERIODS = 8
# Where cells stand was not recorded, so that a fine map of their users would be invented.
_SETTINGS = TwinSettings(physics=PhysicsSettings(pixels_per_isd=10))


def no_progress(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, eq=False)
class Streamed:
    """What a recording became.

    Attributes
    ----------
    periods
        Barriers written.
    counts
        Where the events went.
    state
        Twin and governance after the last period.
    state_hash
        Of that twin.
    feature_windows
        Windows of cells whose features were produced.
    """

    periods: int
    counts: EventCounts
    state: TwinState
    state_hash: str
    feature_windows: int


def stream(
    recording: Recording,
    transport: Transport,
    serde: Serde,
    on_revision: Callable[[Revision], None],
    progress: Progress = no_progress,
) -> Streamed:
    """Send a recording and follow it into twin state and features.

    Parameters
    ----------
    on_revision
        Called with each revision, in order.

    Raises
    ------
    DeliveryFailed
        If the transport refuses messages.
    ReplayIncomplete
        If a period that was sent does not come back.
    """
    topology = recording.topology
    transport.ensure_topics(TOPICS)
    start = transport.end_offsets(READ)
    with ExitStack() as stack:
        producer = stack.enter_context(closing(transport.producer(f"replay {topology.network_id}")))
        reader = stack.enter_context(
            closing(EpochReader(transport, serde, topology.network_id, "replay", adopt_unkeyed=False))
        )
        reader.start(start, None)
        sender = _Sender(producer, serde, topology, start)
        follower = _Follower(producer, serde, topology, on_revision)
        done, periods = 0, recording.periods()
        while chunk := list(islice(periods, _CHUNK)):
            for period in chunk:
                sender.send(period)
            producer.flush(_FLUSH_S)
            done += len(chunk)
            follower.follow(reader, done)
            progress("stream", done, len(recording))
        producer.flush(_FLUSH_S)
    state = follower.state
    return Streamed(done, state.governance.counts, state, state.twin.state_hash(), follower.windows)


class _Sender:
    """Events of a period, acknowledged, then its barrier."""

    def __init__(self, producer: Producer, serde: Serde, topology: Topology, start: Frontier) -> None:
        self._producer, self._serde, self._topology = producer, serde, topology
        self._base = {tp: offset for tp, offset in start.items() if tp[0] != PERIODS.name}

    def send(self, period: Period) -> None:
        for topic, event in period.events:
            self._producer.send(
                topic.name,
                topic.key_of(event),
                self._serde.encode(topic, event),
                [(EVENT_ID, event.event_id.encode())],
                timestamp_ms=period.end_ms,
            )
        self._producer.flush(_FLUSH_S)
        acked = {tp: offset for tp, offset in self._producer.acked().items() if tp in self._base}
        barrier = PeriodEnd(
            network_id=self._topology.network_id,
            event_id=f"period-{period.end_ms}",
            period_end_ms=period.end_ms,
            granularity_s=self._topology.granularity_s,
            offsets=to_records(merge(self._base, acked)),
        )
        self._producer.send(
            PERIODS.name, PERIODS.key_of(barrier), self._serde.encode(PERIODS, barrier), timestamp_ms=period.end_ms
        )


class _Follower:
    """Epochs to revisions and features."""

    def __init__(
        self, producer: Producer, serde: Serde, topology: Topology, on_revision: Callable[[Revision], None]
    ) -> None:
        self._producer, self._serde, self._topology, self._on_revision = producer, serde, topology, on_revision
        size_ms = _WINDOW_PERIODS * topology.granularity_s * 1000
        self._sync = TwinSync(topology, serde, twin_settings=_SETTINGS)
        self._features = FeatureSync(topology, serde, WindowSpec(size_ms, size_ms))
        self.state = self._sync.initial()
        self._feature_state = self._features.initial()
        self.revisions = self.windows = 0

    def follow(self, reader: EpochReader, until: int) -> None:
        """Read until so many revisions are made."""
        deadline = Deadline(_READ_S)
        while self.revisions < until:
            epochs = reader.read(min(deadline.remaining, 1.0))
            if not epochs and deadline.expired:
                raise ReplayIncomplete(
                    f"of {until} periods sent only {self.revisions} came back within {_READ_S:g} s",
                    "look at the broker; another writer of telemetry.periods for this network would do this too",
                )
            step = self._sync.process(self.state, epochs)
            features = self._features.process(self._feature_state, epochs)
            self.state, self._feature_state = step.state, features.state
            send_refusals(self._producer, self._serde, step.late, step.dead_letters)
            self._send([block for block in features.outputs if isinstance(block, FeatureBlock)])
            for revision in step.outputs:
                self._on_revision(revision)
            self.revisions += len(step.outputs)
        self._producer.flush(_FLUSH_S)

    def _send(self, blocks: Sequence[FeatureBlock]) -> None:
        for event in (event for block in blocks for event in feature_events(block, self._topology)):
            self.windows += 1
            self._producer.send(
                FEATURES_TOPIC.name,
                FEATURES_TOPIC.key_of(event),
                self._serde.encode(FEATURES_TOPIC, event),
                [(EVENT_ID, event.event_id.encode())],
                timestamp_ms=event.window_end_ms,
            )

"""Reads a network's epochs from a transport, from any frontier on."""

from collections.abc import Mapping

from processors.collector import CollectorState, Epoch, EpochCollector, Polled
from schemas.telemetry import PeriodEnd
from schemas.topics import PERIODS, TELEMETRY
from streams.frontier import Frontier, TopicPartition
from streams.serde import Serde
from streams.transport import Consumer, Transport

TOPICS = tuple(t.name for t in (*TELEMETRY, PERIODS))
_POLL = 5000
# Telemetry without a barrier in sight: whoever writes the barriers is away. What is read now must be kept until it
# comes back; more than this is left on the topics.
_MOST_PENDING = 200_000


class EpochReader:
    """Assigns itself all telemetry partitions and gives complete epochs.

    It takes part in no rebalance: a network's twin needs all partitions at once, and another way than a consumer group
    makes sure that there is one writer. The group serves to show how far it has come.

    Parameters
    ----------
    transport, serde
        Where from, and how barriers are decoded.
    network_id, adopt_unkeyed
        See :class:`processors.collector.EpochCollector`.
    name, group
        Of the consumer; without a group nothing can be committed.
    most_pending
        Messages kept while no barrier is in sight.
    """

    def __init__(
        self,
        transport: Transport,
        serde: Serde,
        network_id: str,
        name: str,
        group: str | None = None,
        *,
        adopt_unkeyed: bool = True,
        most_pending: int = _MOST_PENDING,
    ) -> None:
        self._transport = transport
        self._collector = EpochCollector(
            network_id, lambda value: serde.decode_as(PERIODS, value, PeriodEnd), adopt_unkeyed
        )
        self._consumer: Consumer = transport.consumer(name, group)
        self._state: CollectorState = self._collector.initial()
        self._assigned: Frontier = {}
        self._most_pending = most_pending
        self._parked = False

    def start(self, frontier: Mapping[TopicPartition, int], closed_ms: int | None) -> None:
        """Begin at a frontier; partitions that it does not name are read from their beginning.

        Parameters
        ----------
        closed_ms
            End of the last period that lies below the frontier, None if there is none.
        """
        start = self._transport.begin_offsets(TOPICS) | dict(frontier)
        self._state = self._collector.resume(start, closed_ms)
        self._consumer.assign(start)
        self._assigned, self._parked = start, False

    def read(self, timeout_s: float) -> tuple[Epoch, ...]:
        """Poll once; the epochs that became complete, oldest first.

        Raises
        ------
        OffsetLost
            If the log no longer holds what lies after the frontier.
        """
        messages = self._consumer.poll(_POLL, timeout_s)
        if self._parked:
            if not messages:
                return ()
            self.start(self._state.frontier, self._state.closed_ms)
            return ()
        step = self._collector.process(self._state, Polled(messages, self._consumer.position()))
        self._state = step.state
        if len(self._state.pending) > self._most_pending and self._state.awaits_barrier:
            self._park()
        return step.outputs

    @property
    def pending(self) -> int:
        """Messages read that belong to no complete epoch yet."""
        return len(self._state.pending)

    def at_end(self) -> bool:
        """Whether everything on the topics was read when last looked at."""
        return self._consumer.at_end() and not self._parked

    def commit(self, frontier: Mapping[TopicPartition, int]) -> None:
        """Show in the group that everything below the frontier is durably done; raises CommitFailed."""
        self._consumer.commit(frontier)

    def close(self) -> None:
        """Give up the consumer."""
        self._consumer.close()

    def _park(self) -> None:
        """Forget what was read and wait for a barrier alone; then everything is read again."""
        state = self._state
        self._state = self._collector.resume(state.frontier, state.closed_ms)
        barriers = {at: state.position[at] for at in self._assigned if at[0] == PERIODS.name}
        self._consumer.assign(barriers)
        self._parked = True

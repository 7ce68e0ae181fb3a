"""The in-process host: one operator over a transport, with its state in a snapshot store.

Delivery order of :meth:`Host.step`:

1. poll a batch;
2. and 3. process it in memory;
4. produce outputs, late events and dead letters, and wait for the acknowledgements;
5. when due, save the state and its frontier as one snapshot;
6. commit the group's offsets, never beyond the last snapshot's.

A host that dies at any point begins at the last snapshot, does its work again and produces the same outputs under the
same ids.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from processors.operator import Operator
from processors.refusals import send_refusals
from processors.time_order import TimeOrdered
from schemas.dead_letters import LateEvent
from streams.frontier import Frontier, TopicPartition, advance
from streams.serde import Serde
from streams.snapshots import Snapshot, SnapshotStore
from streams.transport import Headers, Message, Transport

S = TypeVar("S")
O = TypeVar("O")  # noqa: E741 - outputs
_FLUSH_S = 30.0


class Outgoing(NamedTuple):
    """A message to produce."""

    topic: str
    key: str
    value: bytes
    headers: Headers = ()
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Hosting(Generic[O]):
    """How an operator is hosted.

    Attributes
    ----------
    topics
        What it reads.
    route
        Messages for an output.
    snapshot_every
        Batches between two snapshots.
    poll
        Most messages of a batch.
    keep_snapshots
        How many are kept.
    ordered
        Whether the operator compares how far partitions have come and needs them merged by time.
    """

    topics: tuple[str, ...]
    route: Callable[[O], Iterable[Outgoing]]
    snapshot_every: int = 1
    poll: int = 2000
    keep_snapshots: int = 3
    ordered: bool = False


class Host(Generic[S, O]):
    """Runs an operator on messages.

    Parameters
    ----------
    operator
        Takes messages in order of arrival.
    hosting
        Topics, routes and rhythm.
    transport, serde, store
        Where messages come from and go to, and where the state is kept.
    name
        Of the state in the store, and of the consumer and its group.
    initial
        The state to begin with where the store has none; the operator's own unless given.
    """

    def __init__(
        self,
        operator: Operator[S, Sequence[Message], O, LateEvent],
        hosting: Hosting[O],
        transport: Transport,
        serde: Serde,
        store: SnapshotStore,
        name: str,
        *,
        initial: S | None = None,
    ) -> None:
        self._operator, self._hosting = operator, hosting
        self._serde, self._store, self._name = serde, store, name
        self._producer = transport.producer(name)
        self._consumer = transport.consumer(name, group=name)
        saved = store.latest(name)
        start: Mapping[TopicPartition, int] = transport.begin_offsets(hosting.topics)
        if saved is None:
            self.state = operator.initial() if initial is None else initial
            self._number, self._frontier = 0, dict(start)
        else:
            self.state = operator.load(saved.payload)
            self._number, self._frontier = saved.revision, dict(start) | saved.frontier
        self._consumer.assign(self._frontier)
        self._input = TimeOrdered(self._consumer, transport, hosting.topics) if hosting.ordered else self._consumer
        self._unsaved = 0

    def step(self, timeout_s: float) -> int:
        """One round of the delivery order; how many messages it took."""
        batch = self._input.poll(self._hosting.poll, timeout_s)
        if not batch:
            return 0
        step = self._operator.process(self.state, batch)
        for output in step.outputs:
            for message in self._hosting.route(output):
                self._producer.send(*message)
        send_refusals(self._producer, self._serde, step.late, step.dead_letters)
        self._producer.flush(_FLUSH_S)
        self.state, self._frontier = step.state, advance(self._frontier, batch)
        self._unsaved += 1
        if self._unsaved >= self._hosting.snapshot_every:
            self.save()
        return len(batch)

    def save(self) -> None:
        """Save the state now, and show the group that everything below its frontier is done."""
        self._number += 1
        self._store.save(self._name, Snapshot(self._number, self._frontier, self._operator.dump(self.state)))
        self._store.prune(self._name, self._hosting.keep_snapshots)
        self._consumer.commit(self._frontier)
        self._unsaved = 0

    def run(self, stop: threading.Event) -> None:
        """Step until told to stop; then save."""
        while not stop.is_set():
            self.step(timeout_s=0.5)
        if self._unsaved:
            self.save()

    def drain(self) -> None:
        """Step until the end of the topics, then save: for recordings and tests."""
        while not self._input.at_end():
            self.step(timeout_s=0.1)
        if self._unsaved:
            self.save()

    @property
    def frontier(self) -> Frontier:
        """Everything below it is in the state."""
        return dict(self._frontier)

    def close(self) -> None:
        """Give up consumer and producer; what was not saved is done again by the next host."""
        self._consumer.close()
        self._producer.close()

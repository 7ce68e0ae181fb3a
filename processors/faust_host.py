"""The Faust host: partitions of telemetry shared by several workers, one lane with a state of its own for each.

Faust (faust-streaming) does what it is good at: the consumer group, which partition is whose, flow control, commits.
The operators are the very same as in the in-process host, and so are their states: Faust's tables expire windows by
the wall clock and its exactly-once mode is not safe across rebalances, so neither is used.

A managed element's events lie in the same partition of every telemetry topic. A *lane* takes one partition of all of
them, cuts its part of each epoch at the barriers, and follows it. For each epoch of a lane:

1. wait until the barrier's offsets of this partition are covered;
2. to 5. as the lane does it: process, produce, then rows, snapshot and frontier in one transaction;
6. acknowledge the messages to Faust, which commits the group's offsets.

What is committed never lies beyond what is saved. So a worker that dies at any point leaves partitions that the next
one takes up from the lane's snapshot: messages below its frontier come again and are skipped by their offset. A lane
that is still being worked on by a worker that does not know yet that it lost it writes the same rows and snapshots as
the new one, since an epoch's content is fixed.
"""

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import structlog

from processors.collector import CollectorState, Epoch, EpochCollector, Polled
from processors.exceptions import HostUnavailable
from schemas.telemetry import PeriodEnd
from schemas.topics import PERIODS, TELEMETRY
from streams.exceptions import OffsetLost
from streams.frontier import Frontier, TopicPartition
from streams.serde import Serde
from streams.transport import Consumer, Message, Transport

_NAMES = tuple(t.name for t in TELEMETRY)
PARTITIONS = TELEMETRY[0].partitions
_TICK_S = 0.1
_AT_ONCE = 2000
_QUEUED = 4 * _AT_ONCE
_BARRIERS = 500


class Follower(Protocol):
    """What a lane does with epochs; used by one thread at a time."""

    def restore(self) -> tuple[Frontier, int | None]:
        """Take the state up; its frontier, and the end of the last period below it."""
        ...

    def follow(self, epoch: Epoch) -> None:
        """Make an epoch's results durable, with its frontier."""
        ...


class Lane:
    """One partition of all telemetry topics: its collector, its barriers and its follower.

    Parameters
    ----------
    transport, serde, network_id
        Where barriers come from, and whose.
    partition
        Which.
    """

    def __init__(self, transport: Transport, serde: Serde, network_id: str, partition: int, follower: Follower) -> None:
        self._follower = follower
        self._collector = EpochCollector(
            network_id, lambda value: serde.decode_as(PERIODS, value, PeriodEnd), partition=partition
        )
        topics = (*_NAMES, PERIODS.name)
        begin = {
            at: o for at, o in transport.begin_offsets(topics).items() if at[0] == PERIODS.name or at[1] == partition
        }
        frontier, closed_ms = follower.restore()
        self._state: CollectorState = self._collector.resume(begin | frontier, closed_ms)
        self._expected: Frontier = {}  # first offset that each partition may begin with, until it has
        self._expected.update({at: o for at, o in self._state.frontier.items() if at[0] != PERIODS.name})
        self._barriers: Consumer = transport.consumer(f"faust-{partition}")
        self._barriers.assign({at: o for at, o in self._state.frontier.items() if at[0] == PERIODS.name})

    def take(self, messages: Sequence[Message]) -> Frontier:
        """Add messages, follow the epochs that are complete; the frontier below which everything is durable.

        Raises
        ------
        OffsetLost
            If a partition begins beyond the frontier: the group's offsets and the state do not belong together.
        """
        for m in messages:
            at = (m.topic, m.partition)
            if (first := self._expected.pop(at, None)) is not None and m.offset > first:
                raise OffsetLost(
                    f"{m.topic}/{m.partition} goes on at offset {m.offset}, the state of the features at {first}",
                    "reset the group's offsets to the beginning, or let the features begin anew",
                )
        barriers = self._barriers.poll(_BARRIERS, 0.0)
        step = self._collector.process(self._state, Polled((*messages, *barriers)))
        for epoch in step.outputs:
            self._follower.follow(epoch)
        self._state = step.state
        return self._state.frontier

    def close(self) -> None:
        """Give up the barriers' consumer."""
        self._barriers.close()


class FaustHost:
    """A Faust worker in a thread of the caller's process.

    Parameters
    ----------
    bootstrap_servers
        Brokers, host:port separated by commas.
    group
        Consumer group that the workers share; Faust's app id.
    open_lane
        Makes the lane of a partition.
    session_s
        After which the group gives a silent worker's partitions to others.

    Raises
    ------
    HostUnavailable
        If Faust is not installed.
    """

    def __init__(
        self, bootstrap_servers: str, group: str, open_lane: Callable[[int], Lane], session_s: float = 10.0
    ) -> None:
        try:
            import faust  # noqa: F401
        except ImportError as error:
            raise HostUnavailable(
                f"the Faust host needs faust-streaming: {error}", "pip install 'twinloop[faust]'"
            ) from None
        self._open_lane = open_lane
        self._log = structlog.get_logger().bind(group=group)
        # Everything that blocks (Kafka's client, the database) runs on one other thread, so that heartbeats go on.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="faust-lanes")
        self._lanes: dict[int, Lane] = {}
        self._unacked: dict[TopicPartition, deque[Any]] = defaultdict(deque)
        self._generation = -1
        brokers = ";".join(f"kafka://{one.strip()}" for one in bootstrap_servers.split(","))
        self._settings: dict[str, Any] = {
            "id": group,
            "broker": brokers,
            "store": "memory://",
            "web_enabled": False,
            "topic_disable_leader": True,
            "topic_allow_declare": False,
            "topic_partitions": PARTITIONS,
            "consumer_auto_offset_reset": "earliest",
            "broker_session_timeout": session_s,
            "broker_heartbeat_interval": session_s / 5,
            "broker_commit_interval": 1.0,
            "stream_wait_empty": False,
            "stream_buffer_maxsize": _AT_ONCE,
        }

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``; whatever ends it is raised."""
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._run(stop, loop))
        finally:
            self._thread.shutdown(wait=True)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _run(self, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        import faust

        app: Any = faust.App(loop=loop, **self._settings)
        queue: asyncio.Queue[Any] = asyncio.Queue(_QUEUED)
        lock = asyncio.Lock()
        telemetry = app.topic(*_NAMES, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

        async def collect(stream: Any) -> AsyncIterator[None]:
            """Faust's agent: hands messages over; they are acknowledged when they are durable."""
            async for event in stream.noack().events():
                await queue.put(event)
            yield

        async def assigned(_app: Any, *given: Any, **_: Any) -> None:
            async with lock:
                await self._assigned(app, [(tp.topic, tp.partition) for tp in given[0]])

        async def revoked(*_: Any, **__: Any) -> None:
            async with lock:
                await self._on_thread(self._close_lanes)

        app.agent(telemetry, name="governance-windows-features")(collect)
        app.on_partitions_assigned.connect(assigned, weak=False)
        app.on_partitions_revoked.connect(revoked, weak=False)
        await app.start()
        try:
            while not stop.is_set():
                batch = await self._batch(queue)
                async with lock:
                    await self._take(app, batch)
                if app.crash_reason is not None:
                    raise app.crash_reason
        finally:
            async with lock:
                await self._on_thread(self._close_lanes)
            await app.stop()

    async def _batch(self, queue: asyncio.Queue[Any]) -> list[Any]:
        """What has come; nothing after a tick, so that barriers are looked at when no telemetry comes."""
        try:
            batch = [await asyncio.wait_for(queue.get(), _TICK_S)]
        except TimeoutError:
            return []
        while not queue.empty() and len(batch) < _AT_ONCE:
            batch.append(queue.get_nowait())
        return batch

    async def _assigned(self, app: Any, partitions: Sequence[TopicPartition]) -> None:
        await self._on_thread(self._close_lanes)
        mine = {name: {p for topic, p in partitions if topic == name} for name in _NAMES}
        together = mine[_NAMES[0]]
        if any(mine[name] != together for name in _NAMES):
            raise HostUnavailable(
                f"the group gave this worker unlike partitions of the telemetry topics: {mine}",
                f"give all of {', '.join(_NAMES)} the same number of partitions",
            )
        self._generation = app.consumer_generation_id

        def open_lanes() -> None:
            for partition in sorted(together):
                self._lanes[partition] = self._open_lane(partition)

        await self._on_thread(open_lanes)
        self._log.info("partitions assigned", partitions=sorted(together))

    async def _take(self, app: Any, batch: Sequence[Any]) -> None:
        """Give each lane its messages, in order of arrival, and acknowledge what became durable."""
        messages: dict[int, list[Message]] = {partition: [] for partition in self._lanes}
        for event in batch:
            m = event.message
            if m.generation_id != self._generation or m.partition not in messages:
                continue  # of an assignment that is over; whoever has the partition now gets it again
            self._unacked[m.topic, m.partition].append(event)
            messages[m.partition].append(_message(m))
        for partition, lane in list(self._lanes.items()):
            frontier = await self._on_thread(lane.take, messages[partition])
            for name in _NAMES:
                waiting, below = self._unacked[name, partition], frontier.get((name, partition), 0)
                while waiting and waiting[0].message.offset < below:
                    waiting.popleft().ack()

    def _close_lanes(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._unacked.clear()

    async def _on_thread(self, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)


def _message(m: Any) -> Message:
    """A consumed message as the transports give it."""
    headers = m.headers.items() if isinstance(m.headers, dict) else (m.headers or ())
    return Message(
        topic=m.topic,
        partition=m.partition,
        offset=m.offset,
        key=m.key,
        value=m.value,
        headers=tuple((name, value) for name, value in headers),
        timestamp_ms=round(1000 * m.timestamp),
    )

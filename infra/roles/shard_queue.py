"""Shards to the workers and their results back, over Kafka (`loops.inner.ports`)."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Self

import structlog

from infra.roles.base import Context
from schemas.ndt import NdtShard, NdtShardResult
from schemas.topics import NDT_JOBS, NDT_JOBS_URGENT, NDT_RESULTS
from streams.exceptions import BadEvent, OffsetLost

_FLUSH_S = 30.0
_AT_ONCE = 64
# Strategies of this priority (cCLPriority of TS 28.567) and above go to the urgent topic.
URGENT_FROM = 7


class ShardQueue:
    """Queue and result source of one network. Results are read from the end of the topic as it was at the start.

    A role that starts again asks for its shards again; what workers answered before it began is not needed.
    """

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._stack = ExitStack()
        transport = context.transport
        self._producer = self._stack.enter_context(closing(transport.producer(name)))
        self._results = self._stack.enter_context(closing(transport.consumer(f"{name}-results")))
        self._results.assign(transport.end_offsets([NDT_RESULTS.name]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def send(self, shards: Sequence[NdtShard]) -> None:
        """Put shards on the topics of jobs; on return they are acknowledged."""
        for shard in shards:
            topic = NDT_JOBS_URGENT if shard.strategy.priority >= URGENT_FROM else NDT_JOBS
            self._producer.send(topic.name, topic.key_of(shard), self._context.serde.encode(topic, shard))
        if shards:
            self._producer.flush(_FLUSH_S)

    def poll(self, timeout_s: float) -> list[NdtShardResult]:
        """Results for this network that have come, waiting at most so long for the first."""
        try:
            messages = self._results.poll(_AT_ONCE, timeout_s)
        except OffsetLost:
            # Retention took results that nobody had read; their shards are asked for again after their deadline.
            self._results.assign(self._context.transport.begin_offsets([NDT_RESULTS.name]))
            return []
        out = []
        for message in messages:
            if (message.key or b"").split(b"|")[0] != self._context.network_id.encode():
                continue
            try:
                result = self._context.serde.decode(NDT_RESULTS, message.value)
            except BadEvent as error:
                structlog.get_logger().error("a shard result cannot be read", offset=message.offset, error=str(error))
                continue
            assert isinstance(result, NdtShardResult)
            out.append(result)
        return out

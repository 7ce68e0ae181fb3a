"""A worker: takes shards of verification jobs, of any network of the installation, and computes them.

Delivery order, for each shard:

1. take the next shard: an urgent one if there is any, else an ordinary one;
2. fetch the twin revision that it names, from memory or PostgreSQL;
3. compute it; what cannot be computed becomes a result with its error;
4. produce the result under the shard's id and wait for the acknowledgement;
5. commit the shard's offset.

A worker that dies before step 5 leaves the shard to the next member of the group, which computes the same numbers
again; whoever gets both results counts one. It holds nothing that would be lost with it.
"""

import os
import socket
import threading
from contextlib import ExitStack, closing

import structlog
import torch

from infra.exceptions import SettingsError
from infra.metrics import SHARDS, STEP_SECONDS
from infra.roles.base import Context, keep_trying
from infra.storage.exceptions import UnknownRevision
from infra.twin_source import PostgresTwins
from loops.inner.evaluate import Baselines, evaluate, failed
from loops.inner.ports import TwinSource
from processors.exceptions import ProcessorError
from schemas.ndt import NdtShard, NdtShardResult
from schemas.topics import NDT_JOBS, NDT_JOBS_URGENT, NDT_RESULTS, TOPICS, Topic
from streams.exceptions import BadEvent, CommitFailed
from streams.transport import Consumer, Message, Producer
from twin_core.exceptions import TwinError

NAME = "worker"
GROUP = "twinloop-workers"
_WAIT_S = 0.2  # for an ordinary shard, before urgent ones are looked for again
_FLUSH_S = 30.0


def build(context: Context) -> "WorkerRole":
    """A worker of the installation.

    Raises
    ------
    SettingsError
        If the device is not there.
    """
    settings = context.settings.worker
    torch.set_num_threads(settings.threads)
    try:
        torch.zeros(1, device=settings.device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"worker.device {settings.device!r} cannot be used: {str(error).splitlines()[0]}",
            "choose cpu, or install a driver and a torch build for that device",
        ) from None
    return WorkerRole(context)


class WorkerRole:
    """Computes shards, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context, self._baselines = context, Baselines()
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{threading.get_native_id()}"
        self._log = structlog.get_logger().bind(role=NAME, worker=self._worker)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        keep_trying(NAME, stop, lambda: self._attempt(stop))

    def _attempt(self, stop: threading.Event) -> None:
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            context.transport.ensure_topics(TOPICS)
            twins = PostgresTwins(database, context.settings.worker.cached_twins)
            producer = stack.enter_context(closing(context.transport.producer(NAME)))
            urgent, ordinary = (
                stack.enter_context(closing(self._join(topic, suffix)))
                for topic, suffix in ((NDT_JOBS_URGENT, "-urgent"), (NDT_JOBS, ""))
            )
            while not stop.is_set():
                if not self._take(urgent, NDT_JOBS_URGENT, 0.0, twins, producer):
                    self._take(ordinary, NDT_JOBS, _WAIT_S, twins, producer)

    def _join(self, topic: Topic, suffix: str) -> Consumer:
        consumer = self._context.transport.consumer(f"{NAME}{suffix}", GROUP + suffix)
        consumer.subscribe([topic.name])
        return consumer

    def _take(self, consumer: Consumer, topic: Topic, wait_s: float, twins: TwinSource, producer: Producer) -> bool:
        """Steps 1 to 5 for at most one shard; whether there was one."""
        messages = consumer.poll(1, wait_s)
        for message in messages:
            self._done(1)
            self._work(message, topic, twins, producer)
            try:
                consumer.commit({(message.topic, message.partition): message.offset + 1})
            except CommitFailed as error:
                # The partition went to another worker meanwhile, which will compute the shard once more.
                self._log.info("offset not committed", error=error.cause)
            self._done(5)
        return bool(messages)

    def _work(self, message: Message, topic: Topic, twins: TwinSource, producer: Producer) -> None:
        """Steps 2 to 4."""
        serde = self._context.serde
        try:
            shard = serde.decode(topic, message.value)
        except BadEvent as error:
            # Nobody can be told: it names no job that could be read. Whoever waits for it asks again, then gives up.
            SHARDS.labels("unreadable").inc()
            self._log.error("a shard cannot be read", topic=message.topic, offset=message.offset, error=str(error))
            return
        assert isinstance(shard, NdtShard)
        result = self._compute(shard, twins)
        producer.send(NDT_RESULTS.name, NDT_RESULTS.key_of(result), serde.encode(NDT_RESULTS, result))
        producer.flush(_FLUSH_S)
        self._done(4)
        SHARDS.labels("failed" if result.error else "computed").inc()
        STEP_SECONDS.labels(NAME).observe(result.compute_s)
        self._log.info(
            "shard", job=shard.job_id, shard=shard.shard_index, attempt=shard.attempt,
            scenarios=len(shard.scenario_classes), seconds=round(result.compute_s, 3), error=result.error,
        )  # fmt: skip

    def _compute(self, shard: NdtShard, twins: TwinSource) -> NdtShardResult:
        try:
            twin = twins.load(shard.network_id, shard.region, shard.revision)
        except (UnknownRevision, TwinError, ProcessorError) as error:
            return failed(shard, self._worker, str(error))
        self._done(2)
        device = self._context.settings.worker.device
        result = evaluate(shard, twin, self._worker, device, baselines=self._baselines)
        self._done(3)
        return result

    def _done(self, step: int) -> None:
        self._context.after_step(NAME, step, 0)

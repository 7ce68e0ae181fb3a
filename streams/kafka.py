"""The Kafka transport: confluent-kafka with the settings that make the promises of :mod:`streams.transport` true."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage
from confluent_kafka import Producer as RawProducer
from confluent_kafka import admin as typed_admin

from streams.exceptions import BrokerUnavailable, ConsumerMisuse, DeliveryFailed, TopicMissing, UndeliveredMessage
from streams.frontier import Frontier
from streams.kafka_consumer import KafkaConsumer
from streams.kafka_properties import KafkaProperties
from streams.transport import TopicLike

# Its type information leaves out half of what it exports.
_admin: Any = typed_admin
_ADMIN_S = 30.0
# Serving acknowledgements costs a call; doing it for every message would cost as much as sending.
_SENDS_BETWEEN_POLLS = 256
_UNDELIVERED_KEPT = 100
# A partition that was just created, or whose broker has just started, says this for a moment (librdkafka calls none of
# them retriable in the answer to a request for offsets).
_NOT_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
)
# Events carry event time, which may lie years back (recordings) or ahead (simulated networks): retention by time would
# delete the first at once, and the broker's guard would refuse the second.
_TOPIC_SETTINGS = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}


class KafkaTransport:
    """Topics of a Kafka cluster.

    Parameters
    ----------
    bootstrap
        ``host:port``, comma-separated.
    properties
        librdkafka properties for every client, such as ``security.protocol``, ``ssl.ca.location``,
        ``sasl.mechanism``, ``sasl.username`` and ``sasl.password``. Never shown.
    replication_factor
        Replicas of topics that are created here; -1 takes the broker's default.
    topic_settings
        Settings of topics that are created here, over «keep for ever, accept any event time».

    Raises
    ------
    BadProperty
        If librdkafka or this transport refuses a property.
    """

    def __init__(
        self,
        bootstrap: str,
        properties: Mapping[str, Any] | None = None,
        *,
        replication_factor: int = -1,
        topic_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._properties = KafkaProperties(bootstrap, properties)
        self._replication_factor = replication_factor
        self._topic_settings = {**_TOPIC_SETTINGS, **(topic_settings or {})}
        self._lock = threading.Lock()
        self._open: list[KafkaProducer | KafkaConsumer] = []
        self._trouble: object = "no answer in time"
        try:
            self._admin = _admin.AdminClient({**self._properties.common("twinloop"), "error_cb": self._note_trouble})
        except (KafkaException, ValueError, TypeError) as error:
            raise self._properties.refused(error) from None  # its traceback would show the properties

    def __repr__(self) -> str:
        return f"KafkaTransport({self._properties!r})"

    def ensure_topics(self, topics: Iterable[TopicLike]) -> None:
        wanted = {topic.name: topic.partitions for topic in topics}
        existing = self._metadata()
        missing = [
            _admin.NewTopic(name, partitions, self._replication_factor, config=self._topic_settings)
            for name, partitions in wanted.items()
            if name not in existing
        ]
        if not missing:
            return
        for name, created in self._admin.create_topics(missing, request_timeout=_ADMIN_S).items():
            try:
                created.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._properties.failed(f"creating topic {name}", error) from error
        self._await_leaders(set(wanted))

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        existing = self._metadata()
        out = {}
        for name in topics:
            if name not in existing:
                cause = f"topic {name!r} does not exist at {self._properties.bootstrap}"
                raise TopicMissing(cause, "create it with ensure_topics, or check the name")
            out[name] = existing[name]
        return out

    def begin_offsets(self, topics: Iterable[str]) -> Frontier:
        return self._offsets(topics, _admin.OffsetSpec.earliest())

    def end_offsets(self, topics: Iterable[str]) -> Frontier:
        return self._offsets(topics, _admin.OffsetSpec.latest())

    def producer(self, name: str) -> "KafkaProducer":
        producer = KafkaProducer(self, self._properties, name)
        with self._lock:
            self._open.append(producer)
        return producer

    def consumer(self, name: str, group: str | None = None) -> KafkaConsumer:
        consumer = KafkaConsumer(self.partitions, self._properties, name, group)
        with self._lock:
            self._open.append(consumer)
        return consumer

    def close(self) -> None:
        with self._lock:
            clients, self._open = self._open, []
        for client in clients:
            client.close()

    def _offsets(self, topics: Iterable[str], spec: Any) -> Frontier:
        counts = self.partitions(topics)
        request = {TopicPartition(name, p): spec for name, n in counts.items() for p in range(n)}
        out: Frontier = {}
        deadline = time.monotonic() + _ADMIN_S
        while request:
            for tp, listed in self._admin.list_offsets(request, request_timeout=_ADMIN_S).items():
                try:
                    out[tp.topic, tp.partition] = listed.result().offset
                except KafkaException as error:
                    if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                        raise self._properties.failed(f"asking for offsets of {tp.topic}", error) from error
            request = {tp: spec for tp in request if (tp.topic, tp.partition) not in out}
            if request:
                self._admin.poll(0.05)
        return out

    def _metadata(self) -> dict[str, int]:
        """Partitions of all topics that have a leader everywhere."""
        try:
            listed = self._admin.list_topics(timeout=_ADMIN_S).topics
        except KafkaException as error:
            self._admin.poll(0)  # brings what the client itself knows of the trouble, which says more
            raise self._properties.silent("asking for topics", f"{error.args[0]} ({self._trouble})") from error
        return {
            name: len(topic.partitions)
            for name, topic in listed.items()
            if topic.error is None and all(p.leader >= 0 for p in topic.partitions.values())
        }

    def _await_leaders(self, names: set[str]) -> None:
        """A created topic is usable when all brokers know who leads it."""
        deadline = time.monotonic() + _ADMIN_S
        while missing := names - self._metadata().keys():
            if time.monotonic() > deadline:
                cause = f"topics {sorted(missing)} have no leader {_ADMIN_S:.0f} s after their creation"
                raise BrokerUnavailable(cause, "look at the broker's log")
            self._admin.poll(0.05)

    def _note_trouble(self, error: KafkaError) -> None:
        self._trouble = error


class KafkaProducer:
    """Producer of a :class:`KafkaTransport`: idempotent, acknowledged by all replicas."""

    def __init__(self, transport: KafkaTransport, properties: KafkaProperties, name: str) -> None:
        self.name = name
        self._transport = transport
        self._properties = properties
        self._acked: Frontier = {}
        self._failed: list[UndeliveredMessage] = []
        self._failures = 0
        self._topics: set[str] = set()
        self._sends = 0
        self._closed = False
        try:
            self._raw = RawProducer(properties.producer(name))
        except (KafkaException, ValueError, TypeError) as error:
            raise properties.refused(error) from None  # its traceback would show the properties

    def __repr__(self) -> str:
        return f"KafkaProducer({self.name!r}, {self._properties!r})"

    def send(
        self,
        topic: str,
        key: str | bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        timestamp_ms: int | None = None,
    ) -> None:
        if self._closed:
            raise ConsumerMisuse(f"producer {self.name!r} is closed", "make a new one")
        if topic not in self._topics:  # librdkafka would find out half a minute later
            self._transport.partitions([topic])
            self._topics.add(topic)
        self._sends += 1
        if self._sends % _SENDS_BETWEEN_POLLS == 0:
            self._raw.poll(0)
        while True:
            try:
                self._raw.produce(
                    topic,
                    value,
                    key,
                    headers=list(headers) or None,
                    timestamp=timestamp_ms or 0,
                    on_delivery=self._on_delivery,
                )
                return
            except BufferError:
                self._raw.poll(0.1)  # the queue empties as the broker acknowledges, or gives up on, what is in it
            except KafkaException as error:
                raise self._properties.failed(f"sending to {topic}", error) from error

    def flush(self, deadline_s: float) -> None:
        left = self._raw.flush(deadline_s)
        failed, self._failed = self._failed, []
        failures, self._failures = self._failures, 0
        if failures or left:
            first = failed[0] if failed else UndeliveredMessage("", "", "not acknowledged in time")
            raise DeliveryFailed(
                f"of the messages sent to {self._properties.bootstrap}, {failures} were refused and {left} not "
                f"acknowledged within {deadline_s:g} s; the first: {first.topic} {first.key!r}: {first.error}",
                "look at the broker; send them again, consumers drop what they have seen",
                failed,
                failures + left,
            )

    def acked(self) -> Frontier:
        return dict(self._acked)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._raw.purge()
            self._raw.flush(1)  # serves the callbacks of what was purged; nothing is sent any more

    def _on_delivery(self, error: KafkaError | None, message: RawMessage) -> None:
        topic = message.topic() or ""
        if error is None:
            tp = (topic, message.partition() or 0)
            self._acked[tp] = max(self._acked.get(tp, 0), (message.offset() or 0) + 1)
            return
        self._failures += 1
        if len(self._failed) < _UNDELIVERED_KEPT:
            key = message.key() or b""
            text = key if isinstance(key, str) else key.decode(errors="replace")
            self._failed.append(UndeliveredMessage(topic, text, self._properties.scrub(error)))

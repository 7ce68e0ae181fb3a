"""Properties of librdkafka: what the transport needs for its promises, what the user adds, and what nobody may see."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from streams.exceptions import BadProperty, BrokerUnavailable, TopicMissing, TransportError
from streams.partitioner import KAFKA_PARTITIONER

_LOG = logging.getLogger("streams.kafka")

# The promises of streams.transport rest on these; another value would break one without a word.
_RESERVED: Final = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "client.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "partition.assignment.strategy",
        "partitioner",
        "request.required.acks",
        "transactional.id",
    }
)
# Named here is what may be shown; a property that we do not know may be a secret.
_PUBLIC: Final = frozenset(
    {
        "compression.type",
        "linger.ms",
        "message.max.bytes",
        "sasl.mechanism",
        "sasl.mechanisms",
        "security.protocol",
        "session.timeout.ms",
        "socket.timeout.ms",
        "ssl.ca.location",
    }
)


class KafkaProperties:
    """What every client of one cluster shares.

    Parameters
    ----------
    bootstrap
        ``host:port``, comma-separated.
    properties
        librdkafka properties for TLS, SASL and tuning, passed through.

    Raises
    ------
    BadProperty
        If a property would break a promise of the transport.
    """

    def __init__(self, bootstrap: str, properties: Mapping[str, Any] | None = None) -> None:
        taken = sorted(_RESERVED.intersection(properties or {}))
        if taken:
            raise BadProperty(
                f"the Kafka transport sets {', '.join(taken)} itself", "leave them out of the properties you give it"
            )
        self.bootstrap = bootstrap
        self._extra = dict(properties or {})

    def __repr__(self) -> str:
        shown = {key: value if key in _PUBLIC else "***" for key, value in sorted(self._extra.items())}
        return f"{self.bootstrap!r}, {shown}"

    def common(self, name: str) -> dict[str, Any]:
        """For any client."""
        return {"bootstrap.servers": self.bootstrap, "client.id": name, "logger": _LOG, **self._extra}

    def producer(self, name: str) -> dict[str, Any]:
        """For a producer: every message once and in order, acknowledged by all replicas."""
        return {
            # 5 ms of waiting fills batches at telemetry's rates; lz4 costs little and halves them.
            "linger.ms": 5,
            "compression.type": "lz4",
            # 256 MB of waiting messages at most; the default is a gigabyte.
            "queue.buffering.max.kbytes": 262_144,
            **self.common(name),
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": KAFKA_PARTITIONER,
        }

    def consumer(self, name: str, group: str | None) -> dict[str, Any]:
        """For a consumer that commits nothing by itself and never skips."""
        return {
            # A killed member's work goes on after this; below the default 45 s because shards of work are seconds.
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 1_000,
            **self.common(name),
            # librdkafka wants a group also where none is joined.
            "group.id": group or f"{name}.ungrouped",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            # Offsets are always given; where the log lacks one, an error and not a jump.
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "partition.assignment.strategy": "cooperative-sticky",
        }

    def scrub(self, text: object) -> str:
        """A text of librdkafka without the values of properties that may be secret."""
        out = str(text)
        for key, value in self._extra.items():
            if key not in _PUBLIC and len(str(value)) > 3:
                out = out.replace(str(value), "***")
        return out

    def refused(self, error: object) -> BadProperty:
        """librdkafka does not accept the properties."""
        return BadProperty(
            f"librdkafka refuses a property: {self.scrub(error)}",
            "see librdkafka's CONFIGURATION.md for names and values",
        )

    def silent(self, doing: str, error: object) -> BrokerUnavailable:
        """Nobody answered."""
        return BrokerUnavailable(
            f"no Kafka broker at {self.bootstrap} answers while {doing}: {self.scrub(error)}",
            "start it (`twinloop up`); check the address, security.protocol and credentials",
        )

    def failed(self, doing: str, error: Any) -> TransportError:
        """Which of our errors a librdkafka error is. ``error`` is a KafkaError or KafkaException."""
        from confluent_kafka import KafkaError

        inner = error.args[0] if isinstance(error, Exception) and error.args else error
        code = inner.code() if isinstance(inner, KafkaError) else None
        if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
            return TopicMissing(f"{doing}: {self.scrub(inner)}", "create it with ensure_topics")
        if code in (
            KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._RESOLVE,
            KafkaError._AUTHENTICATION, KafkaError._SSL,
        ):  # fmt: skip
            return self.silent(doing, inner)
        return TransportError(f"Kafka fails while {doing}: {self.scrub(inner)}", "look at the broker's log")

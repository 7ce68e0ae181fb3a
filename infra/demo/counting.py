"""Count what is on the topics, sharing no code with the processors.

Reads Kafka with the plain client. A test and the demo's report compare these numbers with the twin's own.
"""

from collections import Counter
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

TELEMETRY = ("telemetry.pm", "telemetry.mr", "telemetry.fm", "telemetry.cm")
SIDE = ("telemetry.late", "telemetry.dlq", "alerts")


@dataclass(frozen=True)
class TopicCounts:
    """Records on the topics that belong to one network."""

    ingested: int
    reinjected: int
    late: int
    dead_lettered: int
    alerts: int


def count_topics(bootstrap: str, network_id: str, properties: dict[str, str] | None = None) -> TopicCounts:
    """Read the topics from first to last offset and count this network's records.

    Late events, dead letters and alerts are counted by distinct content: a process that died between producing and
    committing writes the same bytes again.
    """
    seen: dict[str, set[bytes]] = {t: set() for t in SIDE}
    total: Counter[str] = Counter()
    reinjected = 0
    consumer = Consumer(
        {
            **(properties or {}),
            "bootstrap.servers": bootstrap,
            "group.id": "twinloop-independent-count",
            "enable.auto.commit": False,
        }
    )
    try:
        ends = {}
        for topic in (*TELEMETRY, *SIDE):
            for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                if high > low:
                    ends[topic, partition] = (low, high)
        consumer.assign([TopicPartition(t, p, low) for (t, p), (low, _) in ends.items()])
        open_ = {tp: high for tp, (_, high) in ends.items()}
        idle = 0
        while open_ and idle < 20:
            messages = consumer.consume(2000, timeout=1.0)
            idle = 0 if messages else idle + 1
            for message in messages:
                if message.error():
                    continue
                topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
                key, headers = _bytes(message.key()), message.headers() or []
                if offset + 1 >= open_.get((topic, partition), 0):
                    open_.pop((topic, partition), None)
                if topic in seen:
                    if key.split(b"|")[0] == network_id.encode():
                        seen[topic].add(_bytes(message.value()))
                elif key.split(b"|")[0] == network_id.encode() or b"|" not in key:
                    total[topic] += 1
                    reinjected += any(header[0] == "twinloop-reinjected" for header in headers)
    finally:
        consumer.close()
    return TopicCounts(
        ingested=sum(total.values()),
        reinjected=reinjected,
        late=len(seen["telemetry.late"]),
        dead_lettered=len(seen["telemetry.dlq"]),
        alerts=len(seen["alerts"]),
    )


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""

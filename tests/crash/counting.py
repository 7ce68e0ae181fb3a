"""Counts topics with plain confluent-kafka. Imports nothing of twinloop, so that it cannot share its mistakes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

TELEMETRY = ("telemetry.pm", "telemetry.mr", "telemetry.fm", "telemetry.cm")
LETTERS = ("telemetry.late", "telemetry.dlq")


class Counts(NamedTuple):
    """Records of one network, by offset and by the ids in their headers."""

    telemetry: int
    reinjected: int
    late: int
    dead_lettered: int


def count(bootstrap: str, network_id: str) -> Counts:
    """Read the topics from beginning to end."""
    ours = [m for m in _read(bootstrap, (*TELEMETRY, *LETTERS)) if _network(m) == network_id]
    telemetry = [m for m in ours if m.topic() in TELEMETRY]
    late, dead = ({_headers(m)["event_id"] for m in ours if m.topic() == topic} for topic in LETTERS)
    again = [m for m in telemetry if "twinloop-reinjected" in _headers(m)]
    return Counts(len({(m.topic(), m.partition(), m.offset()) for m in telemetry}), len(again), len(late), len(dead))


def _headers(message: Message) -> dict[str, Any]:
    return dict(message.headers() or [])


def _network(message: Message) -> str:
    return (message.key() or b"").split(b"|")[0].decode(errors="replace")


def _read(bootstrap: str, topics: Sequence[str]) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "independent", "enable.auto.commit": False})
    try:
        left = {}
        for topic in topics:
            for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                if high > low:
                    left[topic, partition] = (low, high)
        consumer.assign([TopicPartition(t, p, low) for (t, p), (low, _) in left.items()])
        out: list[Message] = []
        for _ in range(60):
            if not left:
                return out
            for message in consumer.consume(1000, timeout=1):
                assert message.error() is None, message.error()
                out.append(message)
                at = (message.topic(), message.partition())
                if at in left and (message.offset() or 0) + 1 >= left[at][1]:
                    del left[at]
        raise AssertionError(f"these partitions were not read to their end: {sorted(left)}")
    finally:
        consumer.close()

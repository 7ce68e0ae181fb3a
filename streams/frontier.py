"""Frontiers: how far a reader has come, as the next offset of every partition.

A frontier is exclusive: ``{("telemetry.pm", 0): 17}`` has seen offsets 0 to 16. A partition that it does not name
has not been read at all.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from schemas.telemetry import PartitionOffset

TopicPartition = tuple[str, int]
Frontier = dict[TopicPartition, int]


class Positioned(Protocol):
    """Anything that stands at an offset of a partition."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...


def merge(*frontiers: Mapping[TopicPartition, int]) -> Frontier:
    """The furthest position of each partition.

    >>> merge({("t", 0): 3, ("t", 1): 5}, {("t", 0): 4})
    {('t', 0): 4, ('t', 1): 5}
    """
    out: Frontier = {}
    for frontier in frontiers:
        for tp, offset in frontier.items():
            out[tp] = max(offset, out.get(tp, 0))
    return out


def covers(frontier: Mapping[TopicPartition, int], other: Mapping[TopicPartition, int]) -> bool:
    """Whether ``frontier`` has seen everything that ``other`` has.

    >>> covers({("t", 0): 4}, {("t", 0): 3}), covers({("t", 0): 4}, {("t", 1): 1})
    (True, False)
    """
    return all(frontier.get(tp, 0) >= offset for tp, offset in other.items())


def has_seen(frontier: Mapping[TopicPartition, int], message: Positioned) -> bool:
    """Whether a message lies below the frontier, so that it must change nothing any more."""
    return message.offset < frontier.get((message.topic, message.partition), 0)


def advance(frontier: Mapping[TopicPartition, int], messages: Iterable[Positioned]) -> Frontier:
    """The frontier after these messages.

    >>> advance({("t", 0): 1}, [PartitionOffset(topic="t", partition=0, offset=6)])
    {('t', 0): 7}
    """
    out = dict(frontier)
    for m in messages:
        tp = (m.topic, m.partition)
        out[tp] = max(m.offset + 1, out.get(tp, 0))
    return out


def gap(behind: Mapping[TopicPartition, int], ahead: Mapping[TopicPartition, int]) -> Frontier:
    """How many offsets each partition of ``behind`` lacks to ``ahead``; partitions without a gap are left out.

    >>> gap({("t", 0): 4}, {("t", 0): 9, ("t", 1): 2})
    {('t', 0): 5, ('t', 1): 2}
    """
    missing = {tp: offset - behind.get(tp, 0) for tp, offset in ahead.items()}
    return {tp: n for tp, n in missing.items() if n > 0}


def to_records(frontier: Mapping[TopicPartition, int]) -> list[PartitionOffset]:
    """The frontier as it stands in events, sorted by topic and partition."""
    return [PartitionOffset(topic=t, partition=p, offset=o) for (t, p), o in sorted(frontier.items())]


def from_records(records: Iterable[Positioned]) -> Frontier:
    """The frontier that :func:`to_records` wrote."""
    return {(r.topic, r.partition): r.offset for r in records}


def to_keys(frontier: Mapping[TopicPartition, int]) -> dict[str, int]:
    """The frontier under opaque keys, as the twin and JSON carry it.

    >>> to_keys({("telemetry.pm", 2): 5})
    {'telemetry.pm/2': 5}
    """
    return {f"{topic}/{partition}": offset for (topic, partition), offset in sorted(frontier.items())}


def from_keys(keys: Mapping[str, int]) -> Frontier:
    """The frontier that :func:`to_keys` wrote.

    >>> from_keys({"telemetry.pm/2": 5})
    {('telemetry.pm', 2): 5}
    """
    out: Frontier = {}
    for key, offset in keys.items():
        topic, _, partition = key.rpartition("/")
        out[topic, int(partition)] = offset
    return out

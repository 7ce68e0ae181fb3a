"""Recordings: the messages of some topics as Parquet, one file for each partition, in offset order.

::

    <folder>/recording.json            what was recorded; written last, so that a broken recording has none
    <folder>/<topic>-<partition>.parquet

Schema ids mean something only in the registry that gave them, so a recording also holds the schemas.
"""

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from streams.deadline import Deadline
from streams.exceptions import BadEvent, RecordingError
from streams.frontier import Frontier, TopicPartition, covers, from_keys, to_keys
from streams.schema_ids import SchemaIds
from streams.transport import Consumer, Message, Transport
from streams.wire import schema_id_of

_FORMAT = 1
_MANIFEST = "recording.json"
_BATCH = 5_000
_COLUMNS = pa.schema(
    [
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ]
)


@dataclass(frozen=True)
class Recording:
    """Messages of topics between two frontiers.

    Attributes
    ----------
    folder
        Where the files are.
    begin, end
        What was recorded: from ``begin`` up to, not including, ``end``.
    schemas
        Text of the schemas that the messages name, by their id in the registry of then.
    """

    folder: Path
    begin: Frontier
    end: Frontier
    schemas: Mapping[int, str]

    @classmethod
    def open(cls, folder: Path) -> "Recording":
        """The recording in a folder.

        Raises
        ------
        RecordingError
            If there is none, it was not finished, or another version wrote it.
        """
        path = folder / _MANIFEST
        try:
            manifest = json.loads(path.read_text())
            if manifest["format"] != _FORMAT:
                raise RecordingError(f"{path} has format {manifest['format']}, not {_FORMAT}", "record it again")
            schemas = {int(schema_id): text for schema_id, text in manifest["schemas"].items()}
            return cls(folder, from_keys(manifest["begin"]), from_keys(manifest["end"]), schemas)
        except FileNotFoundError:
            raise RecordingError(
                f"{folder} holds no finished recording ({_MANIFEST} is missing)", "give a folder written by record()"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordingError(f"{path} is damaged: {error}", "record it again") from error

    def topics(self) -> list[str]:
        """Names of the recorded topics."""
        return sorted({topic for topic, _ in self.begin})

    def partition(self, tp: TopicPartition) -> Iterator[Message]:
        """Messages of one partition in offset order.

        Raises
        ------
        RecordingError
            If its file is missing or damaged.
        """
        path = self.folder / _file_name(tp)
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH):
                    for row in batch.to_pylist():
                        headers = tuple((h["name"], h["value"]) for h in row["headers"])
                        yield Message(*tp, row["offset"], row["key"], row["value"], row["timestamp_ms"], headers)
        except (OSError, pa.ArrowException) as error:
            raise RecordingError(f"{path} cannot be read: {error}", "record it again") from error

    def arrivals(self, tp: TopicPartition) -> Iterator[tuple[int, Message]]:
        """Messages of one partition, each with the event time at which it can have arrived.

        A message that is older than one before it in its partition was late, and stays late: it counts as arrived
        with the one before it.
        """
        latest = 0
        for message in self.partition(tp):
            latest = max(latest, message.timestamp_ms)
            yield latest, message

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[tuple[int, Message]]:
        """:meth:`arrivals` of all partitions in order; ties go by topic, partition and offset."""
        wanted = set(self.topics() if topics is None else topics)
        return heapq.merge(
            *(self.arrivals(tp) for tp in sorted(self.begin) if tp[0] in wanted),
            key=lambda pair: (pair[0], pair[1].topic, pair[1].partition, pair[1].offset),
        )


def record(
    transport: Transport,
    topics: Iterable[str],
    folder: Path,
    *,
    ids: SchemaIds,
    begin: Mapping[TopicPartition, int] | None = None,
    end: Mapping[TopicPartition, int] | None = None,
    deadline_s: float = 600,
) -> Recording:
    """Copy topics into a folder.

    Parameters
    ----------
    ids
        The registry whose ids the messages carry.
    begin, end
        From where and up to where; all that is there at the time of the call unless given.

    Raises
    ------
    RecordingError
        If the folder holds something already, or the messages do not come within the deadline.
    """
    names = list(topics)
    start = dict(transport.begin_offsets(names) if begin is None else begin)
    stop = {tp: offset for tp, offset in (transport.end_offsets(names) if end is None else end).items() if tp in start}
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise RecordingError(f"{folder} is not empty", "give a folder of its own to each recording")
    consumer = transport.consumer("record")
    try:
        consumer.assign(start)
        schemas = _copy(consumer, start, stop, folder, ids, Deadline(deadline_s))
    finally:
        consumer.close()
    manifest = {
        "format": _FORMAT,
        "begin": to_keys(start),
        "end": to_keys(stop),
        "schemas": {str(schema_id): text for schema_id, text in sorted(schemas.items())},
    }
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Recording.open(folder)


def _copy(
    consumer: Consumer, start: Frontier, stop: Frontier, folder: Path, ids: SchemaIds, deadline: Deadline
) -> dict[int, str]:
    """Write every message below ``stop``; returns the schemas that they name."""
    schemas: dict[int, str] = {}
    writers = {tp: pq.ParquetWriter(folder / _file_name(tp), _COLUMNS, compression="zstd") for tp in start}
    try:
        while not (covers(consumer.position(), stop) or consumer.at_end()):
            if deadline.expired:
                cause = (
                    f"messages up to {to_keys(stop)} did not come in time, only up to {to_keys(consumer.position())}"
                )
                raise RecordingError(cause, "look at the broker, or allow more time")
            batch = [m for m in consumer.poll(_BATCH, min(deadline.remaining, 1.0)) if _wanted(m, stop)]
            batch.sort(key=lambda m: (m.topic, m.partition, m.offset))
            for tp, rows in groupby(batch, key=lambda m: (m.topic, m.partition)):
                writers[tp].write_table(_table(list(rows)))
            _note_schemas(batch, schemas, ids)
    finally:
        for writer in writers.values():
            writer.close()
    return schemas


def _wanted(message: Message, stop: Frontier) -> bool:
    return message.offset < stop.get((message.topic, message.partition), 0)


def _table(rows: list[Message]) -> pa.Table:
    columns = {
        "offset": [m.offset for m in rows],
        "timestamp_ms": [m.timestamp_ms for m in rows],
        "key": [m.key for m in rows],
        "value": [m.value for m in rows],
        "headers": [[{"name": name, "value": value} for name, value in m.headers] for m in rows],
    }
    return pa.table(columns, schema=_COLUMNS)


def _note_schemas(messages: list[Message], schemas: dict[int, str], ids: SchemaIds) -> None:
    for message in messages:
        try:
            schema_id = schema_id_of(message.value)
            if schema_id not in schemas:
                schemas[schema_id] = ids.schema_of(schema_id)
        except BadEvent:
            continue  # poison is recorded as it is


def _file_name(tp: TopicPartition) -> str:
    return f"{tp[0]}-{tp[1]}.parquet"

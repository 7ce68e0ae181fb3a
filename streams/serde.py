"""Events to bytes and back: Avro in the Confluent wire format, for every topic."""

import io
import re
import threading
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import fastavro
from pydantic import ValidationError

from schemas.avro import schema_text
from schemas.base import Event
from schemas.topics import Topic, topic
from streams.exceptions import BadEvent, EncodingFailed, InvalidEvent, Undecodable
from streams.pm_columns import PmColumns, PmDecoder
from streams.schema_ids import SchemaIds
from streams.transport import Message
from streams.wire import HEADER, frame, schema_id_of
from streams.writer_schema import WriterSchema

_E = TypeVar("_E", bound=Event)
_OBJECT = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")
_PM = topic("telemetry.pm")


class Serde:
    """Encodes and decodes the events of every topic. Usable from several threads.

    Parameters
    ----------
    ids
        Where schema ids come from: :class:`streams.schema_ids.RegistryIds` or ``LocalIds``.
    """

    def __init__(self, ids: SchemaIds) -> None:
        self.ids = ids
        self._lock = threading.Lock()
        self._ours: dict[str, WriterSchema] = {}
        self._writers: dict[tuple[str, int], WriterSchema] = {}
        self._pm = PmDecoder(self._is_plain_pm, self._decode_pm)

    def encode(self, topic: Topic, event: Event) -> bytes:
        """An event as the value of a message on ``topic``.

        Raises
        ------
        EncodingFailed
            If the event is not of the topic's type, or holds a value that Avro cannot.
        SchemaUnregistered
            If the registry does not have our schema of the topic.
        """
        if type(event) is not topic.event:
            raise EncodingFailed(
                f"{topic.name} carries {topic.event.__name__}, not {type(event).__name__}", "use the event's own topic"
            )
        out = io.BytesIO()
        try:
            fastavro.schemaless_writer(out, self._own(topic).parsed, event.model_dump())
        except Exception as error:  # fastavro raises whatever the value's type does
            raise EncodingFailed(
                f"event {event.event_id!r} of {topic.name} has no Avro form: {type(error).__name__}: {error}",
                "keep integers within 64 bits and text free of lone surrogates",
            ) from error
        return frame(self.ids.id_of(topic), out.getvalue())

    def decode(self, topic: Topic, value: bytes | None) -> Event:
        """The event in the value of a message on ``topic``, whoever wrote it.

        Raises
        ------
        Undecodable
            If it is not in the wire format, its schema id is unknown, or its Avro is corrupt or has bytes left over.
        InvalidEvent
            If it breaks a constraint of the topic's model.
        schemas.exceptions.RegistryUnavailable
            If a schema must be asked for and the registry does not answer; the message may be good.
        """
        schema_id = schema_id_of(value)
        writer = self._writer(topic, schema_id)
        body = io.BytesIO(cast(bytes, value)[HEADER.size :])
        reader = None if writer.same_as_ours else self._own(topic).parsed
        try:
            fields: Any = fastavro.schemaless_reader(body, writer.parsed, reader)
        except Exception as error:  # corrupt bytes surface as any type, from EOFError to UnicodeDecodeError
            raise Undecodable(
                f"not an Avro {topic.event.__name__} of schema {schema_id}: {_words(error)}",
                "encode the event with the schema that its header names",
            ) from error
        if body.read(1):
            raise Undecodable(
                f"bytes are left over after an Avro {topic.event.__name__} of schema {schema_id}",
                "encode the event with the schema that its header names",
            )
        try:
            return topic.event.model_validate(fields)
        except ValidationError as error:
            raise InvalidEvent(_explain(topic, error), "send values within the schema's documented limits") from error

    def decode_as(self, topic: Topic, value: bytes | None, model: type[_E]) -> _E:
        """:meth:`decode`, typed: ``model`` is the topic's event."""
        event = self.decode(topic, value)
        if not isinstance(event, model):
            raise TypeError(f"{topic.name} carries {topic.event.__name__}, not {model.__name__}")
        return event

    def decode_pm_columns(self, messages: Sequence[Message]) -> PmColumns:
        """PM reports as columns, without an object per counter; equals :meth:`decode` message by message.

        What cannot be decoded stands in ``PmColumns.errors``.
        """
        return self._pm.decode([m.value for m in messages])

    def _own(self, topic: Topic) -> WriterSchema:
        with self._lock:
            if topic.name not in self._ours:
                self._ours[topic.name] = WriterSchema(schema_text(topic.event))
            return self._ours[topic.name]

    def _writer(self, topic: Topic, schema_id: int) -> WriterSchema:
        with self._lock:
            writer = self._writers.get((topic.name, schema_id))
        if writer is None:
            writer = WriterSchema(self.ids.schema_of(schema_id), ours=schema_text(topic.event))
            with self._lock:
                self._writers[topic.name, schema_id] = writer
        return writer

    def _is_plain_pm(self, schema_id: int) -> bool:
        try:
            return self._writer(_PM, schema_id).same_as_ours
        except BadEvent:
            return False

    def _decode_pm(self, value: bytes | None) -> Event:
        return self.decode(_PM, value)


def _words(error: Exception) -> str:
    """What fastavro says, the same every time: its words hold the address of the buffer that it read."""
    return f"{type(error).__name__}: {_OBJECT.sub('the message', str(error))}"


def _explain(topic: Topic, error: ValidationError) -> str:
    """What is wrong, without the values: they may be a subscriber's identity."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'event'}: {p['msg']}" for p in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return f"an invalid {topic.event.__name__}: {shown}{more}"

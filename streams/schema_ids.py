"""Schema ids: which number stands for which Avro schema in the header of a message."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from schemas.avro import schema_text
from schemas.registry import Connection, connect
from schemas.topics import TOPICS, Topic
from streams.exceptions import SchemaUnregistered, Undecodable

# How long an id that the registry did not know is believed to be unknown: poison bytes with one id cost one request
# in this time, and a schema that is registered later is found soon after.
_UNKNOWN_FOR_S = 30.0
_UNKNOWN_KEPT = 10_000


class SchemaIds(Protocol):
    """Where schema ids come from. Usable from several threads."""

    def id_of(self, topic: Topic) -> int:
        """Id of our own schema of a topic.

        Raises
        ------
        SchemaUnregistered
            If the registry does not have it.
        schemas.exceptions.RegistryUnavailable
            If the registry does not answer: nothing is wrong with the event, so try again.
        """
        ...

    def schema_of(self, schema_id: int) -> str:
        """Text of the schema with that id, ours or a foreign producer's.

        Raises
        ------
        Undecodable
            If the registry has no Avro schema under that id.
        schemas.exceptions.RegistryUnavailable
            If the registry does not answer: the message must be kept, not dead-lettered.
        """
        ...

    def id_for(self, topic: Topic, text: str) -> int:
        """Id of a foreign producer's schema of a topic, which is registered if the registry does not have it.

        Raises
        ------
        schemas.exceptions.IncompatibleSchema
            If the registry refuses it.
        """
        ...


class LocalIds:
    """Ids in memory, in the order of the table of topics: for tests and for runs without a registry.

    >>> LocalIds().id_of(TOPICS[0])
    1
    """

    def __init__(self, topics: Iterable[Topic] = TOPICS) -> None:
        self._texts: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        for topic in topics:
            self._ids[topic.name] = self.add(schema_text(topic.event))

    def add(self, text: str) -> int:
        """Id for a schema, as a foreign producer would get it from a registry."""
        for known, existing in self._texts.items():
            if existing == text:
                return known
        schema_id = len(self._texts) + 1
        self._texts[schema_id] = text
        return schema_id

    def id_of(self, topic: Topic) -> int:
        try:
            return self._ids[topic.name]
        except KeyError:
            raise SchemaUnregistered(f"no schema of topic {topic.name!r} here", "give LocalIds this topic") from None

    def schema_of(self, schema_id: int) -> str:
        try:
            return self._texts[schema_id]
        except KeyError:
            raise _unknown(schema_id) from None

    def id_for(self, topic: Topic, text: str) -> int:
        return self.add(text)


class RegistryIds:
    """Ids from a schema registry, each asked for once.

    Parameters
    ----------
    url
        Base address of the Confluent-compatible API.
    properties
        Further properties of confluent-kafka's registry client (TLS, credentials); never shown.
    """

    def __init__(
        self,
        url: str,
        properties: Mapping[str, object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect: Callable[[], Connection] = partial(connect, url, properties)
        self._connection: Connection | None = None
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._ids: dict[str, int] = {}
        self._texts: dict[int, str] = {}
        self._unknown_since: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"RegistryIds({self._registry().url!r})"

    def id_of(self, topic: Topic) -> int:
        with self._lock:
            if topic.name not in self._ids:
                text = schema_text(topic.event)
                schema_id = self._registry().find(topic.subject, text)
                if schema_id is None:
                    raise SchemaUnregistered(
                        f"the registry at {self._registry().url} does not have our schema of {topic.subject}",
                        "run `twinloop schemas register`",
                    )
                self._ids[topic.name] = schema_id
                self._texts[schema_id] = text
            return self._ids[topic.name]

    def schema_of(self, schema_id: int) -> str:
        with self._lock:
            text = self._texts.get(schema_id)
            if text is not None:
                return text
            now = self._monotonic()
            if now - self._unknown_since.get(schema_id, -_UNKNOWN_FOR_S) < _UNKNOWN_FOR_S:
                raise _unknown(schema_id)
            text = self._registry().avro_text(schema_id)
            if text is None:
                if len(self._unknown_since) >= _UNKNOWN_KEPT:
                    self._unknown_since.clear()
                self._unknown_since[schema_id] = now
                raise _unknown(schema_id)
            self._texts[schema_id] = text
            return text

    def id_for(self, topic: Topic, text: str) -> int:
        with self._lock:
            schema_id = self._registry().register(topic.subject, text)
            self._texts[schema_id] = text
            return schema_id

    def _registry(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection


def _unknown(schema_id: int) -> Undecodable:
    return Undecodable(
        f"no Avro schema has the id {schema_id}",
        "register the producer's schema in the registry that this reader uses, and send the event again",
    )

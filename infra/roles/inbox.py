"""Events that a role reads one after the other, from a position that is kept with what was made of them."""

from typing import Generic, TypeVar

import structlog

from infra.roles.base import Context
from infra.storage.database import Connection, Database
from infra.storage.revisions import PostgresSnapshotStore
from schemas.base import Event
from schemas.topics import Topic
from streams.exceptions import BadEvent, OffsetLost
from streams.frontier import Frontier
from streams.snapshots import Snapshot

_KEEP = 2
_AT_ONCE = 500

E = TypeVar("E", bound=Event)


class Inbox(Generic[E]):
    """Reads one topic of one network.

    Parameters
    ----------
    topic, kind
        What is read, and the type of its events.
    name
        Whose position it is; unique within the network.
    database
        Where the position is kept.
    """

    def __init__(self, context: Context, topic: Topic, kind: type[E], name: str, database: Database) -> None:
        self._context, self._topic, self._kind = context, topic, kind
        self._state = f"{context.network_id}|{name}"
        self._consumer = context.transport.consumer(name)
        self._log = structlog.get_logger().bind(reader=name, network=context.network_id)
        with database.transaction() as connection:
            saved = PostgresSnapshotStore(lambda: connection).latest(self._state)
        self._number = saved.revision if saved else 0
        self._saved: Frontier = dict(saved.frontier) if saved else {}
        begin = context.transport.begin_offsets([topic.name])
        self._consumer.assign({at: max(offset, self._saved.get(at, 0)) for at, offset in begin.items()})

    def poll(self, timeout_s: float = 0.0) -> list[E]:
        """What has come of this network; waits so long for the first. Repeats are possible.

        What cannot be read is logged and left. Where retention took what nobody had read, reading goes on with what is
        there: commands are sent again and answered as duplicates, proposals are made again.
        """
        try:
            messages = self._consumer.poll(_AT_ONCE, timeout_s)
        except OffsetLost:
            self._log.warning("events were deleted before they were read", topic=self._topic.name)
            self._consumer.assign(self._context.transport.begin_offsets([self._topic.name]))
            return []
        found: list[E] = []
        for message in messages:
            if (message.key or b"").split(b"|")[0] != self._context.network_id.encode():
                continue
            try:
                event = self._context.serde.decode_as(self._topic, message.value, self._kind)
            except BadEvent as error:
                self._log.error(
                    "an event cannot be read", topic=self._topic.name, offset=message.offset, error=str(error)
                )
                continue
            if event.network_id == self._context.network_id:
                found.append(event)
        return found

    def save(self, connection: Connection) -> None:
        """Keep the position, in the caller's transaction, if it has moved."""
        at = self._consumer.position()
        if at == self._saved:
            return
        self._number, self._saved = self._number + 1, dict(at)
        store = PostgresSnapshotStore(lambda: connection)
        store.save(self._state, Snapshot(self._number, at, b""))
        store.prune(self._state, _KEEP)

    def close(self) -> None:
        """Give up the consumer."""
        self._consumer.close()

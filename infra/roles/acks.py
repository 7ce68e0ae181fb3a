"""Acknowledgements of configuration commands, read from a position that is kept with what was made of them."""

import structlog

from infra.roles.base import Context
from infra.storage.database import Connection, Database
from infra.storage.revisions import PostgresSnapshotStore
from schemas.plans import ConfigAck
from schemas.topics import CONFIG_ACKS
from streams.exceptions import BadEvent, OffsetLost
from streams.frontier import Frontier
from streams.snapshots import Snapshot

_KEEP = 2


class AckReader:
    """Reads ``config.acks`` of one network.

    Parameters
    ----------
    role
        Whose position it is.
    database
        Where the position is kept.
    """

    def __init__(self, context: Context, role: str, database: Database) -> None:
        self._context = context
        self._state = f"{context.network_id}|{role}"
        self._consumer = context.transport.consumer(f"{role}-acks")
        with database.transaction() as connection:
            saved = PostgresSnapshotStore(lambda: connection).latest(self._state)
        self._number = saved.revision if saved else 0
        begin = context.transport.begin_offsets([CONFIG_ACKS.name])
        known: Frontier = saved.frontier if saved else {}
        self._consumer.assign({at: max(offset, known.get(at, 0)) for at, offset in begin.items()})

    def poll(self, timeout_s: float) -> list[ConfigAck]:
        """What has come, of this network; waits so long for the first. Repeats are possible."""
        try:
            messages = self._consumer.poll(500, timeout_s)
        except OffsetLost:
            # Retention took answers that nobody had read: their commands are sent again and answered as duplicates.
            self._consumer.assign(self._context.transport.begin_offsets([CONFIG_ACKS.name]))
            return []
        found = []
        for message in messages:
            if (message.key or b"").split(b"|")[0] != self._context.network_id.encode():
                continue
            try:
                event = self._context.serde.decode(CONFIG_ACKS, message.value)
            except BadEvent as error:
                structlog.get_logger().error(
                    "an acknowledgement cannot be read", offset=message.offset, error=str(error)
                )
                continue
            assert isinstance(event, ConfigAck)
            found.append(event)
        return found

    def save(self, connection: Connection) -> None:
        """Keep the position, in the transaction of what was made of the answers."""
        self._number += 1
        store = PostgresSnapshotStore(lambda: connection)
        store.save(self._state, Snapshot(self._number, self._consumer.position(), b""))
        store.prune(self._state, _KEEP)

    def close(self) -> None:
        """Give up the consumer."""
        self._consumer.close()

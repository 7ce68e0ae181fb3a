"""Strategies that others put on `strategies.proposed`, read from a position that is kept with what was made of them."""

import structlog

from infra.roles.base import Context
from infra.storage.database import Connection, Database
from infra.storage.revisions import PostgresSnapshotStore
from schemas.strategies import Strategy
from schemas.topics import STRATEGIES
from streams.exceptions import BadEvent, OffsetLost
from streams.snapshots import Snapshot

_KEEP = 2
_AT_ONCE = 200


class ProposalReader:
    """Reads strategies of one region.

    Parameters
    ----------
    role
        Whose position it is.
    database
        Where the position is kept.
    """

    def __init__(self, context: Context, role: str, database: Database) -> None:
        self._context = context
        self._state = f"{context.network_id}|{role}-{context.region}"
        self._consumer = context.transport.consumer(f"{role}-proposals")
        self._log = structlog.get_logger().bind(role=role, network=context.network_id)
        with database.transaction() as connection:
            saved = PostgresSnapshotStore(lambda: connection).latest(self._state)
        self._number = saved.revision if saved else 0
        self._saved = dict(saved.frontier) if saved else {}
        begin = context.transport.begin_offsets([STRATEGIES.name])
        self._consumer.assign({at: max(offset, self._saved.get(at, 0)) for at, offset in begin.items()})

    def poll(self, timeout_s: float = 0.0) -> list[Strategy]:
        """What has come for this region. Repeats are possible; what cannot be read is logged and left."""
        try:
            messages = self._consumer.poll(_AT_ONCE, timeout_s)
        except OffsetLost:
            self._consumer.assign(self._context.transport.begin_offsets([STRATEGIES.name]))
            return []
        found = []
        for message in messages:
            if (message.key or b"").split(b"|")[0] != self._context.network_id.encode():
                continue
            try:
                strategy = self._context.serde.decode(STRATEGIES, message.value)
            except BadEvent as error:
                self._log.error("a proposed strategy cannot be read", offset=message.offset, error=str(error))
                continue
            assert isinstance(strategy, Strategy)
            if strategy.network_id == self._context.network_id and strategy.region == self._context.region:
                found.append(strategy)
        return found

    def save(self, connection: Connection) -> None:
        """Keep the position, in the caller's transaction, if it has moved."""
        at = self._consumer.position()
        if at == self._saved:
            return
        store = PostgresSnapshotStore(lambda: connection)
        store.save(self._state, Snapshot(self._number + 1, at, b""))
        store.prune(self._state, _KEEP)
        self._number, self._saved = self._number + 1, dict(at)

    def close(self) -> None:
        """Give up the consumer."""
        self._consumer.close()

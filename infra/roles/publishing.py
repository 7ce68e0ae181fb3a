"""Publishes what a role has put in the outbox.

1. read what is pending, oldest first; 2. produce it and wait for the acknowledgements; 3. mark it published.
A role calls it after each commit and when it starts, so that what a killed process committed is published by the next.
"""

import structlog

from infra.exceptions import InfraError
from infra.roles.base import Context
from infra.storage.database import Database
from infra.storage.outbox import OutboxRow, forget_published, mark_published, pending
from processors.refusals import EVENT_ID
from schemas.topics import topic
from streams.transport import Producer

_BATCH = 500
_FLUSH_S = 30.0
# Published rows by which a repeat is recognised: more than any role enqueues between two snapshots.
_KEPT = 10_000


class OutboxPublisher:
    """Publishes one role's events of one network.

    Parameters
    ----------
    context
        Transport, serde and network.
    role
        Whose rows.
    """

    def __init__(self, context: Context, role: str) -> None:
        self._context, self._role = context, role
        self._producer: Producer | None = None
        self._published = 0

    def publish(self, database: Database) -> int:
        """Publish everything that is pending; how many events that were.

        Raises
        ------
        DeliveryFailed, BrokerUnavailable
            If Kafka does not take them; they stay pending.
        DatabaseUnavailable
            If the database goes away; what was sent by then is sent again later.
        InfraError
            If a row holds no event of its topic: it was written by another version.
        """
        done = 0
        while True:
            with database.transaction() as connection:
                rows = pending(connection, self._role, _BATCH, self._context.network_id)
            if not rows:
                break
            producer = self._open()
            for row in rows:
                self._send(producer, row)
            producer.flush(_FLUSH_S)
            with database.transaction() as connection:
                mark_published(connection, [row.id for row in rows])
            done += len(rows)
        self._published += done
        if self._published >= _KEPT:
            with database.transaction() as connection:
                forget_published(connection, self._role, self._context.network_id, _KEPT)
            self._published = 0
        return done

    def close(self) -> None:
        """Give up the producer."""
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _open(self) -> Producer:
        if self._producer is None:
            self._producer = self._context.transport.producer(f"{self._role}-outbox")
        return self._producer

    def _send(self, producer: Producer, row: OutboxRow) -> None:
        where = topic(row.topic)
        try:
            event = where.event.model_validate(row.payload)
        except ValueError as error:
            structlog.get_logger().error("outbox row is no event", topic=row.topic, id=row.id)
            raise InfraError(
                f"outbox row {row.id} of role {self._role} holds no {where.event.__name__}: {error}",
                "publish the outbox with the twinloop version that wrote it, then update",
            ) from error
        producer.send(row.topic, row.key, self._context.serde.encode(where, event), [(EVENT_ID, row.event_id.encode())])

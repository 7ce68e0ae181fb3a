"""Alerts and where each was delivered.

An alert's row is written with its outbox row, in the transaction of what it tells. Delivery to a channel is noted in
the row, so that a process that starts again does not deliver again.
"""

from typing import Any, NamedTuple

from infra.storage import outbox
from infra.storage.database import Connection
from infra.storage.rows import insert_once
from schemas.alerts import Alert
from schemas.topics import ALERTS


class Pending(NamedTuple):
    """An alert that a channel has not got yet, and how often it was tried."""

    alert: Alert
    attempts: int


def save_alert(connection: Connection, role: str, told: Alert, at_ms: int) -> bool:
    """Write an alert and its outbox row; False if it had been told before."""
    row = {
        "network_id": told.network_id,
        "alert_id": told.event_id,
        "fingerprint": told.fingerprint,
        "body": told,
        "delivered": {},
        "at_ms": at_ms,
    }
    if not insert_once(connection, "alerts", row):
        return False
    outbox.enqueue(connection, role, ALERTS.name, ALERTS.key_of(told), told, told.event_id)
    return True


def undelivered(connection: Connection, network_id: str, channel: str, limit: int = 200) -> list[Pending]:
    """Alerts that a channel neither got nor gave up, oldest first."""
    rows = connection.execute(
        "SELECT body, COALESCE((delivered->%(channel)s->>'attempts')::int, 0) FROM alerts "
        "WHERE network_id = %(network)s AND COALESCE(delivered->%(channel)s->>'state', 'pending') = 'pending' "
        "ORDER BY at_ms, alert_id LIMIT %(limit)s",
        {"network": network_id, "channel": channel, "limit": limit},
    )
    return [Pending(Alert.model_validate(body), attempts) for body, attempts in rows]


def note_delivery(
    connection: Connection, network_id: str, alert_id: str, channel: str, state: str, attempts: int, detail: str
) -> None:
    """Note what became of a delivery: ``delivered``, ``pending`` or ``given up``."""
    connection.execute(
        "UPDATE alerts SET delivered = jsonb_set(delivered, ARRAY[%s], "
        "jsonb_build_object('state', %s::text, 'attempts', %s::int, 'detail', %s::text)) "
        "WHERE network_id = %s AND alert_id = %s",
        (channel, state, attempts, detail, network_id, alert_id),
    )


def skip_channel(connection: Connection, network_id: str, channel: str) -> int:
    """Note that nobody wants what is pending, so that a channel set up later begins with what is new; how many."""
    off: dict[str, Any] = {"channel": channel, "network": network_id}
    return connection.execute(
        'UPDATE alerts SET delivered = jsonb_set(delivered, ARRAY[%(channel)s], \'{"state": "off"}\') '
        "WHERE network_id = %(network)s AND NOT delivered ? %(channel)s",
        off,
    ).rowcount

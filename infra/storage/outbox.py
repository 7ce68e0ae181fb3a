"""Events that the database and Kafka must both know: written with their rows, published from here.

1. A role writes its rows and the events they mean in one transaction (`enqueue`).
2. A publisher reads what is pending, in order, produces it and waits for the acknowledgements.
3. It marks them published (`mark_published`).

If it dies between 2 and 3 it publishes them again; consumers drop event ids they have seen.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb
from pydantic import BaseModel

from infra.storage.database import Connection


class OutboxRow(NamedTuple):
    """An event to publish; the payload is its JSON form."""

    id: int
    network_id: str
    topic: str
    key: str
    payload: dict[str, Any]
    event_id: str


def enqueue(
    connection: Connection, role: str, topic: str, key: str, payload: BaseModel | Mapping[str, Any], event_id: str
) -> bool:
    """Put an event in the outbox, in the caller's transaction.

    Parameters
    ----------
    payload
        The event or its JSON form; its ``network_id`` names the network.

    Returns
    -------
    bool
        False if the role has put an event of that topic and id there before: nothing is changed then.
    """
    body = payload.model_dump(mode="json") if isinstance(payload, BaseModel) else dict(payload)
    done = connection.execute(
        "INSERT INTO outbox (network_id, role, topic, key, payload, event_id) VALUES (%s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (network_id, role, topic, event_id) DO NOTHING",
        (body["network_id"], role, topic, key, Jsonb(body), event_id),
    )
    return done.rowcount == 1


def pending(connection: Connection, role: str, limit: int = 500, network_id: str | None = None) -> list[OutboxRow]:
    """Oldest events that are not published yet, of one network or of all."""
    return [
        OutboxRow(*row)
        for row in connection.execute(
            "SELECT id, network_id, topic, key, payload, event_id FROM outbox "
            "WHERE role = %(role)s AND published_at IS NULL "
            "AND (%(network)s::text IS NULL OR network_id = %(network)s) ORDER BY id LIMIT %(limit)s",
            {"role": role, "network": network_id, "limit": limit},
        )
    ]


def mark_published(connection: Connection, ids: Sequence[int]) -> None:
    """Say that Kafka has acknowledged these."""
    connection.execute("UPDATE outbox SET published_at = now() WHERE id = ANY(%s)", (list(ids),))


def forget_published(connection: Connection, role: str, network_id: str, keep: int) -> int:
    """Delete published events but for the newest ``keep``, by which repeats are recognised; how many were deleted."""
    return connection.execute(
        "DELETE FROM outbox WHERE role = %(role)s AND network_id = %(network)s AND published_at IS NOT NULL AND id <= "
        "(SELECT id FROM outbox WHERE role = %(role)s AND network_id = %(network)s ORDER BY id DESC "
        "OFFSET %(keep)s LIMIT 1)",
        {"role": role, "network": network_id, "keep": keep},
    ).rowcount

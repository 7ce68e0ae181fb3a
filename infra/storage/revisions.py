"""Revisions of twins, and the snapshots they can be taken up again from.

A revision's row is what `twin.updates` says of it. A snapshot is the bytes of the twin itself with its frontier; its
writer keeps it in the same transaction as the revision.
"""

from collections.abc import Callable
from typing import Any

from psycopg.rows import dict_row

from infra.storage.database import Connection
from infra.storage.exceptions import UnknownRevision
from infra.storage.rows import upsert
from schemas.twin import TwinUpdate
from streams.snapshots import Snapshot, decode, encode, newest_readable

_COLUMNS = tuple(TwinUpdate.model_fields)


def save_revision(connection: Connection, update: TwinUpdate) -> None:
    """Write a revision; a repeat replaces it."""
    upsert(connection, "revisions", update.model_dump(mode="json"))


def load_revision(connection: Connection, network_id: str, region: str, revision: int) -> TwinUpdate:
    """A revision.

    Raises
    ------
    UnknownRevision
        If there is none of that number.
    """
    found = _one_revision(connection, network_id, region, "revision = %s", revision)
    if found is None:
        raise UnknownRevision(network_id, region, f"revision {revision}")
    return found


def latest_revision(
    connection: Connection, network_id: str, region: str, until_ms: int | None = None
) -> TwinUpdate | None:
    """The newest revision, or the newest whose period had ended by ``until_ms``; None before the first."""
    if until_ms is None:
        return _one_revision(connection, network_id, region, "true")
    return _one_revision(connection, network_id, region, "period_end_ms <= %s", until_ms)


def revisions_between(connection: Connection, network_id: str, region: str, first: int, last: int) -> list[TwinUpdate]:
    """Revisions ``first`` to ``last``, both included, in order."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT * FROM revisions WHERE network_id = %s AND region = %s AND revision BETWEEN %s AND %s "
            "ORDER BY revision",
            (network_id, region, first, last),
        )
        return [_to_update(row) for row in cursor]


def save_snapshot(connection: Connection, network_id: str, region: str, revision: int, payload: bytes) -> None:
    """Write a snapshot; a repeat replaces it."""
    key = {"network_id": network_id, "region": region, "revision": revision}
    upsert(connection, "snapshots", {**key, "payload": payload})


def load_snapshot(connection: Connection, network_id: str, region: str, revision: int) -> bytes:
    """The snapshot of exactly that revision.

    Raises
    ------
    UnknownRevision
        If there is none.
    """
    row = connection.execute(
        "SELECT payload FROM snapshots WHERE network_id = %s AND region = %s AND revision = %s",
        (network_id, region, revision),
    ).fetchone()
    if row is None:
        raise UnknownRevision(network_id, region, f"snapshot of revision {revision}")
    return bytes(row[0])


def snapshot_before(
    connection: Connection,
    network_id: str,
    region: str,
    *,
    revision: int | None = None,
    until_ms: int | None = None,
) -> tuple[int, bytes] | None:
    """The newest snapshot at or before a revision, at or before a time, or at all; None if there is none.

    Returns
    -------
    tuple
        Its revision and its bytes.
    """
    row = connection.execute(
        "SELECT s.revision, s.payload FROM snapshots s "
        "WHERE s.network_id = %(network)s AND s.region = %(region)s "
        "AND (%(revision)s::bigint IS NULL OR s.revision <= %(revision)s) "
        "AND (%(until)s::bigint IS NULL OR EXISTS (SELECT FROM revisions r WHERE r.network_id = s.network_id "
        "AND r.region = s.region AND r.revision = s.revision AND r.period_end_ms <= %(until)s)) "
        "ORDER BY s.revision DESC LIMIT 1",
        {"network": network_id, "region": region, "revision": revision, "until": until_ms},
    ).fetchone()
    return (row[0], bytes(row[1])) if row else None


def prune_snapshots(connection: Connection, network_id: str, region: str, keep: int) -> int:
    """Delete snapshots but for the newest ``keep``, those that open jobs fork, and what a twin began with (revision 0).

    Returns
    -------
    int
        How many were deleted.

    Raises
    ------
    ValueError
        If ``keep`` is below 2: the newest may turn out corrupt.
    """
    if keep < 2:
        raise ValueError(f"keep at least 2 snapshots, not {keep}: the newest may turn out corrupt")
    return connection.execute(
        "DELETE FROM snapshots WHERE network_id = %(network)s AND region = %(region)s AND revision <= "
        "(SELECT revision FROM snapshots WHERE network_id = %(network)s AND region = %(region)s "
        "ORDER BY revision DESC OFFSET %(keep)s LIMIT 1) AND revision > 0 AND revision NOT IN "
        "(SELECT revision FROM jobs WHERE network_id = %(network)s AND region = %(region)s "
        "AND state NOT IN ('CANCELLED', 'COMPLETED', 'FAILED'))",
        {"network": network_id, "region": region, "keep": keep},
    ).rowcount


class PostgresSnapshotStore:
    """`streams.snapshots.SnapshotStore` in the table of snapshots.

    A state's name is ``network_id|region``, or ``network_id|role`` for the state of another role.

    Parameters
    ----------
    connection
        Gives the connection to use. Inside its transaction a snapshot is saved with the transaction's other rows.
    """

    def __init__(self, connection: Callable[[], Connection]) -> None:
        self._connection = connection

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot; safe once the transaction is committed."""
        network_id, region = _parts(name)
        save_snapshot(self._connection(), network_id, region, snapshot.revision, encode(snapshot))

    def latest(self, name: str) -> Snapshot | None:
        """The newest that can be read."""
        return newest_readable(name, self.revisions(name), lambda revision: self.load(name, revision))

    def load(self, name: str, revision: int) -> Snapshot:
        """The snapshot of that revision; KeyError if there is none."""
        network_id, region = _parts(name)
        try:
            data = load_snapshot(self._connection(), network_id, region, revision)
        except UnknownRevision as error:
            raise KeyError(error.cause) from None
        return decode(data, f"{name} revision {revision}")

    def revisions(self, name: str) -> list[int]:
        """Revisions kept, oldest first."""
        rows = self._connection().execute(
            "SELECT revision FROM snapshots WHERE network_id = %s AND region = %s ORDER BY revision", _parts(name)
        )
        return [row[0] for row in rows]

    def prune(self, name: str, keep: int) -> None:
        """Delete all but the newest ``keep`` and those that open jobs fork."""
        prune_snapshots(self._connection(), *_parts(name), keep)


def _parts(name: str) -> tuple[str, str]:
    network_id, found, region = name.partition("|")
    if not found:
        raise ValueError(f"{name!r} cannot name a snapshot here; use network_id|region")
    return network_id, region


def _one_revision(
    connection: Connection, network_id: str, region: str, condition: str, *values: int
) -> TwinUpdate | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            f"SELECT * FROM revisions WHERE network_id = %s AND region = %s AND {condition} "  # noqa: S608 - ours
            "ORDER BY revision DESC LIMIT 1",
            (network_id, region, *values),
        )
        row = cursor.fetchone()
    return _to_update(row) if row else None


def _to_update(row: dict[str, Any]) -> TwinUpdate:
    return TwinUpdate.model_validate({column: row[column] for column in _COLUMNS})

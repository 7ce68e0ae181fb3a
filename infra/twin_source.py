"""Twin revisions from PostgreSQL, the latest few kept in memory: a worker holds no state that it cannot fetch."""

from collections import OrderedDict

from infra.storage.database import Database
from infra.storage.exceptions import UnknownRevision
from infra.storage.revisions import PostgresSnapshotStore
from processors.twin_sync import twin_of
from twin_core.twin import Twin

_Key = tuple[str, str, int]


class PostgresTwins:
    """`loops.inner.ports.TwinSource` on the table of snapshots.

    Parameters
    ----------
    database
        One thread's connection.
    kept
        Revisions kept in memory, least recently used first to go.
    """

    def __init__(self, database: Database, kept: int = 4) -> None:
        self._database, self._kept = database, kept
        self._twins: OrderedDict[_Key, Twin] = OrderedDict()

    def load(self, network_id: str, region: str, revision: int) -> Twin:
        """That revision.

        Raises
        ------
        UnknownRevision
            If its snapshot is not kept (any more).
        DatabaseUnavailable
            If the database is away.
        """
        key = (network_id, region, revision)
        if key not in self._twins:
            self._twins[key] = self._fetch(key)
            while len(self._twins) > self._kept:
                self._twins.popitem(last=False)
        self._twins.move_to_end(key)
        return self._twins[key]

    def _fetch(self, key: _Key) -> Twin:
        network_id, region, revision = key
        with self._database.transaction() as connection:
            store = PostgresSnapshotStore(lambda: connection)
            try:
                saved = store.load(f"{network_id}|{region}", revision)
            except KeyError:
                raise UnknownRevision(network_id, region, f"snapshot of revision {revision}") from None
        return twin_of(saved.payload)

"""How far each role has come, and waiting for them: what lock-step rests on.

A role reports in the transaction that writes the period's other rows, so that who sees the report sees the rows.
Whoever waits is told by NOTIFY, and looks at the table from time to time as well: a notification is lost when the
connection is.
"""

import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import psycopg

from infra.storage.database import Connection, connect
from infra.storage.exceptions import DatabaseUnavailable, ProgressTimeout

CHANNEL = "twinloop_progress"
_LOOK_EVERY_S = 1.0
_RECONNECT_EVERY_S = 0.2


def report(connection: Connection, network_id: str, role: str, period_end_ms: int) -> None:
    """Say that a role has finished a period. Never goes back: a repeat of an older period changes nothing."""
    connection.execute(
        "INSERT INTO progress (network_id, role, period_end_ms) VALUES (%s, %s, %s) ON CONFLICT (network_id, role) "
        "DO UPDATE SET period_end_ms = EXCLUDED.period_end_ms WHERE progress.period_end_ms < EXCLUDED.period_end_ms",
        (network_id, role, period_end_ms),
    )


def part_of(role: str, part: str, parts: Collection[str]) -> str:
    """Under which name a part of a role reports: its own, or the role's where there is one part alone.

    >>> part_of("twin", "1", ["1"]), part_of("twin", "2", ["1", "2"])
    ('twin', 'twin/2')
    """
    return role if len(parts) < 2 else f"{role}/{part}"


def report_part(
    connection: Connection, network_id: str, role: str, part: str, parts: Collection[str], period_end_ms: int
) -> None:
    """Say that one part of a role has finished a period; the role has finished what all its parts have.

    Parameters
    ----------
    part, parts
        Partitions or regions: this one, and all.
    """
    report(connection, network_id, part_of(role, part, parts), period_end_ms)
    if len(parts) < 2:
        return
    # Parts report in transactions of their own: the lock lets the later one see the earlier.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"progress|{network_id}|{role}",))
    at = reached(connection, network_id)
    each = [at.get(part_of(role, one, parts)) for one in parts]
    known = [end for end in each if end is not None]
    if len(known) == len(parts):
        report(connection, network_id, role, min(known))


def reached(connection: Connection, network_id: str) -> dict[str, int]:
    """Last finished period of each role that has finished one."""
    rows = connection.execute("SELECT role, period_end_ms FROM progress WHERE network_id = %s", (network_id,))
    return dict(rows.fetchall())


def wait(database_url: str, network_id: str, roles: Collection[str], period_end_ms: int, deadline_s: float) -> None:
    """Wait once; see `ProgressWatch.wait`."""
    with ProgressWatch(database_url) as watch:
        watch.wait(network_id, roles, period_end_ms, deadline_s)


class ProgressWatch:
    """Waits for roles, again and again, over one connection that it opens anew when the database was away."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._connection: Connection | None = None

    def wait(
        self,
        network_id: str,
        roles: Collection[str],
        period_end_ms: int,
        deadline_s: float,
        meanwhile: Callable[[], None] | None = None,
        every_s: float = _LOOK_EVERY_S,
    ) -> None:
        """Wait until every role has finished the period.

        Parameters
        ----------
        meanwhile
            Called at least every ``every_s`` while waiting, e.g. to serve commands. What it raises ends the wait.

        Raises
        ------
        ProgressTimeout
            Naming the roles that are behind, and where they are.
        DatabaseUnavailable
            If the deadline passes while the database is away.
        """
        end = time.monotonic() + deadline_s
        while True:
            left_s = end - time.monotonic()
            try:
                at = reached(self._listening(), network_id)
            except (psycopg.OperationalError, DatabaseUnavailable) as error:
                self.close()
                if left_s <= 0:
                    raise DatabaseUnavailable(
                        f"the database was away when the wait for period {period_end_ms} ended: {error}",
                        "start it again; what was committed is still there",
                    ) from error
            else:
                missing = {role: at.get(role) for role in roles if at.get(role, period_end_ms - 1) < period_end_ms}
                if not missing:
                    return
                if left_s <= 0:
                    raise ProgressTimeout(period_end_ms, deadline_s, missing)
            if meanwhile is not None:
                meanwhile()
            self._pause(max(0.0, min(every_s, left_s)))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listening(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._url, "twinloop progress", autocommit=True)
            self._connection.execute(f"LISTEN {CHANNEL}")
        return self._connection

    def _pause(self, timeout_s: float) -> None:
        """Until something is told, or the time is up."""
        if self._connection is None:
            time.sleep(min(_RECONNECT_EVERY_S, timeout_s))
            return
        try:
            for _ in self._connection.notifies(timeout=timeout_s, stop_after=1):
                pass
        except psycopg.OperationalError:
            self.close()

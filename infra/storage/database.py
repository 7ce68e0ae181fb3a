"""Connections to PostgreSQL: opened with clear errors, and opened again after the server was away."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import set_json_dumps

from infra.storage.exceptions import DatabaseUnavailable

Connection = psycopg.Connection[tuple[Any, ...]]

# PostgreSQL refuses NaN in JSON; refused here, the error names the value's place in our code.
set_json_dumps(partial(json.dumps, allow_nan=False, separators=(",", ":")))

_CONNECT_TIMEOUT_S = 10
# A server that vanished without closing the connection (a cut cable) is noticed in half a minute, not in two hours.
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def connect(url: str, name: str = "twinloop", *, autocommit: bool = False) -> Connection:
    """Open a connection.

    Parameters
    ----------
    url
        libpq URL or keyword string.
    name
        Shown in the server's list of sessions.

    Raises
    ------
    DatabaseUnavailable
        Naming host, port and database, never the password.
    """
    try:
        given = conninfo_to_dict(url)
        options = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": name, **_KEEPALIVE, **given}
        return psycopg.connect(make_conninfo("", **options), autocommit=autocommit)
    except psycopg.Error as error:
        raise DatabaseUnavailable(
            f"the database {_place(url)} cannot be reached: {_first_line(error)}",
            "start it (`twinloop up` starts a local one), or correct TWINLOOP_DATABASE__URL",
        ) from error


class Database:
    """One connection for one thread that is opened when it is needed, and again after it was lost.

    >>> Database("postgresql://twinloop@127.0.0.1/twinloop").connected
    False
    """

    def __init__(self, url: str, name: str = "twinloop") -> None:
        self.url = url
        self._name = name
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as this side knows."""
        return self._connection is not None and not self._connection.closed

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back on any exception.

        Raises
        ------
        DatabaseUnavailable
            If the server cannot be reached or goes away; the next transaction connects again.
        """
        connection = self._opened()
        try:
            with connection.transaction():
                yield connection
        except psycopg.OperationalError as error:
            if not connection.closed:  # a deadlock or a full disk: the server is there and says what is wrong
                raise
            raise DatabaseUnavailable(
                f"the connection to the database {_place(self.url)} was lost: {_first_line(error)}",
                "repeat the work: the next transaction connects again",
            ) from error

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

    def _opened(self) -> Connection:
        if self._connection is None or self._connection.closed:
            # Autocommit: a transaction is what `transaction` says it is, and nothing lingers open between two.
            self._connection = connect(self.url, self._name, autocommit=True)
        return self._connection


def claim(connection: Connection, name: str) -> bool:
    """Take an exclusive right, such as writing a region's twin, for as long as the connection lives.

    Returns
    -------
    bool
        False while another connection has it.
    """
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,)).fetchone()
    return bool(row and row[0])


def _place(url: str) -> str:
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "(its URL cannot be read)"
    return f"{parts.get('dbname', '')} at {parts.get('host', 'local socket')}:{parts.get('port', 5432)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]

"""Databases for tests: one is migrated a run, and each test gets a copy of it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.storage.database import connect
from infra.storage.migrate import migrate


def migrated_template(server_url: str) -> str:
    """Make and migrate a database to copy; its URL."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    with connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = make_conninfo(server_url, dbname=name)
    migrate(url)
    return url


@contextmanager
def copy_of(template_url: str) -> Iterator[str]:
    """A copy of a database, gone after the block."""
    template = sql.Identifier(str(conninfo_to_dict(template_url)["dbname"]))
    name = f"test_{uuid.uuid4().hex[:12]}"
    server_url = make_conninfo(template_url, dbname="postgres")
    with connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), template))
    try:
        yield make_conninfo(template_url, dbname=name)
    finally:
        with connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

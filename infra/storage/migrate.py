"""Bring the tables to this version (Alembic; the steps lie in ``migrations/versions`` and ship with the package)."""

from typing import TYPE_CHECKING

import psycopg

from infra.storage.database import Connection, connect
from infra.storage.exceptions import MigrationFailed, SchemaOutdated

if TYPE_CHECKING:
    from alembic.config import Config

# Any fixed number: held while migrating, so that of two processes one migrates and the other finds the work done.
_LOCK = 7_146_825_551


def migrate(database_url: str) -> str:
    """Bring the tables to this version, in one transaction.

    Returns
    -------
    str
        The version they have now.

    Raises
    ------
    DatabaseUnavailable
        If the database cannot be reached.
    MigrationFailed
        If a step fails; nothing is changed then.
    """
    from alembic import command
    from alembic.util import CommandError
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connect(database_url, "twinloop migrate"), poolclass=NullPool
    )
    config = _config()
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError, psycopg.Error) as error:
        raise MigrationFailed(
            f"the tables could not be brought to version {head()}: {str(error).strip().splitlines()[0]}",
            "nothing was changed; if they were made by a newer twinloop, use that one",
        ) from error
    finally:
        engine.dispose()
    return head()


def head() -> str:
    """The version of the tables that this twinloop works with."""
    from alembic.script import ScriptDirectory

    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None, "migrations ship with the package"
    return found


def require_current(connection: Connection) -> None:
    """Make sure the tables are those of this version.

    Raises
    ------
    SchemaOutdated
        If they are older, newer or not there.
    """
    table = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
    has = None
    if table and table[0]:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        has = row[0] if row else None
    if has != head():
        raise SchemaOutdated(
            f"the database has tables of version {has or 'none'}; this twinloop works with {head()}",
            "run `twinloop up`, which migrates; if the tables are newer, update twinloop",
        )


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "infra.storage:migrations")
    config.set_main_option("path_separator", "os")
    return config

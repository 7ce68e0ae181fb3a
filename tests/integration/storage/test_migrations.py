"""Migrations make the tables, once, whoever comes first."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.local.ports import Ports
from infra.local.services import LocalServices
from infra.storage.database import Connection, Database, connect
from infra.storage.exceptions import DatabaseUnavailable, MigrationFailed, SchemaOutdated
from infra.storage.migrate import head, migrate, require_current
from infra.storage.rows import KEYS
from infra.storage.timeseries import is_hypertable
from tests.integration.storage.conftest import TIMESCALE

pytestmark = pytest.mark.integration


def _empty_database(url: str, name: str) -> str:
    with connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return make_conninfo(url, dbname=name)


def test_time_series_are_hypertables_where_there_are_any(connection: Connection, kind: str) -> None:
    hyper = {table for table in KEYS if is_hypertable(connection, table)}
    assert hyper == ({"kpis", "features"} if kind == TIMESCALE else set())


def test_every_key_begins_with_the_network(connection: Connection) -> None:
    keys: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
        "CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, n) "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum "
        "WHERE i.indisprimary AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version' "
        "ORDER BY c.relname, k.n"
    ):
        keys.setdefault(table, []).append(column)
    assert {key[0] for key in keys.values()} == {"network_id"}
    # What the access layer replaces on is what the tables are keyed by.
    assert {table: tuple(key) for table, key in keys.items() if table in KEYS} == dict(KEYS)


def test_migrating_again_changes_nothing(url: str) -> None:
    with connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO progress VALUES ('n', 'twin', 1)")
        assert migrate(url) == head()
        require_current(connection)
        assert connection.execute("SELECT count(*) FROM progress").fetchone() == (1,)


def test_four_processes_at_once_migrate_once(url: str, unique: str) -> None:
    fresh = _empty_database(url, unique)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate, [fresh] * 4)) == [head()] * 4
    with connect(fresh) as connection:
        require_current(connection)


def test_a_database_without_tables_is_refused(url: str, unique: str) -> None:
    with connect(_empty_database(url, unique)) as connection, pytest.raises(SchemaOutdated, match="version none"):
        require_current(connection)


def test_a_failing_step_changes_nothing(url: str, unique: str) -> None:
    fresh = _empty_database(url, unique)
    with connect(fresh, autocommit=True) as connection:
        connection.execute("CREATE TABLE audit (unexpected int)")
        with pytest.raises(MigrationFailed, match="audit"):
            migrate(fresh)
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (1,)


def test_tables_of_a_newer_version_are_left_alone(url: str) -> None:
    with connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(MigrationFailed, match="9999"):
            migrate(url)
        with pytest.raises(SchemaOutdated, match="9999"):
            require_current(connection)


@pytest.mark.parametrize("attempt", [connect, migrate])
def test_an_unreachable_database_is_named_without_its_password(attempt: Callable[[str], object]) -> None:
    port = Ports.free().postgres
    with pytest.raises(DatabaseUnavailable, match=f"somewhere at 127.0.0.1:{port}") as caught:
        attempt(f"postgresql://someone:s3cret@127.0.0.1:{port}/somewhere")
    assert "s3cret" not in str(caught.value)
    assert caught.value.remedy


def test_a_role_notices_that_the_database_restarted_and_goes_on(
    database_services: LocalServices, database_url: str
) -> None:
    with Database(database_url) as database:
        with database.transaction() as connection:
            connection.execute("INSERT INTO progress VALUES ('n', 'twin', 1)")
        database_services.kill_postgres()
        with pytest.raises(DatabaseUnavailable), database.transaction() as connection:
            connection.execute("INSERT INTO progress VALUES ('n', 'inner', 1)")
        database_services.start_again("postgres")
        with database.transaction() as connection:
            rows = connection.execute("SELECT role FROM progress").fetchall()
    assert rows == [("twin",)], "what was committed is there, what was not is not"

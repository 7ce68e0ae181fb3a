"""Lock-step: the network waits for the roles, through restarts of the database, and says who is behind."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.local.services import LocalServices
from infra.storage.database import Connection, Database, connect
from infra.storage.exceptions import DatabaseUnavailable, ProgressTimeout
from infra.storage.progress import ProgressWatch, reached, report, wait

pytestmark = pytest.mark.integration
ROLES = ("twin", "inner")


def test_a_report_never_goes_back(connection: Connection) -> None:
    for period in (60_000, 120_000, 60_000):
        report(connection, "net", "twin", period)
    report(connection, "net", "inner", 0)
    report(connection, "other", "twin", 1)
    assert reached(connection, "net") == {"twin": 120_000, "inner": 0}


def test_waiting_ends_at_once_when_all_have_come_as_far(connection: Connection, url: str) -> None:
    for role in ROLES:
        report(connection, "net", role, 120_000)
    wait(url, "net", ROLES, 60_000, deadline_s=0.0)


def test_waiting_is_ended_by_the_last_report(url: str) -> None:
    looking = threading.Event()
    with ThreadPoolExecutor(1) as pool, ProgressWatch(url) as watch, connect(url, autocommit=True) as role:
        # It looks at the table by itself only after a minute, so that only the notification can end this wait.
        waiting = pool.submit(watch.wait, "net", ROLES, 60_000, 120.0, looking.set, 60.0)
        assert looking.wait(20)
        started_s = time.monotonic()
        report(role, "net", "twin", 60_000)
        report(role, "net", "inner", 60_000)
        waiting.result(20)
        assert time.monotonic() - started_s < 20


def test_the_deadline_names_who_is_behind(connection: Connection, url: str) -> None:
    report(connection, "net", "twin", 60_000)
    with pytest.raises(ProgressTimeout, match="inner has none") as caught:
        wait(url, "net", ROLES, 60_000, deadline_s=0.05)
    assert caught.value.missing == {"inner": None}
    report(connection, "net", "inner", 30_000)
    with pytest.raises(ProgressTimeout, match="inner is at 30000"):
        wait(url, "net", ROLES, 60_000, deadline_s=0.05)


def test_what_is_done_meanwhile_may_end_the_wait(url: str) -> None:
    def stop() -> None:
        raise InterruptedError("stopping")

    with ProgressWatch(url) as watch, pytest.raises(InterruptedError):
        watch.wait("net", ROLES, 60_000, 120.0, stop)


def test_waiting_survives_a_killed_database(database_services: LocalServices, database_url: str) -> None:
    served = threading.Event()
    with ThreadPoolExecutor(1) as pool, ProgressWatch(database_url) as watch, Database(database_url) as role:
        waiting = pool.submit(watch.wait, "net", ROLES, 60_000, 120.0, served.set, 0.2)
        with role.transaction() as connection:
            report(connection, "net", "twin", 60_000)
        database_services.kill_postgres()
        served.clear()
        assert served.wait(20), "commands are served while the database is away"
        database_services.start_again("postgres")
        with pytest.raises(DatabaseUnavailable), role.transaction() as connection:
            report(connection, "net", "inner", 60_000)
        with role.transaction() as connection:
            report(connection, "net", "inner", 60_000)
        waiting.result(60)


def test_a_database_that_stays_away_is_said_at_the_deadline(
    database_services: LocalServices, database_url: str
) -> None:
    with ProgressWatch(database_url) as watch:
        database_services.kill_postgres()
        try:
            with pytest.raises(DatabaseUnavailable, match="60000"):
                watch.wait("net", ROLES, 60_000, 0.3)
        finally:
            database_services.start_again("postgres")

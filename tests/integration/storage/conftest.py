"""Every test of this folder runs on plain PostgreSQL, and in the full run on TimescaleDB as well."""

import threading
from collections.abc import Iterator

import pytest

from infra.local.ports import Ports
from infra.local.timescale import LocalTimescale
from infra.storage.database import Connection, connect
from tests.databases import copy_of, migrated_template

PLAIN = "postgresql"
TIMESCALE = "timescaledb"


@pytest.fixture(scope="session")
def timescale_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTimescale]:
    """A server with TimescaleDB, for the length of the run."""
    server = LocalTimescale(tmp_path_factory.mktemp("timescale"), Ports.free().postgres)
    server.start(lambda _state: None, threading.Event())
    try:
        yield server
    finally:
        server.stop()
        server.remove()


@pytest.fixture(scope="session")
def _timescale_template(timescale_server: LocalTimescale) -> str:
    return migrated_template(timescale_server.endpoint)


@pytest.fixture(params=[PLAIN, pytest.param(TIMESCALE, marks=pytest.mark.full)])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on."""
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    with copy_of(request.getfixturevalue("_plain_template" if kind == PLAIN else "_timescale_template")) as copy:
        yield copy


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """A connection to it; each statement commits."""
    with connect(url, "test", autocommit=True) as opened:
        yield opened

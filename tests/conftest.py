"""Real services for tests that ask for them: one set a pytest run, on free ports, gone with the run."""

import signal
import uuid
from collections.abc import Iterator

import pytest

from infra.local.ports import Ports
from infra.local.services import Endpoints, LocalServices
from tests.databases import copy_of, migrated_template


def pytest_configure() -> None:
    """Ctrl-C and hanging up reach what tests start, also where pytest runs in the background, or under nohup."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def _owned_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """Services that start one by one as tests need them and end with the run, however it ends."""
    services = LocalServices(tmp_path_factory.mktemp("services"), Ports.free())
    with services.owning():
        yield services
    services.destroy()


@pytest.fixture(scope="session")
def services(_owned_services: LocalServices) -> LocalServices:
    """Kafka, registry and PostgreSQL, running. A test that kills one starts it again."""
    _owned_services.up()
    return _owned_services


@pytest.fixture(scope="session")
def database_services(_owned_services: LocalServices) -> LocalServices:
    """The same services, of which PostgreSQL runs: for tests that kill it and need no other."""
    _owned_services.up(only=["postgres"])
    return _owned_services


@pytest.fixture(scope="session")
def endpoints(services: LocalServices) -> Endpoints:
    """Where they are."""
    return services.endpoints


@pytest.fixture
def unique() -> str:
    """A name no other test uses: for topics, groups, subjects and networks in the shared services."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def _plain_template(database_services: LocalServices) -> str:
    """URL of a migrated database that tests get copies of."""
    return migrated_template(database_services.postgres.url("postgres"))


@pytest.fixture
def database_url(_plain_template: str) -> Iterator[str]:
    """A migrated, empty database of this test's own (plain PostgreSQL)."""
    with copy_of(_plain_template) as url:
        yield url

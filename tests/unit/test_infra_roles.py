"""Roles side by side: stop, failure, retries, signals."""

import os
import signal
import threading
from collections.abc import Callable

import pytest
import structlog

from infra.exceptions import SettingsError
from infra.roles.base import Context, build, keep_trying, run_roles
from infra.settings import Settings
from infra.storage.exceptions import DatabaseUnavailable
from schemas.exceptions import RegistryUnavailable
from streams.exceptions import BrokerUnavailable, OffsetLost, TransportError
from streams.testing import wait_until


class FakeRole:
    """A role whose work is given."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self.name = name
        self._work = work
        self.ended = False

    def run(self, stop: threading.Event) -> None:
        self._work(stop)
        self.ended = True


def waits(stop: threading.Event) -> None:
    stop.wait(20)


def fails(stop: threading.Event) -> None:
    raise KeyError("nobody foresaw this")


def test_roles_run_until_told_to_stop() -> None:
    stop = threading.Event()
    roles = [FakeRole("a", waits), FakeRole("b", lambda s: s.set())]
    assert run_roles(roles, stop) == 0
    assert all(role.ended for role in roles)


def test_roles_that_have_finished_end_the_run() -> None:
    assert run_roles([FakeRole("a", lambda _: None), FakeRole("b", lambda _: None)]) == 0


def test_one_that_fails_stops_the_others_and_says_why() -> None:
    other = FakeRole("other", waits)
    with structlog.testing.capture_logs() as logs:
        assert run_roles([other, FakeRole("bad", fails)]) == 1
    assert other.ended
    (entry,) = [e for e in logs if e["log_level"] == "error"]
    assert entry["role"] == "bad"
    assert entry["exc_info"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_them_and_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    role = FakeRole("a", waits)
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    assert run_roles([role]) == 0
    assert role.ended
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("away", "wait"),
        BrokerUnavailable("away", "wait"),
        RegistryUnavailable("away"),
        TransportError("not leader", "wait"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_service_that_is_away_is_tried_again(error: Exception) -> None:
    attempts: list[int] = []

    def attempt() -> None:
        attempts.append(1)
        if len(attempts) < 2:
            raise error

    with structlog.testing.capture_logs() as logs:
        keep_trying("twin", threading.Event(), attempt)
    assert len(attempts) == 2
    assert [(e["log_level"], e["error"]) for e in logs] == [("warning", str(error))]


def test_pauses_grow_while_a_service_stays_away() -> None:
    stop = threading.Event()
    pauses: list[float] = []

    def attempt() -> None:
        if len(pauses) == 2:
            stop.set()
        raise BrokerUnavailable("away", "wait")

    def note(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        pauses.append(event["pause_s"])
        raise structlog.DropEvent

    structlog.configure(processors=[note])
    try:
        keep_trying("twin", stop, attempt)
    finally:
        structlog.reset_defaults()
    assert pauses == [0.2, 0.4, 0.8]


def test_what_no_waiting_mends_is_raised() -> None:
    def attempt() -> None:
        raise OffsetLost("gone", "restore")

    with pytest.raises(OffsetLost):
        keep_trying("twin", threading.Event(), attempt)


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()

    def attempt() -> None:
        stop.set()
        raise BrokerUnavailable("away", "wait")

    thread = threading.Thread(target=keep_trying, args=("twin", stop, attempt))
    thread.start()
    wait_until(lambda: not thread.is_alive(), 5, "it has stopped")


def test_an_unknown_role_is_a_usage_error() -> None:
    with pytest.raises(SettingsError, match="roles are bridge"):
        build(["nobody"], Context.of(Settings()))


def test_a_context_shows_no_secret() -> None:
    secret = "postgresql://u:hunter2@127.0.0.1/x"
    context = Context.of(
        Settings(database={"url": secret}, kafka={"sasl_password": "hunter2", "sasl_mechanism": "PLAIN"})
    )
    assert "hunter2" not in repr(context)

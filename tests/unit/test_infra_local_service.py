"""Starting a service: idempotent, and every way it fails is named with cause and remedy."""

import errno
import shutil
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from infra.local import process as process_module
from infra.local.exceptions import Cancelled, NotEnoughDisk, PortInUse, ServiceDied, StartTimeout
from infra.local.ports import LOOPBACK, Ports, is_listening, require_free
from infra.local.service import LocalService

_SERVER = (
    "import http.server, sys; handler = http.server.SimpleHTTPRequestHandler; "
    "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), handler).serve_forever()"
)
_FAILING = "import sys; print('configuration line 7 is wrong'); sys.exit(3)"
_SILENT = "import time; time.sleep(600)"
_LATE_TO_THE_PORT = "print('java.net.BindException: Address already in use')"
_DISK_FULL = "print('write failed: No space left on device')"


class _WebServer(LocalService):
    name = "web"
    start_deadline_s = 20.0
    program = _SERVER

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-c", self.program, str(self.port)]

    def probe(self, timeout_s: float) -> None:
        urllib.request.urlopen(self.endpoint, timeout=timeout_s).close()


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def _ignore(_state: str) -> None:
    """No progress wanted."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[_WebServer]:
    web = _WebServer(tmp_path, Ports.free().registry)
    yield web
    web.kill()


def test_it_starts_once_and_says_how_it_is(service: _WebServer) -> None:
    assert not service.status().running
    states: list[str] = []
    assert service.start(states.append, threading.Event())
    assert states == ["starting", "running"]
    status = service.status()
    assert (status.running, status.healthy, status.detail) == (True, True, "")
    assert status.memory_bytes is not None
    assert status.memory_bytes > 1_000_000
    assert not service.start(states.append, threading.Event())
    assert service.status().pid == status.pid
    assert service.stop()
    assert not service.status().running


def test_a_running_service_keeps_its_port_whatever_the_next_caller_asks_for(service: _WebServer) -> None:
    service.start(_ignore, threading.Event())
    other = _WebServer(service.root, Ports.free().kafka)
    assert other.endpoint == service.endpoint
    assert not other.start(_ignore, threading.Event())
    service.kill()
    other.keep_ports()
    assert other.endpoint == service.endpoint


def test_a_service_that_hangs_is_running_but_not_healthy(service: _WebServer) -> None:
    service.start(_ignore, threading.Event())
    service.probe = _refuse  # type: ignore[method-assign]
    status = service.status()
    assert (status.running, status.healthy) == (True, False)
    assert "no answer" in status.detail


def _refuse(timeout_s: float) -> None:
    raise TimeoutError(f"no answer in {timeout_s} s")


def test_a_port_in_use_names_the_process_that_has_it(service: _WebServer) -> None:
    with socket.create_server((LOOPBACK, service.port)), pytest.raises(PortInUse) as caught:
        service.start(_ignore, threading.Event())
    assert f"127.0.0.1:{service.port}" in caught.value.cause
    assert "pid" in caught.value.cause
    assert "TWINLOOP_LOCAL__PORTS__WEB" in caught.value.remedy
    require_free("web", service.port)


@pytest.mark.parametrize(
    ("program", "error", "says"),
    [
        (_FAILING, ServiceDied, "configuration line 7 is wrong"),
        (_LATE_TO_THE_PORT, PortInUse, "127.0.0.1"),
        (_DISK_FULL, NotEnoughDisk, "free disk"),
    ],
)
def test_a_service_that_dies_says_why(service: _WebServer, program: str, error: type[Exception], says: str) -> None:
    service.program = program
    with pytest.raises(error, match=says):
        service.start(_ignore, threading.Event())


def test_a_service_that_never_answers_is_given_up(service: _WebServer) -> None:
    service.program, service.start_deadline_s = _SILENT, 0.2  # type: ignore[misc]
    with pytest.raises(StartTimeout, match=r"did not answer on http://127\.0\.0\.1"):
        service.start(_ignore, threading.Event())


def test_a_start_can_be_interrupted(service: _WebServer) -> None:
    service.program = _SILENT
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        service.start(_ignore, cancelled)


def test_too_little_disk_is_found_before_anything_is_written(
    service: _WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: _Usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(NotEnoughDisk, match="needs 500 MB of free disk and has 1 MB"):
        service.start(_ignore, threading.Event())
    assert not service.home.exists()


def test_a_disk_that_fills_while_starting_is_said(service: _WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(process_module, "write_atomically", full)
    with pytest.raises(NotEnoughDisk):
        service.start(_ignore, threading.Event())
    assert not is_listening(service.port), "what has no record must not run"


def test_free_ports_differ_and_nobody_listens_there() -> None:
    ports = Ports.free()
    chosen = [ports.kafka, ports.kafka_controller, ports.registry, ports.postgres]
    assert len(set(chosen)) == 4
    assert not any(is_listening(port) for port in chosen)
    assert all(port < 32768 for port in chosen), "below the range of outgoing connections"

"""Services end with the command that owns them, however it ends, and outlive one that only started them."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from infra.local import postgres, rootless
from infra.local.exceptions import PortInUse
from infra.local.ports import LOOPBACK, Ports
from infra.local.process import Account
from infra.local.runtime import postgres_programs
from infra.local.services import LocalServices

pytestmark = [pytest.mark.integration, pytest.mark.crash]

_DEADLINE_S = 60.0
_PORTS = "Ports(**json.loads(sys.argv[2]))"
_START = f"""
import json, sys, threading
from pathlib import Path
from infra.local.ports import Ports
from infra.local.services import LocalServices
services = LocalServices(Path(sys.argv[1]), {_PORTS})
"""
_OWNER = (
    _START
    + """
with services.running(only=["postgres"]):
    print("up", flush=True)
    threading.Event().wait()
"""
)
_STARTER = (
    _START
    + """
services.up(only=["postgres"])
print("up", flush=True)
"""
)


class _Command:
    """A command in a process of its own that works on the services of one folder."""

    def __init__(self, root: Path, ports: Ports) -> None:
        self.services = LocalServices(root, ports)
        self._arguments = [str(root), json.dumps(vars(ports))]

    def run(self, program: str) -> "subprocess.Popen[str]":
        """Start it and wait until it says that the services are up."""
        command = subprocess.Popen([sys.executable, "-c", program, *self._arguments], stdout=subprocess.PIPE, text=True)
        assert command.stdout is not None
        assert command.stdout.readline() == "up\n"
        return command

    def running(self) -> bool:
        return self.services.postgres.process.find() is not None


@pytest.fixture
def command(tmp_path: Path) -> Iterator[_Command]:
    made = _Command(tmp_path / "root", Ports.free())
    yield made
    made.services.destroy()


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _DEADLINE_S
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        tick.wait(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_services_end_with_their_owner(command: _Command, how: signal.Signals) -> None:
    owner = command.run(_OWNER)
    with owner:
        assert command.running()
        owner.send_signal(how)
        owner.wait(_DEADLINE_S)
    if how != signal.SIGKILL:
        assert not command.running(), "it ended them before it ended"
    _until(lambda: not command.running())
    run = command.services.root / "run"
    _until(lambda: not list(run.glob("*.json")))


def test_services_outlive_a_command_that_only_started_them_and_its_terminal(command: _Command) -> None:
    starter = command.run(_STARTER)
    with starter:
        assert starter.wait(_DEADLINE_S) == 0
    assert command.running()
    with psycopg.connect(command.services.endpoints.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    command.services.down()
    assert not command.running()


def test_an_owner_leaves_alone_what_ran_before_it(command: _Command) -> None:
    with command.run(_STARTER):
        pass
    pid = command.services.postgres.status().pid
    owner = command.run(_OWNER)
    with owner:
        owner.send_signal(signal.SIGTERM)
        owner.wait(_DEADLINE_S)
    assert command.services.postgres.status().pid == pid


def test_a_start_that_fails_leaves_nothing_running(command: _Command) -> None:
    services = command.services
    with socket.create_server((LOOPBACK, services.kafka.port)), pytest.raises(PortInUse, match="kafka needs"):
        services.up(only=["kafka", "postgres"])
    assert not command.running()
    assert not (services.root / "endpoints.json").exists()


def test_data_outlive_kill_and_stop_and_start(command: _Command) -> None:
    services = command.services
    url = services.up(only=["postgres"]).database_url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (x int)")
    services.kill_postgres()
    services.start_again("postgres")
    services.down()
    assert services.up(only=["postgres"]).database_url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_two_commands_that_start_at_once_start_once(command: _Command) -> None:
    first, second = command.run(_STARTER), command.run(_STARTER)
    with first, second:
        assert (first.wait(_DEADLINE_S), second.wait(_DEADLINE_S)) == (0, 0)
    assert command.running()


def test_the_password_is_in_a_file_for_its_owner_alone(command: _Command) -> None:
    url = command.services.up(only=["postgres"]).database_url
    passfile = command.services.postgres.passfile
    password = passfile.read_text().strip().rsplit(":", 1)[1]
    assert passfile.stat().st_mode & 0o077 == 0
    assert passfile.stat().st_uid == os.geteuid()
    assert password not in url
    assert password not in (command.services.root / "endpoints.json").read_text()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.split("?", maxsplit=1)[0], passfile=os.devnull)


def test_a_root_folder_that_nobody_else_may_enter_works(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    services = LocalServices(private / "root", Ports.free())
    try:
        with psycopg.connect(services.up(only=["postgres"]).database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert private.stat().st_mode & 0o777 == 0o700, "its permissions are its owner's business"
    finally:
        services.destroy()


def test_programs_that_nobody_else_may_run_are_copied_for_root(
    command: _Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def can_enter(account: Account, path: Path) -> bool:
        return not path.is_relative_to(installed) and rootless.can_enter(account, path)

    installed = postgres_programs().parent
    monkeypatch.setattr(postgres, "can_enter", can_enter)
    monkeypatch.setattr(rootless, "_PUBLIC", Path("/var/lib/twinloop") / f"test-{os.getpid()}")
    try:
        with psycopg.connect(command.services.up(only=["postgres"]).database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        if os.geteuid() == 0:
            program = command.services.postgres.command()[0]
            assert not Path(program).is_relative_to(installed)
    finally:
        command.services.destroy()
        shutil.rmtree(rootless._PUBLIC, ignore_errors=True)

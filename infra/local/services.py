"""Kafka, the registry and PostgreSQL together: up, down, status, and the blows that crash tests deal."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from infra.local.exceptions import Busy, Cancelled
from infra.local.kafka import LocalKafka
from infra.local.ports import Ports
from infra.local.postgres import LocalPostgres
from infra.local.process import DetachedProcess, write_atomically
from infra.local.registry import LocalRegistry
from infra.local.service import LocalService, ServiceStatus

Progress = Callable[[str, str], None]
SERVICES: Final = ("kafka", "registry", "postgres")
_LOCK_DEADLINE_S = 300.0  # a first start elsewhere, with its downloads


class Endpoints(BaseModel):
    """What clients need to reach the services. Holds no secret."""

    model_config = ConfigDict(frozen=True)

    bootstrap_servers: str = Field(description="Kafka")
    registry_url: str = Field(description="Schema registry, Confluent-compatible API")
    database_url: str = Field(description="PostgreSQL, libpq URL")


class LocalServices:
    """Services of one folder.

    Parameters
    ----------
    root
        Folder of their data, logs and records. Data outlive ``down()``.
    ports
        Where services listen that are not running yet.
    """

    def __init__(self, root: Path = Path("var/local"), ports: Ports | None = None) -> None:
        self.root = root.resolve()
        ports = ports or Ports()
        self.kafka = LocalKafka(self.root, ports.kafka, ports.kafka_controller)
        self.registry = LocalRegistry(self.root, ports.registry)
        self.postgres = LocalPostgres(self.root, ports.postgres)
        self._services: dict[str, LocalService] = {s.name: s for s in (self.kafka, self.registry, self.postgres)}

    @property
    def endpoints(self) -> Endpoints:
        """Where the services are, or will be."""
        return Endpoints(
            bootstrap_servers=self.kafka.endpoint,
            registry_url=self.registry.endpoint,
            database_url=self.postgres.endpoint,
        )

    def up(self, progress: Progress | None = None, only: Sequence[str] = SERVICES) -> Endpoints:
        """Start what does not run, side by side, and wait until each answers.

        On an error, and on Ctrl-C, what this call had started is stopped again.

        Parameters
        ----------
        progress
            Called with a service's name and its state in words, from several threads.
        only
            Names of the services to start.

        Raises
        ------
        LocalServiceError
            The first service's error, with cause and remedy.
        """
        tell = progress or _silent
        self.root.mkdir(parents=True, exist_ok=True)
        with self._exclusive():
            self._start([self._services[name] for name in only], tell)
            write_atomically(self.root / "endpoints.json", self.endpoints.model_dump_json(indent=2) + "\n")
        return self.endpoints

    def down(self, progress: Progress | None = None, only: Sequence[str] = SERVICES) -> None:
        """Stop what ``up`` of this folder started, and nothing else. Data stay.

        Raises
        ------
        StopTimeout
            If a service is still there after SIGKILL.
        """
        tell = progress or _silent
        if not self.root.exists():
            return
        with self._exclusive():
            self._stop([self._services[name] for name in only], tell)

    def destroy(self) -> None:
        """Stop the services and delete their data."""
        self.down()
        self.postgres.remove()
        shutil.rmtree(self.root, ignore_errors=True)

    def status(self) -> list[ServiceStatus]:
        """Each service's process and its answer to a real request."""
        with ThreadPoolExecutor(len(self._services)) as pool:
            return list(pool.map(lambda service: service.status(), self._services.values()))

    @contextmanager
    def running(self, progress: Progress | None = None, only: Sequence[str] = SERVICES) -> Iterator[Endpoints]:
        """Own the services for the length of a block; see `owning`."""
        with self.owning(progress):
            yield self.up(progress, only)

    @contextmanager
    def owning(self, progress: Progress | None = None) -> Iterator[None]:
        """End with the block what it started, also when Ctrl-C, SIGTERM or SIGKILL ends it.

        A service that ran before the block is left running.
        """
        mine = [name for name, service in self._services.items() if service.process.find() is None]
        self.root.mkdir(parents=True, exist_ok=True)
        with _signals_as_exit():
            guardian = self._guard(mine)
            try:
                yield
            finally:
                self.down(progress, mine)
                guardian.stop(deadline_s=1.0)

    def restart_kafka(self) -> None:
        """Stop Kafka in good order and start it again on the same port."""
        self.kafka.keep_ports()
        self.kafka.stop()
        self.start_again("kafka")

    def kill_kafka(self) -> None:
        """SIGKILL Kafka; its data stay as they are."""
        self.kafka.kill()

    def kill_postgres(self) -> None:
        """SIGKILL PostgreSQL with all its backends; its data stay as they are."""
        self.postgres.kill()

    def start_again(self, name: str) -> None:
        """Start a killed or stopped service where it was."""
        with self._exclusive():
            self._services[name].keep_ports()
            self._start([self._services[name]], _silent)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        lock = FileLock(self.root / ".lock")
        try:
            with lock.acquire(timeout=_LOCK_DEADLINE_S):
                yield
        except Timeout as error:
            raise Busy(
                f"another command has held the services of {self.root} for {_LOCK_DEADLINE_S:.0f} s",
                "wait for it, or end it and try again",
            ) from error

    def _start(self, services: Sequence[LocalService], tell: Progress) -> None:
        cancelled = threading.Event()
        fresh: list[LocalService] = []

        def start(service: LocalService) -> None:
            before = service.process.find()
            if before is None:
                fresh.append(service)
            try:
                service.start(partial(tell, service.name), cancelled)
            except BaseException as error:
                if not isinstance(error, Cancelled):
                    tell(service.name, "failed")
                cancelled.set()  # the others need not go on
                raise

        with ThreadPoolExecutor(len(services), thread_name_prefix="start") as pool:
            futures = [pool.submit(start, service) for service in services]
            try:
                wait(futures)
            except BaseException:  # Ctrl-C reaches this thread alone
                cancelled.set()
                wait(futures)
                self._stop(fresh, tell)
                raise
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            self._stop(fresh, tell)
            raise next((e for e in errors if not isinstance(e, Cancelled)), errors[0])

    def _stop(self, services: Sequence[LocalService], tell: Progress) -> None:
        def stop(service: LocalService) -> None:
            if service.stop():
                tell(service.name, "stopped")

        if services:
            with ThreadPoolExecutor(len(services)) as pool:
                list(pool.map(stop, services))
        if not any(service.process.find() for service in self._services.values()):
            (self.root / "endpoints.json").unlink(missing_ok=True)

    def _guard(self, names: Sequence[str]) -> DetachedProcess:
        """Start the process that ends the services when this one is gone, however it went."""
        guardian = DetachedProcess(f"guardian-{os.getpid()}", self.root)
        started_s = psutil.Process().create_time()
        command = [
            sys.executable,
            "-m",
            "infra.local.guardian",
            str(self.root),
            str(os.getpid()),
            str(started_s),
            *names,
        ]
        guardian.spawn(command, cwd=self.root)
        return guardian


def _silent(_service: str, _state: str) -> None:
    """No progress wanted."""


@contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, as Ctrl-C does, where the program has no handler of its own."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)

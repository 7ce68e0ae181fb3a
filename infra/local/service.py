"""What Kafka, the registry and PostgreSQL have in common on this machine: prepare, start, wait, stop, tell."""

import errno
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import psutil
from pydantic import BaseModel, ConfigDict, Field

from infra.local.cache import require_space
from infra.local.exceptions import Cancelled, NotEnoughDisk, PortInUse, ServiceDied, StartTimeout
from infra.local.ports import require_free
from infra.local.process import Account, DetachedProcess

STOP_DEADLINE_S = 20.0
_POLL_S = 0.05
_DATA_SPACE_BYTES = 500_000_000  # what a demo writes, with a reserve


class ServiceStatus(BaseModel):
    """How one service is."""

    model_config = ConfigDict(frozen=True)

    name: str
    running: bool = Field(description="Whether its process exists")
    healthy: bool = Field(description="Whether it answered a real request")
    endpoint: str
    pid: int | None = None
    memory_bytes: int | None = Field(default=None, description="Resident memory, with child processes")
    detail: str = Field(default="", description="Why it is not healthy")


class LocalService(ABC):
    """One service as one process.

    Parameters
    ----------
    root
        Folder for its data, record and log.
    ports
        Ports on 127.0.0.1 to listen on, the one it serves first. A running service keeps those it has.
    """

    name: ClassVar[str]
    start_deadline_s: ClassVar[float] = 120.0  # four times what a busy two-core machine needs
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, root: Path, *ports: int) -> None:
        self.root = root
        self.home = root / self.name
        self.process = DetachedProcess(self.name, root)
        self._ports = ports

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports of the running process, else the chosen ones."""
        record = self.process.record()
        return record.ports if record and record.find() else self._ports

    @property
    def port(self) -> int:
        """The port it serves."""
        return self.ports[0]

    def keep_ports(self) -> None:
        """Choose the ports of its last start, so that clients find it again after a restart."""
        record = self.process.record()
        if record is not None:
            self._ports = record.ports

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """What a client is configured with."""

    @abstractmethod
    def prepare(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        """Everything before the process: fetch programs, make the data folder. Does nothing the second time."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Command line of the process."""

    @abstractmethod
    def probe(self, timeout_s: float) -> None:
        """Ask the service something real; any exception means it is not healthy."""

    def environment(self) -> Mapping[str, str]:
        """Environment variables beside the caller's own."""
        return {}

    def account(self) -> Account | None:
        """The user to run as when that is not the caller."""
        return None

    def working_dir(self) -> Path:
        """Where the process runs; paths in its configuration are relative to it, so any characters may be in ours."""
        return self.home

    def start(self, tell: Callable[[str], None], cancelled: threading.Event) -> bool:
        """Start the service, unless it runs, and wait until it answers.

        Returns
        -------
        bool
            Whether this call started it.

        Raises
        ------
        LocalServiceError
            PortInUse, NotEnoughDisk, ArtefactsUnavailable, NoRuntime, ServiceDied, StartTimeout, Cancelled.
        """
        running = self.process.find() is not None
        try:
            if not running:
                require_space(self.root, _DATA_SPACE_BYTES)
                for port in self.ports:
                    require_free(self.name, port)
                self.prepare(tell, cancelled)
                tell("starting")
                self.process.spawn(
                    self.command(),
                    cwd=self.working_dir(),
                    ports=self._ports,
                    stop_signal=self.stop_signal,
                    env=self.environment(),
                    account=self.account(),
                )
            self._wait_healthy(cancelled)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NotEnoughDisk(self.root, _DATA_SPACE_BYTES, 0) from error
            raise
        tell("running (was there)" if running else "running")
        return not running

    def stop(self) -> bool:
        """End the process in good order, or by force when that takes too long."""
        return self.process.stop(STOP_DEADLINE_S)

    def kill(self) -> bool:
        """SIGKILL, as a crash would."""
        return self.process.kill()

    def status(self) -> ServiceStatus:
        """Find the process and probe it."""
        process = self.process.find()
        if process is None:
            return ServiceStatus(name=self.name, running=False, healthy=False, endpoint=self.endpoint, detail="stopped")
        detail = ""
        try:
            self.probe(timeout_s=3.0)
        except Exception as error:  # a probe may fail in any way its client library knows
            detail = f"{type(error).__name__}: {error}".splitlines()[0]
        return ServiceStatus(
            name=self.name,
            running=True,
            healthy=not detail,
            endpoint=self.endpoint,
            pid=process.pid,
            memory_bytes=_memory_bytes(process),
            detail=detail,
        )

    def _wait_healthy(self, cancelled: threading.Event) -> None:
        end = time.monotonic() + self.start_deadline_s
        last = "no answer yet"
        while True:
            if cancelled.is_set():
                raise Cancelled(self.name)
            if self.process.find() is None:
                self._explain_death()
            try:
                self.probe(timeout_s=2.0)
            except Exception as error:
                last = f"{type(error).__name__}: {error}".splitlines()[0]
            else:
                return
            if time.monotonic() >= end:
                raise StartTimeout(
                    f"{self.name} did not answer on {self.endpoint} within {self.start_deadline_s:.0f} s ({last}); "
                    f"its log ends:\n{self.process.log_tail()}",
                    f"read {self.process.log_path}; a busy machine needs longer, a wrong configuration never answers",
                )
            cancelled.wait(_POLL_S)

    def _explain_death(self) -> None:
        tail = self.process.log_tail()
        if "Address already in use" in tail:  # taken between our check and its bind
            for port in self.ports:
                require_free(self.name, port)
            raise PortInUse(self.name, self.port, None)
        if "No space left on device" in tail:
            raise NotEnoughDisk(self.root, _DATA_SPACE_BYTES, 0)
        raise ServiceDied(
            f"{self.name} ended while it was starting; its log ends:\n{tail}",
            f"read {self.process.log_path}; if its data is damaged and can be lost, delete {self.home}",
        )


def _memory_bytes(process: psutil.Process) -> int | None:
    try:
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    except psutil.Error:
        return None

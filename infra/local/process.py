"""One detached process with a record on disk, so that any later command finds it again and nothing else.

A pid alone is no identity: pids are reused. A record holds pid and start time, and both must match.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.local.exceptions import StopTimeout

_POLL_S = 0.02
_KILL_DEADLINE_S = 10.0
# The kernel counts start times from boot, and the boot time that psutil adds moves when the clock is corrected.
_START_TIME_TOLERANCE_S = 2.0
_LOG_TAIL_BYTES = 8192


@dataclass(frozen=True)
class ProcessRecord:
    """Identity of a process we started, the ports it listens on, and how it wants to be stopped."""

    pid: int
    started_s: float
    ports: tuple[int, ...] = ()
    stop_signal: int = signal.SIGTERM

    def find(self) -> psutil.Process | None:
        """The process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_s) > _START_TIME_TOLERANCE_S:
                return None
            if process.status() == psutil.STATUS_ZOMBIE and _is_over(process):
                return None
        except psutil.NoSuchProcess:
            return None
        return process


def _is_over(zombie: psutil.Process) -> bool:
    """Whether a zombie holds nothing any more: its first thread may be gone while others still keep its ports."""
    try:
        reaped, _ = os.waitpid(zombie.pid, os.WNOHANG)
    except ChildProcessError:  # not ours to reap
        return zombie.num_threads() <= 1
    return reaped == zombie.pid


@dataclass(frozen=True)
class Account:
    """The user a process runs as when root starts it."""

    uid: int
    gid: int


class DetachedProcess:
    """A process in a session of its own: it outlives the command that started it and hears no Ctrl-C.

    Parameters
    ----------
    name
        Names the record (``run/NAME.json``) and the log (``log/NAME.log``) under ``root``.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.record_path = root / "run" / f"{name}.json"
        self.log_path = root / "log" / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    def record(self) -> ProcessRecord | None:
        """What was written when the process started; None when nothing was, or it was cut off."""
        try:
            fields = json.loads(self.record_path.read_text())
            return ProcessRecord(**{**fields, "ports": tuple(fields["ports"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def find(self) -> psutil.Process | None:
        """The running process, or None. A stale record finds nothing."""
        if self._child is not None:
            self._child.poll()
        record = self.record()
        return record.find() if record else None

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        ports: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
        env: Mapping[str, str] | None = None,
        account: Account | None = None,
    ) -> None:
        """Start the process and write its record. Its previous log is kept beside the new one as ``.1``."""
        self.record_path.parent.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(os.environ, **(env or {})),
                start_new_session=True,
                **as_user(account),
            )
        started_s = psutil.Process(self._child.pid).create_time()
        record = ProcessRecord(self._child.pid, started_s, tuple(ports), stop_signal)
        try:
            write_atomically(self.record_path, json.dumps(asdict(record)))
        except OSError:  # a full disk: what nobody can find again must not run
            self._child.kill()
            self._child.wait()
            raise

    def stop(self, deadline_s: float) -> bool:
        """Ask the process to end, with the signal in its record, and kill it when it has not by the deadline.

        Returns
        -------
        bool
            Whether there was a process to stop.
        """
        process, record = self.find(), self.record()
        if process is not None and record is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(record.stop_signal)
            if not _within(deadline_s, lambda: self.find() is None):
                self.kill()
        self.record_path.unlink(missing_ok=True)
        return process is not None

    def kill(self) -> bool:
        """SIGKILL the process and its children; the record stays, stale, as a crash leaves it.

        Raises
        ------
        StopTimeout
            If it is still there afterwards (a process in uninterruptible sleep).
        """
        process = self.find()
        if process is None:
            return False
        family = [process]
        with suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        if not _within(_KILL_DEADLINE_S, lambda: self.find() is None and all(map(_is_dead, family[1:]))):
            raise StopTimeout(
                f"{self.name} (pid {process.pid}) is still there {_KILL_DEADLINE_S:.0f} s after SIGKILL",
                "it waits for a disk or network file system; look at `ps -o stat,wchan` and the system log",
            )
        return True

    def log_tail(self, lines: int = 12) -> str:
        """Last lines of its log."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - _LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"


def _within(deadline_s: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_S)
    return True


def _is_dead(process: psutil.Process) -> bool:
    """Whether it is gone, or waits to be reaped, which not every container's first process does."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def as_user(account: Account | None) -> dict[str, Any]:
    """Popen arguments that drop root's rights, or none."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)

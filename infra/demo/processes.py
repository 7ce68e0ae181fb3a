"""Role processes of a demo: started, watched, started again when something kills them, stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from infra.exceptions import InfraError

_STOP_S = 30.0
_TAIL = 12


class RoleDied(InfraError):
    """A role ended by itself, with an error."""


class RoleProcess:
    """One process with one or several roles.

    Parameters
    ----------
    name
        For the log file and messages.
    roles
        As in ``twinloop run``.
    environment
        Settings.
    logs
        Folder of log files.
    """

    def __init__(self, name: str, roles: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self.name, self._roles = name, tuple(roles)
        self._environment = dict(environment)
        self.log = logs / f"{name}.log"
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; output is appended to its log."""
        out: IO[bytes]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.cli", "run", "--owner", str(os.getpid()), *self._roles],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is ours; we stop the roles in order
            )

    def watch(self) -> bool:
        """Start it again if a signal ended it; True if it was.

        Raises
        ------
        RoleDied
            If it ended by itself with an error, with the last lines of its log.
        """
        code = self._process.poll() if self._process else None
        if code is None or code == 0:
            return False
        if code > 0:
            raise RoleDied(f"{self.name} ended with exit code {code}:\n{self._last_words()}", f"see {self.log}")
        self.restarts += 1
        self.start()
        return True

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, deadline: float) -> None:
        """Wait until it has ended, and kill it at the deadline (of the monotonic clock)."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(line[:400] for line in lines[-_TAIL:])


def stop_all(processes: Sequence[RoleProcess]) -> None:
    """Ask all to stop, then wait for each."""
    for process in processes:
        process.ask_to_stop()
    deadline = time.monotonic() + _STOP_S
    for process in processes:
        process.stop(deadline)

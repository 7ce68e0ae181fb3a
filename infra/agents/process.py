"""The parent's side of an agent's process: ask, wait no longer than permitted, end and start anew."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from loops.agents.agent import NetworkView
from loops.exceptions import AgentFailed

# Of an answer; a thousand changes are some 200 kB.
_LARGEST = 8 * 2**20
# An agent may import much before it is asked.
START_S = 60.0
_ENV_PREFIX = "TWINLOOP_"


class AgentProcess:
    """One agent in a process of its own, started when it is first needed and after each end.

    Parameters
    ----------
    full_name
        As in the settings: a name, or ``NAME:FORM``.
    """

    def __init__(self, full_name: str) -> None:
        self.full_name, self.name = full_name, full_name.partition(":")[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._loaded = False

    def start(self) -> None:
        """Start it, if it does not run."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.agents.host", str(theirs.fileno()), str(os.getpid()), self.full_name],
                env=_environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._connection, self._loaded = Connection(ours.detach()), False

    def ask(self, view: bytes) -> None:
        """Hand it a view, pickled; `answer` fetches what it says.

        Raises
        ------
        AgentFailed
            If it has died, or cannot be loaded.
        """
        self.start()
        assert self._connection is not None
        if not self._loaded:
            # Only who has loaded it reads on, so that handing over a large view cannot block.
            self._receive(START_S, "has not been loaded")
            self._loaded = True
        try:
            self._connection.send_bytes(view)
        except OSError:
            raise self._ended() from None

    def answer(self, deadline_s: float) -> list[str]:
        """Its proposals, as JSON.

        Raises
        ------
        AgentFailed
            If it raised an error, died or did not answer in time; then it is ended, and started again when asked next.
        """
        return list(self._receive(deadline_s, "has not answered")["strategies"])

    def close(self) -> None:
        """End it, and all that it started."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _receive(self, deadline_s: float, late: str) -> dict[str, Any]:
        assert self._connection is not None, "asked before"
        try:
            if not self._connection.poll(deadline_s):
                self.close()
                raise AgentFailed(f"it {late} within {deadline_s:g} s; its process was ended")
            said: dict[str, Any] = json.loads(self._connection.recv_bytes(_LARGEST))
        except (EOFError, OSError):
            raise self._ended() from None
        if "error" in said:
            if not self._loaded:
                self.close()
            raise AgentFailed(said["error"])
        return said

    def _ended(self) -> AgentFailed:
        process = self._process
        with suppress(subprocess.TimeoutExpired):
            if process is not None:
                process.wait(1.0)
        code = process.returncode if process is not None else None
        self.close()
        how = "its answer cannot be read" if code is None else f"exit code {code}" if code >= 0 else f"signal {-code}"
        return AgentFailed(f"its process ended: {how}; what it printed is in the role's log")


def packed(view: NetworkView) -> bytes:
    """A view, as `AgentProcess.ask` takes it."""
    return pickle.dumps(view, protocol=pickle.HIGHEST_PROTOCOL)


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Environment of an agent: without the settings, among which are secrets."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {k: v for k, v in own.items() if not k.startswith(_ENV_PREFIX)} | threads


def _has_descriptor(stream: object) -> bool:
    try:
        return bool(stream.fileno() >= 0)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False

"""The executable as a child process: its lines read as they come, what it says on stderr kept for error texts."""

import queue
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO

from infra.line_protocol.exceptions import NetworkDied

MAX_LINE = 64 * 1024 * 1024  # bytes; a period's measurements of ten thousand users stay below
_QUEUED_LINES = 10_000
_STDERR_LINES = 30
_STDERR_WIDTH = 500
# Longest wait for the executable to end by itself after stop, and then after SIGTERM.
STOP_S, _TERMINATE_S = 5.0, 2.0


class LineProcess:
    """Starts a command and exchanges lines with it.

    Parameters
    ----------
    command
        Executable with arguments, as a list or as one string in shell quoting (no shell is run).

    Raises
    ------
    NetworkDied
        If it cannot be started.
    """

    def __init__(self, command: Sequence[str] | str) -> None:
        self.arguments = shlex.split(command) if isinstance(command, str) else list(command)
        if not self.arguments:
            raise NetworkDied("no network executable is given", "name one, e.g. --network-cmd 'python my_network.py'")
        try:
            # A session of its own: Ctrl-C reaches us alone, and we end it in good order.
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise NetworkDied(
                f"the network executable {self.arguments[0]!r} cannot be started: {error.strerror}",
                "give an executable that exists, with its path",
            ) from error
        self._lines: queue.Queue[bytes | None] = queue.Queue(_QUEUED_LINES)
        self._complaints: deque[str] = deque(maxlen=_STDERR_LINES)
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, name="network-stdout", daemon=True),
            threading.Thread(target=self._listen, name="network-stderr", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def write(self, text: str) -> None:
        """Send a line.

        Raises
        ------
        NetworkDied
            If nobody reads it any more.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise self.obituary() from error

    def read(self, timeout_s: float) -> bytes | None:
        """The next line without its end; None if there is none in time.

        Raises
        ------
        NetworkDied
            If the executable has closed its output and every line was read.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if line is None:
            self._lines.put(None)  # whoever reads on hears the same
            raise self.obituary()
        return line

    def obituary(self) -> NetworkDied:
        """Why it is gone, in its own last words."""
        try:
            code: int | None = self._process.wait(_TERMINATE_S)
        except subprocess.TimeoutExpired:
            code = None
        self._threads[1].join(_TERMINATE_S)
        how = "closed its output" if code is None else _ended(code)
        words = "\n  ".join(self._complaints) or "(nothing on stderr)"
        return NetworkDied(
            f"the network {' '.join(self.arguments)} {how}; its last words:\n  {words}",
            "mend what it complains of; `twinloop network check CMD` tests an executable step by step",
        )

    def close(self, farewell: str | None = None, patience_s: float = STOP_S) -> int:
        """End it: the farewell and the end of its input first, then SIGTERM, then SIGKILL; its exit code."""
        self._closing.set()
        try:
            if farewell is not None:
                self.write(farewell)
        except NetworkDied:
            pass  # gone already: what there is to wait for is its exit code
        try:
            assert self._process.stdin is not None
            self._process.stdin.close()
        except OSError:
            pass  # a broken pipe: what was not written has nobody to read it
        code = self._wait(patience_s)
        if code is None:
            self._process.send_signal(signal.SIGTERM)
            code = self._wait(_TERMINATE_S)
        if code is None:
            self._process.kill()
            code = self._process.wait()
        for thread in self._threads:
            thread.join(_TERMINATE_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def _wait(self, timeout_s: float) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def _read(self) -> None:
        out: IO[bytes] | None = self._process.stdout
        assert out is not None
        while True:
            line = out.readline(MAX_LINE)
            if not line:
                break
            self._put(line.rstrip(b"\r\n"))
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        """Queue a line; nobody reads any more once we close, so drop it then."""
        while True:
            try:
                self._lines.put(line, timeout=0.2)
                return
            except queue.Full:
                if self._closing.is_set():
                    return

    def _listen(self) -> None:
        err: IO[bytes] | None = self._process.stderr
        assert err is not None
        for line in err:
            self._complaints.append(line.decode(errors="replace").rstrip()[:_STDERR_WIDTH])


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

"""Clocks for what must wait: replay at speed, retries. Event logic reads event time and needs none of them."""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Tells and spends time."""

    def now_ms(self) -> int:
        """Unix epoch, milliseconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class SettableClock:
    """A clock that stands still until it is told otherwise; sleeping moves it, at once.

    >>> clock = SettableClock(1_000)
    >>> clock.sleep(2.5)
    >>> clock.now_ms()
    3500
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = float(now_ms)
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        return int(self._now_ms)

    def set(self, now_ms: int) -> None:
        """Put the clock to a time; raises ValueError if that lies in its past."""
        with self._lock:
            if now_ms < self._now_ms:
                raise ValueError(f"clock stands at {self.now_ms()} ms and cannot go back to {now_ms} ms")
            self._now_ms = float(now_ms)

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._now_ms += max(seconds, 0) * 1_000

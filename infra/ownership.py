"""Processes that end with the one that started them, however that one went."""

from collections.abc import Callable
from contextlib import suppress


def when_gone(owner: int, act: Callable[[], object]) -> None:
    """Wait until a process is gone, then act.

    Parameters
    ----------
    owner
        Process id.
    """
    import psutil

    with suppress(psutil.NoSuchProcess):
        psutil.Process(owner).wait()
    act()

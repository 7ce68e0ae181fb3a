"""One deadline for several steps: whatever the first one uses, the others no longer have."""

import time
from collections.abc import Callable


class Deadline:
    """A point in time by which all of something must be done.

    Parameters
    ----------
    seconds
        From now.
    monotonic
        Where time comes from.

    Examples
    --------
    >>> Deadline(0).expired
    True
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return max(self._end - self._monotonic(), 0.0)

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self.remaining <= 0

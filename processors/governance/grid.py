"""The grid of granularity periods that a barrier spans."""

from typing import NamedTuple


class Grid(NamedTuple):
    """Periods (end - granularity, end], aligned to one known end; milliseconds."""

    end_ms: int
    granularity_ms: int

    def period_of(self, time_ms: int) -> int:
        """End of the period that holds a time.

        >>> Grid(120_000, 60_000).period_of(120_001), Grid(120_000, 60_000).period_of(60_000)
        (180000, 60000)
        """
        return self.end_ms - (self.end_ms - time_ms) // self.granularity_ms * self.granularity_ms

    def is_end(self, time_ms: int) -> bool:
        """Whether a time is the end of a period."""
        return (time_ms - self.end_ms) % self.granularity_ms == 0

    @property
    def next_ms(self) -> int:
        """End of the period after the barrier's."""
        return self.end_ms + self.granularity_ms

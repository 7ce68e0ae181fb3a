"""Event-time windows with one watermark per managed element and a stream of late rows.

The reports of one managed element come in order in one partition, those of different elements in any order. So each
element has its own watermark, and what falls into a window depends on the order within one element alone: neither the
interleaving of elements nor the cut into batches changes a window.

A window ends at ``end`` and holds the event times in (end - size, end], because a report carries the end of its period.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from processors.encoding import pack, unpack
from processors.exceptions import WrongState
from processors.operator import Step

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MARK = -1  # key of a row that carries no values: "this element has reported everything up to this time"
_NEVER = -(1 << 60)


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Size and slide of windows, and how long after its end a window waits for stragglers; milliseconds.

    ``slide_ms == size_ms`` makes tumbling windows, a smaller slide sliding ones.
    """

    size_ms: int
    slide_ms: int
    lateness_ms: int = 0

    def __post_init__(self) -> None:
        if self.slide_ms <= 0 or self.size_ms % self.slide_ms or self.size_ms <= 0 or self.lateness_ms < 0:
            raise ValueError(
                f"windows of {self.size_ms} ms every {self.slide_ms} ms, lateness {self.lateness_ms} ms: "
                "size must be a positive multiple of slide, and lateness not negative"
            )


class Rows(NamedTuple):
    """Timed values in order of arrival: ``element`` [R], ``key`` [R] (a cell), ``time_ms`` [R], ``values`` [R, K]."""

    element: Ints
    key: Ints
    time_ms: Ints
    values: Floats

    @classmethod
    def empty(cls, columns: int) -> Self:
        """No rows of so many columns."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, none, np.zeros((0, columns)))

    @classmethod
    def marks(cls, elements: int, time_ms: int, columns: int) -> Self:
        """Watermarks of all elements: they have reported everything up to ``time_ms``."""
        return cls(
            np.arange(elements, dtype=np.int64),
            np.full(elements, MARK, dtype=np.int64),
            np.full(elements, time_ms, dtype=np.int64),
            np.full((elements, columns), np.nan),
        )

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "Rows":
        """Some of the rows."""
        return Rows(self.element[which], self.key[which], self.time_ms[which], self.values[which])

    def then(self, other: "Rows") -> "Rows":
        """These rows followed by others."""
        return Rows(
            np.concatenate([self.element, other.element]),
            np.concatenate([self.key, other.key]),
            np.concatenate([self.time_ms, other.time_ms]),
            np.concatenate([self.values, other.values]),
        )


class Panes(NamedTuple):
    """Complete windows: ``element``, ``key``, ``end_ms`` [W]; their rows lie in ``first[w]:first[w + 1]``.

    Windows are ordered by end, element, key; rows within a window by time, one for each time (the last that came).
    """

    element: Ints
    key: Ints
    end_ms: Ints
    first: NDArray[np.intp]
    time_ms: Ints
    values: Floats


class WindowState(NamedTuple):
    """Watermark per element [E] and the rows whose windows are still open, in order of arrival."""

    watermark_ms: Ints
    rows: Rows


@dataclass(frozen=True, slots=True)
class WindowOperator:
    """Collects rows into event-time windows per key; a window is complete when its element's watermark passes its end.

    Examples
    --------
    Two reports a minute apart close the first window of one minute; a third that belongs to it is late.

    >>> op = WindowOperator(elements=1, columns=1, spec=WindowSpec(60_000, 60_000))
    >>> def report(t, v):
    ...     return Rows(np.array([0]), np.array([7]), np.array([t]), np.array([[v]]))
    >>> step = op.process(op.initial(), report(60_000, 1.0).then(report(120_000, 2.0)).then(report(30_000, 3.0)))
    >>> [pane.end_ms.tolist() for pane in step.outputs], step.late[0].time_ms.tolist()
    ([[60000, 120000]], [30000])
    """

    elements: int
    columns: int
    spec: WindowSpec
    name: str = "windows"

    def initial(self) -> WindowState:
        """No row seen, no watermark."""
        return WindowState(np.full(self.elements, _NEVER, dtype=np.int64), Rows.empty(self.columns))

    def process(self, state: WindowState, batch: Rows) -> Step[WindowState, Panes, Rows]:
        """Add rows in order of arrival; give the windows that became complete and the rows that came too late.

        A row with key ``MARK`` moves its element's watermark to its time and is otherwise dropped.
        """
        if not len(batch.element):
            return Step(state)
        spec = self.spec
        said = np.where(batch.key == MARK, batch.time_ms, batch.time_ms - spec.lateness_ms)
        before, watermark = _running_watermarks(state.watermark_ms, batch.element, said)
        data = batch.key != MARK
        last_end = _first_end(batch.time_ms, spec) + spec.size_ms - spec.slide_ms
        late = data & (last_end <= before)
        kept = data & ~late

        rows = state.rows.then(batch.take(kept))
        seen_at = np.concatenate([state.watermark_ms[state.rows.element], before[kept]])
        panes = self._complete(rows, seen_at, watermark)
        still_open = _first_end(rows.time_ms, spec) + spec.size_ms - spec.slide_ms > watermark[rows.element]
        return Step(
            WindowState(watermark, rows.take(still_open)),
            (panes,) if len(panes.end_ms) else (),
            (batch.take(late),) if late.any() else (),
        )

    def _complete(self, rows: Rows, seen_at: Ints, watermark: Ints) -> Panes:
        spec, reach = self.spec, watermark[rows.element]
        first_end = _first_end(rows.time_ms, spec)
        which, ends = [], []
        for ahead in range(0, spec.size_ms, spec.slide_ms):
            end = first_end + ahead
            # A window that was complete before the row came is not opened again.
            in_window = np.flatnonzero((end <= reach) & (end > seen_at))
            which.append(in_window)
            ends.append(end[in_window])
        row, end = np.concatenate(which), np.concatenate(ends)
        order = np.lexsort((row, rows.time_ms[row], rows.key[row], rows.element[row], end))
        # A row replaces an earlier one of the same key and time.
        newest = np.ones(len(row), dtype=bool)
        columns = (end, rows.element[row], rows.key[row], rows.time_ms[row])
        newest[:-1] = np.any([np.diff(column) != 0 for column in (c[order] for c in columns)], axis=0)
        row, end = row[order][newest], end[order][newest]
        element, key = rows.element[row], rows.key[row]
        new = np.ones(len(row), dtype=bool)
        new[1:] = (np.diff(end) != 0) | (np.diff(element) != 0) | (np.diff(key) != 0)
        first = np.flatnonzero(new)
        return Panes(
            element[first],
            key[first],
            end[first],
            np.append(first, len(row)),
            rows.time_ms[row],
            rows.values[row],
        )

    def dump(self, state: WindowState) -> bytes:
        """Watermarks and open rows as safetensors."""
        rows = state.rows
        return pack(
            self.name,
            1,
            {"size_ms": self.spec.size_ms, "slide_ms": self.spec.slide_ms, "lateness_ms": self.spec.lateness_ms},
            {
                "watermark_ms": state.watermark_ms,
                "element": rows.element,
                "key": rows.key,
                "time_ms": rows.time_ms,
                "values": rows.values,
            },
        )

    def load(self, data: bytes) -> WindowState:
        """The state from its bytes; raises WrongState if it was made for other windows, elements or columns."""
        header, arrays = unpack(self.name, 1, data)
        spec = WindowSpec(**header)
        rows = Rows(arrays["element"], arrays["key"], arrays["time_ms"], arrays["values"])
        if spec != self.spec or len(arrays["watermark_ms"]) != self.elements or rows.values.shape[1] != self.columns:
            raise WrongState(
                f"saved windows are {spec} over {len(arrays['watermark_ms'])} elements",
                "start the windows afresh after changing them or the topology",
            )
        return WindowState(arrays["watermark_ms"], rows)


def _first_end(time_ms: Ints, spec: WindowSpec) -> Ints:
    """End of the earliest window that holds each time: times are in (end - slide, end]."""
    ends: Ints = -(-time_ms // spec.slide_ms) * spec.slide_ms
    return ends


def _running_watermarks(watermark: Ints, element: Ints, said: Ints) -> tuple[Ints, Ints]:
    """Each element's watermark just before each row [R], and after all rows [E]."""
    order = np.argsort(element, kind="stable")
    grouped = element[order]
    starts = np.flatnonzero(np.diff(grouped, prepend=-1))
    before = np.empty(len(element), dtype=np.int64)
    after = watermark.copy()
    for start, stop in zip(starts, np.append(starts[1:], len(grouped)), strict=True):  # over elements, not rows
        rows, which = order[start:stop], grouped[start]
        running = np.maximum.accumulate(np.concatenate([[watermark[which]], said[rows]]))
        before[rows] = running[:-1]
        after[which] = running[-1]
    return before, after

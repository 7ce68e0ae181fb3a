"""What a reader makes of a recording: a topology, and events period by period."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from schemas.base import Event
from schemas.topics import Topic
from schemas.topology import Topology

# A recorder that was restarted leaves rows of an older session at the head of its file; sessions lie hours apart.
SESSION_GAP_MS = 3_600_000


class Period(NamedTuple):
    """The events of one granularity period, with their topics."""

    end_ms: int
    events: tuple[tuple[Topic, Event], ...]


class Recording(Protocol):
    """A recording, ready to be streamed."""

    @property
    def topology(self) -> Topology:
        """The cells that it is about."""
        ...

    @property
    def traps(self) -> Mapping[str, int]:
        """Rows that were dropped, repaired or marked, by what was wrong with them."""
        ...

    def __len__(self) -> int:
        """Number of periods."""
        ...

    def periods(self) -> Iterator[Period]:
        """Periods with at least one event, in order of time."""
        ...


@dataclass(frozen=True)
class Cleaned:
    """Rows that are left, in order of time within each group, and how many fell to which trap."""

    rows: pd.DataFrame
    traps: dict[str, int]


def clean(table: pd.DataFrame, group: list[str], time_ms: str, identity: list[str], least_rows: int) -> Cleaned:
    """Drop rows without a time, rows of older sessions and repeats; sort the rest by time.

    Parameters
    ----------
    group
        Columns that name one run of the recorder.
    time_ms
        Column of the time, epoch milliseconds.
    identity
        Columns that, with group and time, may occur once.
    least_rows
        A stretch between gaps of ``SESSION_GAP_MS`` with fewer rows is no session. The latest session of a group is
        the recording; what lies before it is stale.
    """
    has_time = table[time_ms].to_numpy(dtype=np.float64, na_value=np.nan) > 0
    rows = table[has_time].copy()
    rows[time_ms] = rows[time_ms].astype("int64")
    codes: NDArray[np.int64] = np.asarray(rows.groupby(group, sort=True).ngroup(), dtype=np.int64)
    times: NDArray[np.int64] = np.asarray(rows[time_ms], dtype=np.int64)
    out_of_order = int(((np.diff(codes) == 0) & (np.diff(times) < 0)).sum())
    order = np.lexsort((np.arange(len(rows)), times, codes))
    rows, codes, times = rows.iloc[order], codes[order], times[order]
    fresh = _latest_session(codes, times, least_rows)
    stale = int((~fresh).sum())
    rows = rows[fresh]
    repeated = rows.duplicated([*group, time_ms, *identity], keep="first").to_numpy()
    return Cleaned(
        rows[~repeated].reset_index(drop=True),
        {
            "rows without a time": int((~has_time).sum()),
            "rows out of order (sorted)": out_of_order,
            "stale rows of older sessions (dropped)": stale,
            "repeated rows (dropped)": int(repeated.sum()),
        },
    )


def _latest_session(codes: NDArray[np.int64], times: NDArray[np.int64], least_rows: int) -> NDArray[np.bool_]:
    """Which rows, sorted by group and time, belong to the latest stretch of enough rows of their group."""
    if not len(times):
        return np.zeros(0, dtype=bool)
    new = np.concatenate([[True], (np.diff(codes) != 0) | (np.diff(times) > SESSION_GAP_MS)])
    session = np.cumsum(new) - 1
    size, group = np.bincount(session), codes[new]
    keep = np.zeros(len(size), dtype=bool)
    for code in np.unique(group):
        mine = np.flatnonzero(group == code)
        enough = mine[size[mine] >= least_rows]
        keep[enough[-1] if len(enough) else mine[np.argmax(size[mine])]] = True
    kept: NDArray[np.bool_] = keep[session]
    return kept

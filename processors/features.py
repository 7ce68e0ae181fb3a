"""Per-cell features of a window of PM counters: means, sums, trends and the ratios that engineers look at.

Aggregation follows the collection kind of a counter (TS 32.404): cumulative counters are summed, status inspections and
event-based means are averaged over the periods of the window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from processors.operator import Step
from processors.windows import Floats, Ints, Panes, Rows, WindowOperator, WindowState
from schemas.counters import CELL_COUNTERS, Kind
from schemas.topology import Topology
from schemas.twin import Features

COUNTERS: tuple[str, ...] = tuple(CELL_COUNTERS)
# name: sums of the numerator's counters over sums of the denominator's.
RATIOS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "handover_failure_ratio": (("MM.HoExeInterFail",), ("MM.HoExeInterReq",)),
    "handover_too_early_ratio": (("HO.IntraSys.TooEarly",), ("MM.HoExeInterReq",)),
    "handover_too_late_ratio": (("HO.IntraSys.TooLate",), ("MM.HoExeInterReq",)),
    "ping_pong_ratio": (("TL.HoPingPong",), ("MM.HoExeInterSucc",)),
    "access_failure_ratio": (("RRC.ConnEstabAtt", "-RRC.ConnEstabSucc"), ("RRC.ConnEstabAtt",)),
    "block_error_ratio": (("TB.ErrTotNbrDl",), ("TB.TotNbrDl",)),
    "prb_utilisation": (("RRU.PrbUsedDl",), ("RRU.PrbAvailDl",)),
}
_SUMMED = tuple(name for name, counter in CELL_COUNTERS.items() if counter.kind is Kind.CC)
_AVERAGED = tuple(name for name in COUNTERS if name not in _SUMMED)
FEATURES: tuple[str, ...] = (
    *(f"{name}.sum" for name in _SUMMED),
    *(f"{name}.mean" for name in _AVERAGED),
    *(f"{name}.trend" for name in _AVERAGED),
    *RATIOS,
    "missing_ratio",
)


class FeatureBlock(NamedTuple):
    """Features of windows: ``cell`` [W], ``start_ms`` [W], ``end_ms`` [W], ``values`` [W, len(FEATURES)]."""

    cell: Ints
    start_ms: Ints
    end_ms: Ints
    values: Floats


def features_of(panes: Panes) -> Floats:
    """Features of complete windows whose rows carry ``COUNTERS``, [W, len(FEATURES)]; NaN where data is missing.

    Trends are least-squares slopes per minute over the periods of the window.
    """
    first = panes.first[:-1]
    have = np.isfinite(panes.values)
    values = np.where(have, panes.values, 0.0)
    count = np.add.reduceat(have, first, axis=0, dtype=np.float64)
    total = np.add.reduceat(values, first, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count  # 0/0: NaN, nothing was reported
        total[count == 0] = np.nan
        trend = _slopes(panes, first, have, values)
        at = {name: i for i, name in enumerate(COUNTERS)}
        ratios = [_signed_sum(top, total, at) / _signed_sum(bottom, total, at) for top, bottom in RATIOS.values()]
    summed, averaged = [at[n] for n in _SUMMED], [at[n] for n in _AVERAGED]
    rows = np.diff(panes.first)[:, None]
    missing = 1.0 - count.sum(axis=1, keepdims=True) / (rows * len(COUNTERS))
    ratio = np.stack(ratios, axis=1)
    ratio[~np.isfinite(ratio)] = np.nan
    return np.concatenate([total[:, summed], mean[:, averaged], trend[:, averaged], ratio, missing], axis=1)


def _signed_sum(names: tuple[str, ...], total: Floats, at: dict[str, int]) -> Floats:
    parts = [-total[:, at[name[1:]]] if name.startswith("-") else total[:, at[name]] for name in names]
    signed: Floats = np.sum(parts, axis=0)
    return signed


def _slopes(panes: Panes, first: NDArray[np.intp], have: NDArray[np.bool_], values: Floats) -> Floats:
    lengths = np.diff(panes.first)
    minutes = ((panes.time_ms - np.repeat(panes.end_ms, lengths)) / 60_000.0)[:, None] * have
    count = np.add.reduceat(have, first, axis=0, dtype=np.float64)
    sum_t, sum_v = np.add.reduceat(minutes, first, axis=0), np.add.reduceat(values, first, axis=0)
    sum_tt, sum_tv = np.add.reduceat(minutes**2, first, axis=0), np.add.reduceat(minutes * values, first, axis=0)
    spread = count * sum_tt - sum_t**2
    return np.where(spread > 1e-12, (count * sum_tv - sum_t * sum_v) / spread, np.nan)


@dataclass(frozen=True, slots=True)
class FeatureOperator:
    """Windows and their features in one operator: rows of ``COUNTERS`` in, feature blocks out."""

    windows: WindowOperator
    name: str = "features"

    def initial(self) -> WindowState:
        """No row seen."""
        return self.windows.initial()

    def process(self, state: WindowState, batch: Rows) -> Step[WindowState, FeatureBlock, Rows]:
        """Add rows; give the features of the windows that became complete, and the rows that came too late."""
        step = self.windows.process(state, batch)
        blocks = tuple(
            FeatureBlock(panes.key, panes.end_ms - self.windows.spec.size_ms, panes.end_ms, features_of(panes))
            for panes in step.outputs
        )
        return Step(step.state, blocks, step.late)

    def dump(self, state: WindowState) -> bytes:
        """As the windows' state."""
        return self.windows.dump(state)

    def load(self, data: bytes) -> WindowState:
        """As the windows' state; raises WrongState if it belongs to other windows."""
        return self.windows.load(data)


def feature_events(block: FeatureBlock, topology: Topology) -> Iterator[Features]:
    """One event per cell and window; its id is the same whenever it is made again."""
    for cell, start_ms, end_ms, values in zip(
        block.cell.tolist(), block.start_ms.tolist(), block.end_ms.tolist(), block.values.tolist(), strict=True
    ):
        name = topology.cell_names[cell]
        yield Features(
            network_id=topology.network_id,
            event_id=f"{name}/{start_ms}/{end_ms}",
            cell=name,
            window_start_ms=start_ms,
            window_end_ms=end_ms,
            names=list(FEATURES),
            values=values,
        )

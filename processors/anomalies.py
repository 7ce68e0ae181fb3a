"""How unusual a cell's latest features are, by what River has learned of that cell.

For each cell and watched feature two exponentially weighted means of River (`river.stats.EWMean`) follow the stream:
the level, which is the forecast of the next value, and the square of what the forecast missed by. A value's distance
from the forecast in units of that is its *z*; a cell's score is that of its most unusual feature. What is far out moves
level and spread only as much as something just outside would, so that a fault does not become normal while it lasts.

Deterministic: River's means are made anew from two arrays, moved by one value, and kept as arrays again.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from river import stats

from processors.encoding import pack, unpack
from processors.exceptions import WrongState
from processors.features import FEATURES, FeatureBlock
from processors.operator import Step
from processors.windows import Floats, Ints
from schemas.topology import Topology
from schemas.twin import Anomaly

# Feature, and what is added before the logarithm is taken (in its unit); None: as it is.
WATCHED: dict[str, float | None] = {
    "RRU.PrbTotDl.mean": 2.0,
    "DRB.UEThpDl.mean": 500.0,
    "DRB.PdcpSduVolumeDL.sum": 2000.0,
    "RRC.ConnMean.mean": 1.0,
    "TL.MeanCqiDl.mean": 1.0,
    "access_failure_ratio": None,
    "handover_failure_ratio": None,
    "block_error_ratio": None,
    "missing_ratio": None,
}
# Made here of all trends: the share of counters that have not moved over the window.
STILL = "still_ratio"
NAMES = (*WATCHED, STILL)
_TRENDS = [i for i, name in enumerate(FEATURES) if name.endswith(".trend")]
_COLUMNS = [FEATURES.index(name) for name in WATCHED]
# Share of the way that a mean goes to a new value: windows overlap, so a level of about ten periods.
_LEVEL, _SQUARE = 0.15, 0.03
# Least spread of a feature, as its logarithm or as a ratio, so that what never moved does not cry at a trifle.
_LEAST = np.array([0.05] * 5 + [0.02] * 5)
_OUTSIDE = 3.0  # z, at which what is further out moves the means no more
_WARM_UP = 20
# z that scores one half: score = z^2 / (z^2 + HALF^2).
HALF = 4.0
THRESHOLD = 0.75
VERSION = "1"
_KIND, _STATE_VERSION = "anomalies", 1


class AnomalyBlock(NamedTuple):
    """Scores of windows: ``cell``, ``end_ms`` [W], ``score`` [W] in 0..1, ``feature`` [W] index into ``NAMES``."""

    cell: Ints
    end_ms: Ints
    score: Floats
    feature: NDArray[np.int64]


class AnomalyState(NamedTuple):
    """Per cell: ``level``, ``square`` [C, F] (NaN: never seen), ``seen`` [C] windows."""

    level: Floats
    square: Floats
    seen: Ints


class AnomalyOperator:
    """Feature blocks in, anomaly blocks out; windows of one cell in order of time.

    Parameters
    ----------
    cells
        C.
    """

    name = "anomalies"

    def __init__(self, cells: int) -> None:
        self._cells = cells

    def initial(self) -> AnomalyState:
        """Nothing seen."""
        empty = np.full((self._cells, len(NAMES)), np.nan)
        return AnomalyState(empty, empty.copy(), np.zeros(self._cells, dtype=np.int64))

    def process(
        self, state: AnomalyState, batch: Sequence[FeatureBlock]
    ) -> Step[AnomalyState, AnomalyBlock, FeatureBlock]:
        """Score windows, and learn from them."""
        level, square, seen = state.level.copy(), state.square.copy(), state.seen.copy()
        out = []
        for block in batch:
            values = _values(block)
            scores, features = np.zeros(len(block.cell)), np.zeros(len(block.cell), dtype=np.int64)
            for w, cell in enumerate(block.cell.tolist()):
                scores[w], features[w] = _score(values[w], level[cell], square[cell], int(seen[cell]))
                seen[cell] += 1
            out.append(AnomalyBlock(block.cell, block.end_ms, scores, features))
        return Step(AnomalyState(level, square, seen), tuple(out))

    def dump(self, state: AnomalyState) -> bytes:
        """The state as safetensors."""
        return pack(_KIND, _STATE_VERSION, {"names": list(NAMES)}, state._asdict())

    def load(self, data: bytes) -> AnomalyState:
        """The state from its bytes; raises WrongState if it is of other cells or features."""
        header, arrays = unpack(_KIND, _STATE_VERSION, data)
        if header["names"] != list(NAMES) or arrays["seen"].shape != (self._cells,):
            raise WrongState("the saved anomaly state is of other cells or features", "let the features begin anew")
        return AnomalyState(arrays["level"], arrays["square"], arrays["seen"])


def _values(block: FeatureBlock) -> Floats:
    """[W, F] watched features, where large numbers count by their logarithm."""
    given = block.values[:, _COLUMNS]
    for f, added in enumerate(WATCHED.values()):
        if added is not None:
            given[:, f] = np.log(np.maximum(given[:, f], 0.0) + added)
    trends = block.values[:, _TRENDS]
    known = np.isfinite(trends)
    with np.errstate(invalid="ignore"):
        still = (known & (np.abs(trends) < 1e-12)).sum(axis=1) / known.sum(axis=1)
    return np.column_stack([given, still])


def _score(x: Floats, level: Floats, square: Floats, seen: int) -> tuple[float, int]:
    """Score of a window and the feature it comes from; moves the cell's ``level`` and ``square`` [F] in place."""
    z = np.zeros(len(x))
    for f in np.flatnonzero(np.isfinite(x)).tolist():
        if np.isnan(level[f]):
            level[f], square[f] = x[f], _LEAST[f] ** 2
            continue
        spread = max(square[f] ** 0.5, float(_LEAST[f]))
        missed = x[f] - level[f]
        z[f] = abs(missed) / spread
        within = float(np.clip(missed, -_OUTSIDE * spread, _OUTSIDE * spread))
        level[f] = _moved(level[f], level[f] + within, _LEVEL)
        square[f] = _moved(square[f], within**2, _SQUARE)
    most = int(np.argmax(z))
    return (float(z[most] ** 2 / (z[most] ** 2 + HALF**2)) if seen >= _WARM_UP else 0.0), most


def _moved(before: float, value: float, share: float) -> float:
    mean = stats.EWMean(share)
    mean.update(before)  # the first value is the mean
    mean.update(value)
    return float(mean.get())


def anomaly_events(block: AnomalyBlock, topology: Topology) -> Iterator[Anomaly]:
    """One event per cell and window; its id is the same whenever it is made again."""
    for cell, end_ms, score, feature in zip(
        block.cell.tolist(), block.end_ms.tolist(), block.score.tolist(), block.feature.tolist(), strict=True
    ):
        name = topology.cell_names[cell]
        yield Anomaly(
            network_id=topology.network_id,
            event_id=f"{name}/{end_ms}",
            cell=name,
            time_ms=end_ms,
            score=score,
            threshold=THRESHOLD,
            kpi=NAMES[feature],
            model_version=VERSION,
        )

"""River learns what each cell will be asked for: a forecast of demand and users, some periods ahead.

For each horizon and target there is one Bayesian linear regression, in which the levels of a cell's last minutes pull
the twin's forecast for it their way. Its examples come as time goes: inputs of a cell as they were when a forecast
was due, and what then came there. A cell whose users were moved by a change of configuration, or that was off, gives
no example.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from loops.learning.arrays import Arrays, part, prefixed
from loops.learning.regression import Array, Regression
from twin_core.learned.demand_model import INPUTS, TARGETS, DemandModel, inputs_of
from twin_core.learned.memory import USERS_FLOOR, VOLUME_FLOOR_KBPS, log_level
from twin_core.twin import Twin

HORIZONS = (1, 2, 4, 8)
_PRIOR = 10.0  # examples of size one that it takes to believe the weights half


class DemandLearner:
    """Learns a `DemandModel` for a network of so many cells."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self._regressions = [[Regression(INPUTS, _PRIOR) for _ in TARGETS] for _ in HORIZONS]
        self._low = np.full(len(INPUTS), np.inf)
        self._high = np.full(len(INPUTS), -np.inf)
        # By the end of the period when they were made: inputs [H, C, F], log of the twin's own forecast [H, 2, C].
        self._made: dict[int, tuple[Array, Array]] = {}

    def prepare(self, twin: Twin) -> None:
        """Note what a forecast made by this twin would go by."""
        horizons = torch.tensor(HORIZONS)
        here = twin.offered(twin.physics.attachment)
        growth = twin.growth(horizons)
        inputs = inputs_of(twin.memory, *here, growth).numpy()
        own = [log_level(v * growth[:, None], f) for v, f in zip(here, (VOLUME_FLOOR_KBPS, USERS_FLOOR), strict=True)]
        self._made[twin.period_end_ms] = inputs, torch.stack(own, dim=1).numpy()

    def learn(
        self, period_end_ms: int, period_ms: int, served_kbps: Array, users: Array, untouched_ms: NDArray[np.int64]
    ) -> int:
        """Learn from what came.

        Parameters
        ----------
        period_end_ms, period_ms
            Of the period that is over.
        served_kbps, users
            [C], NaN unknown.
        untouched_ms
            [C] since when nothing but demand changed in the cell; beyond every time for a cell that is off.

        Returns
        -------
        int
            How many examples there were.
        """
        came = np.stack([np.log(np.maximum(served_kbps, 0) + VOLUME_FLOOR_KBPS), np.log(users + USERS_FLOOR)])
        examples = 0
        for h, ahead in enumerate(HORIZONS):
            made_ms = period_end_ms - ahead * period_ms
            if made_ms not in self._made:
                continue
            inputs, own = self._made[made_ms]
            target = came - own[h]
            for cell in np.flatnonzero((untouched_ms <= made_ms) & np.isfinite(target).all(axis=0)):
                self._example(h, inputs[h, cell], target[:, cell])
                examples += 1
        oldest = period_end_ms - (HORIZONS[-1] - 1) * period_ms
        self._made = {made: kept for made, kept in self._made.items() if made >= oldest}
        return examples

    def _example(self, h: int, x: Array, target: Array) -> None:
        np.minimum(self._low, x, out=self._low)
        np.maximum(self._high, x, out=self._high)
        for regression, y in zip(self._regressions[h], target.tolist(), strict=True):
            regression.learn(x, y)

    @property
    def ready(self) -> bool:
        """Whether there was an example of every horizon."""
        return all(regressions[0].examples > 0 for regressions in self._regressions)

    def model(self, version: str) -> DemandModel:
        """What is known now, as parameters for the twin."""
        weights = np.array([[r.weights for r in regressions] for regressions in self._regressions])
        seen = self._low <= self._high
        given = {
            "horizons": np.array(HORIZONS, dtype=np.float64),
            "weights": weights,
            "low": np.where(seen, self._low, 0.0),
            "high": np.where(seen, self._high, 0.0),
        }
        return DemandModel.of(version, {name: torch.from_numpy(array) for name, array in given.items()})

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Everything that `restore` needs."""
        made = sorted(self._made)
        arrays: Arrays = {"low": self._low, "high": self._high}
        for name, index in (("inputs", 0), ("own_forecast", 1)):
            arrays[name] = np.array([self._made[at][index] for at in made])
        for h, regressions in enumerate(self._regressions):
            for target, regression in zip(TARGETS, regressions, strict=True):
                arrays |= prefixed(f"{target}{HORIZONS[h]}", regression.arrays())
        return {"made": made}, arrays

    def restore(self, plain: Mapping[str, Any], arrays: Arrays) -> None:
        """Go on where `state` was called."""
        self._low, self._high = arrays["low"], arrays["high"]
        forecasts: Sequence[int] = plain["made"]
        self._made = {at: (arrays["inputs"][i], arrays["own_forecast"][i]) for i, at in enumerate(forecasts)}
        for h, regressions in enumerate(self._regressions):
            for target, regression in zip(TARGETS, regressions, strict=True):
                regression.restore(part(f"{target}{HORIZONS[h]}", arrays))

"""Learning from a network, period by period: models, contests, drift; one state.

Each period, in this order (prequential: predict first, then learn):

1. forecasts that were made for this period, by the models in force and by their rivals, are held against what came;
2. the learners learn from the period, drift is looked for;
3. contests are ruled on: promotions, refusals, roll-backs;
4. a learner that has learned enough, and has no contest under way, begins one: it goes on learning meanwhile;
5. the models in force and their rivals forecast from the twin of this period.

What is promoted are a challenger's parameters as they are by then: what was judged is that learning as it went has
been better than the champion. The state after a period depends on the state before it, the two twins and the period
alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from loops.exceptions import BadLearnerState
from loops.learning.arrays import Arrays, pack, part, prefixed, unpack
from loops.learning.demand import DemandLearner
from loops.learning.drift import Drift, DriftWatch
from loops.learning.outcomes import Lesson, pairs_of
from loops.learning.residual import ResidualLearner
from loops.learning.settings import LearnSettings
from loops.learning.track import NONE, Decision, Rival, Track
from twin_core.exceptions import TwinError
from twin_core.kpis import USERS, VOLUME, kpi_index
from twin_core.learned.demand_model import DemandModel
from twin_core.learned.memory import REMEMBERED, log_ratio
from twin_core.learned.models import Model, dump
from twin_core.learned.residual_model import CORRECTED, ResidualModel, inputs_of
from twin_core.twin import Twin

Array = NDArray[np.float64]
Observed = Mapping[str, Array]

# Periods ahead at which models are judged: the next one, and the end of a verification's horizon.
HORIZONS = (1, 8)
# What each is judged on: KPIs and periods ahead. A residual is learned of the next period, and its word fades.
JUDGED: Mapping[str, frozenset[tuple[str, int]]] = {
    DemandModel.NAME: frozenset((kpi, ahead) for kpi in (VOLUME, USERS) for ahead in HORIZONS),
    ResidualModel.NAME: frozenset((kpi, 1) for kpi in CORRECTED),
}
# A change that moves less of a cell's demand than this leaves the cell untouched.
_MOVED = 0.02
_IN_FORCE = ("", "")  # who made a forecast: a rival by its model and version, or the models in force


@dataclass(frozen=True)
class Learned:
    """What came of a period."""

    decisions: tuple[Decision, ...] = ()
    drifts: tuple[Drift, ...] = ()


@dataclass
class _Forecasts:
    """[H, K, C] of REMEMBERED, by who made them."""

    by: dict[tuple[str, str], Array] = field(default_factory=dict)


class _Learns(Protocol):
    @property
    def ready(self) -> bool: ...
    def model(self, version: str) -> Model: ...


class Learner:
    """Everything that learns from one network's region.

    Parameters
    ----------
    cells
        C.
    settings
        Patience and strictness.
    """

    def __init__(self, cells: int, settings: LearnSettings) -> None:
        self._settings, self.cells = settings, cells
        self.period_end_ms = 0
        self.periods = 0
        self._demand = DemandLearner(cells)
        self._residual = ResidualLearner(cells, settings.seed)
        self._drift = DriftWatch(cells, settings.drift_threshold, settings.drift_slack)
        self._learners: Mapping[str, _Learns] = {DemandModel.NAME: self._demand, ResidualModel.NAME: self._residual}
        self.tracks = {
            name: Track(name, block=max(settings.block, *(ahead for _, ahead in judged)))
            for name, judged in JUDGED.items()
        }
        self._made: dict[int, _Forecasts] = {}
        self._untouched_ms = np.zeros(cells, dtype=np.int64)

    def step(self, before: Twin | None, after: Twin, observed: Observed, lessons: Sequence[Lesson] = ()) -> Learned:
        """Learn from a period.

        Parameters
        ----------
        before, after
            The twin at the end of the period before (None where it is not known) and of this one.
        observed
            KPI to [C] of this period, NaN unknown.
        lessons
            Outcomes that became known.
        """
        period_ms = 1000 * after.network.topology.granularity_s
        now_ms = after.period_end_ms
        self._touch(before, after)
        for name, track in self.tracks.items():
            model = after.models.get(name)
            track.in_force(model.version if model else NONE, dump(model) if model else b"")
        errors = self._score(observed, now_ms, period_ms)

        seen = {kpi: observed.get(kpi, np.full(self.cells, np.nan)) for kpi in REMEMBERED}
        served = seen[VOLUME] / after.network.topology.granularity_s
        examples = self._demand.learn(now_ms, period_ms, served, seen[USERS], self._untouched_ms)
        if before is not None:
            self._learn_residual(before, after, seen, lessons)
        touched = self._untouched_ms > now_ms - HORIZONS[-1] * period_ms
        drifts = self._drift.update(errors, touched) if self.periods > self._settings.warm_up else []
        self.periods += 1 if examples else 0

        decisions = [*self._rule(), *self._challenge(after)]
        self._forecast(after)
        self._demand.prepare(after)
        self.period_end_ms = now_ms
        return Learned(tuple(decisions), tuple(drifts))

    def _touch(self, before: Twin | None, after: Twin) -> None:
        """Note in which cells something else than demand changed: their users moved, or they are off."""
        if before is not None and before.physics is not after.physics:
            was, now = before.physics.attachment, after.physics.attachment
            # The same map under both, so that only the configuration and the service of cells tell.
            same = replace(after, environment=before.environment)
            old, new = same.offered(was)[0], same.offered(now)[0]
            changed = not before.configuration.same_as(after.configuration)
            serving = bool((before.environment.in_service != after.environment.in_service).any())
            if changed or serving:
                moved = ((old - new).abs() > _MOVED * torch.maximum(old, new)).numpy()
                self._untouched_ms = np.where(moved, after.period_end_ms, self._untouched_ms)
        off = ~(after.configuration.active & after.environment.in_service).numpy()
        self._untouched_ms = np.where(off, after.period_end_ms, self._untouched_ms)

    def _score(self, observed: Observed, now_ms: int, period_ms: int) -> Array:
        """Step 1; the [C] error of the furthest forecast of demand, for drift."""
        losses: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
        errors = np.full(self.cells, np.nan)
        for h, ahead in enumerate(HORIZONS):
            made_ms = now_ms - ahead * period_ms
            made = self._made.get(made_ms)
            if made is None:
                continue
            usable = self._untouched_ms <= made_ms
            for who, forecast in made.by.items():
                for k, kpi in enumerate(REMEMBERED):
                    losses.setdefault(who, {})[kpi, ahead] = _wape(forecast[h, k], observed.get(kpi), usable)
            if ahead == HORIZONS[-1] and VOLUME in observed:
                expected = torch.from_numpy(made.by[_IN_FORCE][h, REMEMBERED.index(VOLUME)])
                error = log_ratio(torch.from_numpy(observed[VOLUME]), expected, VOLUME).numpy()
                errors = np.where(usable, error, np.nan)
        self._made = {at: m for at, m in self._made.items() if at > now_ms - HORIZONS[-1] * period_ms}
        for name, track in self.tracks.items():
            for rival in (track.challenger, track.former):
                if rival is not None and (name, rival.version) in losses:
                    own = losses[name, rival.version]
                    # Paired: a rival's first forecasts do not reach as far as the champion's.
                    pairs = [
                        (champion, own[what])
                        for what, champion in losses[_IN_FORCE].items()
                        if what in JUDGED[name] and what in own and math.isfinite(champion + own[what])
                    ]
                    if pairs:
                        rival.losses.add(*np.mean(pairs, axis=0).tolist())
        return errors

    def _learn_residual(self, before: Twin, after: Twin, seen: Observed, lessons: Sequence[Lesson]) -> None:
        expected = before.uncorrected(torch.ones(1, dtype=torch.long))[0]
        inputs = inputs_of(before.memory, expected, before.physics.cells.dynamic_share)
        missed = torch.stack(
            [log_ratio(torch.from_numpy(seen[kpi]), expected[kpi_index(kpi)], kpi) for kpi in CORRECTED], dim=-1
        )
        untouched = torch.from_numpy(self._untouched_ms <= before.period_end_ms)
        missed = torch.where(untouched[:, None], missed, torch.nan)
        self._residual.learn(inputs, missed, pairs_of(after, lessons))

    def _rule(self) -> list[Decision]:
        """Step 3."""
        ruled = [track.rule(self._settings, self._learners[name].model) for name, track in self.tracks.items()]
        return [decision for decision in ruled if decision is not None]

    def _challenge(self, after: Twin) -> list[Decision]:
        """Step 4."""
        out = []
        for name, track in self.tracks.items():
            idle = track.challenger is None and track.awaited is None and track.rested >= self._settings.rest
            if idle and self._learners[name].ready and self.periods >= self._settings.warm_up:
                out.append(track.challenge(f"r{after.revision}"))
        return out

    def _forecast(self, after: Twin) -> None:
        """Step 5."""
        ahead = torch.tensor(HORIZONS)
        made = _Forecasts({_IN_FORCE: _corrected(after, ahead)})
        for name, track in self.tracks.items():
            if track.challenger is not None:
                learned = self._learners[name].model(track.challenger.version)
                made.by[name, learned.version] = _corrected(after.holding(learned), ahead)
            if track.former is not None:
                made.by[name, track.former.version] = _corrected(_with(after, name, track.former), ahead)
        self._made[after.period_end_ms] = made

    def dump(self) -> bytes:
        """Everything, so that a learner loaded from it goes on to the last bit."""
        plain: dict[str, Any] = {
            "cells": self.cells, "period_end_ms": self.period_end_ms, "periods": self.periods,
            "made": {str(at): [list(who) for who in made.by] for at, made in self._made.items()},
        }  # fmt: skip
        arrays: Arrays = {"untouched": self._untouched_ms}
        for at, made in self._made.items():
            arrays |= {f"made/{at}/{i}": forecast for i, forecast in enumerate(made.by.values())}
        for name, owner in self._parts().items():
            plain[name], own = owner.state()
            arrays |= prefixed(name, own)
        return pack(plain, arrays)

    @classmethod
    def load(cls, data: bytes, cells: int, settings: LearnSettings) -> "Learner":
        """The learner that `dump` wrote.

        Raises
        ------
        BadLearnerState
            If the bytes are no such state, or of a network with another number of cells.
        """
        plain, arrays = unpack(data)
        if plain.get("cells") != cells:
            raise BadLearnerState(
                f"the learner's state is of {plain.get('cells')} cells, the network has {cells}; "
                "delete its row, and it learns from the start"
            )
        out = cls(cells, settings)
        out.period_end_ms, out.periods = plain["period_end_ms"], plain["periods"]
        out._untouched_ms = arrays["untouched"]
        for at, who in plain["made"].items():
            by = {(name, version): arrays[f"made/{at}/{i}"] for i, (name, version) in enumerate(who)}
            out._made[int(at)] = _Forecasts(by)
        for name, owner in out._parts().items():
            owner.restore(plain[name], part(name, arrays))
        return out

    def _parts(self) -> dict[str, Any]:
        tracks = {f"track-{name}": track for name, track in self.tracks.items()}
        return {"demand": self._demand, "residual": self._residual, "drift": self._drift, **tracks}


def _corrected(twin: Twin, ahead: torch.Tensor) -> Array:
    """[H, K, C] forecast of REMEMBERED."""
    forecast = twin.forecast(ahead)[:, [kpi_index(kpi) for kpi in REMEMBERED]]
    return np.asarray(forecast.numpy(), dtype=np.float64)


def _with(twin: Twin, name: str, rival: Rival) -> Twin:
    if rival.version == NONE:
        return twin.without_model(name)
    try:
        return twin.with_model(name, rival.version, rival.parameters)
    except TwinError:  # a former champion of another layout: it cannot come back
        return twin.without_model(name)


def _wape(forecast: Array, observed: Array | None, usable: NDArray[np.bool_]) -> float:
    """Sum of absolute errors as a share of the sum observed, over usable cells; NaN where there are none."""
    if observed is None:
        return math.nan
    both = usable & np.isfinite(forecast) & np.isfinite(observed)
    scale = float(np.abs(observed[both]).sum())
    return float(np.abs(forecast[both] - observed[both]).sum()) / scale if scale > 0 else math.nan

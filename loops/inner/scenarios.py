"""Classes of scenario: what may happen to the network while a change is in force, with how severe it may be.

A scenario perturbs the environment only. What it draws depends on the job's seed and its own index, never on the shard
it travels in, on the worker or on what was drawn before: a counter-based generator (Philox) is keyed by the two.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from loops.exceptions import UnknownScenario
from schemas.base import Record

Array = NDArray[np.float64]


class Range(Record):
    """A severity that is drawn uniformly between two values."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self

    def draw(self, rng: np.random.Generator) -> float:
        """One value."""
        return float(rng.uniform(self.low, self.high))


class Place(NamedTuple):
    """What draws need to know of the network: cell positions [C] in metres."""

    x_m: Array
    y_m: Array

    @property
    def cells(self) -> int:
        """C."""
        return len(self.x_m)


class HotSpot(NamedTuple):
    """Extra demand around a point: ``extra`` times the demand of a mean cell, within ``radius_m`` of (x, y)."""

    x_m: float
    y_m: float
    radius_m: float
    extra: Array  # [T]


class Perturbation(NamedTuple):
    """One scenario: deviations from the environment that the twin holds."""

    demand_factor: Array  # [T, C] on true demand
    cell_up: NDArray[np.bool_]  # [T, C]
    demand_bias: Array  # [C] true over estimated demand: the twin's own error
    path_loss_offset_db: Array  # [C] true minus estimated path loss: the twin's own error
    hot_spot: HotSpot | None


class _ScenarioClass(Record):
    """Every class varies demand as any period does; subclasses add what they are named for."""

    nominal: ClassVar[bool] = False  # whether it belongs to what is expected; benefit and predictions rest on those

    cell_sigma: float = Field(default=0.15, ge=0, le=1, description="Log-normal spread of each cell's demand")
    network_sigma: float = Field(default=0.05, ge=0, le=1, description="Log-normal spread of the whole demand")
    correlation: float = Field(default=0.8, ge=0, lt=1, description="Of a spread from one period to the next")

    def perturb(self, rng: np.random.Generator, place: Place, T: int) -> Perturbation:
        """Draw one scenario over T periods."""
        C = place.cells
        log = self.cell_sigma * _ar1(rng, T, C, self.correlation)
        log += self.network_sigma * _ar1(rng, T, 1, self.correlation)
        factor = np.exp(log - 0.5 * (self.cell_sigma**2 + self.network_sigma**2))  # mean 1
        calm = Perturbation(factor, np.ones((T, C), bool), np.ones(C), np.zeros(C), None)
        return self._add(calm, rng, place, T)

    def _add(self, calm: Perturbation, rng: np.random.Generator, place: Place, T: int) -> Perturbation:
        return calm


def _ar1(rng: np.random.Generator, T: int, n: int, correlation: float) -> Array:
    """[T, n] stationary unit-variance first-order autoregression."""
    z = rng.standard_normal((T, n))
    out = np.empty_like(z)
    out[0] = z[0]
    for t in range(1, T):
        out[t] = correlation * out[t - 1] + np.sqrt(1 - correlation**2) * z[t]
    return out


class Calm(_ScenarioClass):
    """The demand that the twin expects, with its usual variation."""

    kind: Literal["calm"] = "calm"
    nominal = True


class Surge(_ScenarioClass):
    """Demand of the whole network rises and stays up."""

    kind: Literal["surge"] = "surge"
    factor: Range = Range(low=1.2, high=1.8)
    latest_onset: float = Field(default=0.5, ge=0, lt=1, description="Share of the horizon by which it has begun")

    def _add(self, calm: Perturbation, rng: np.random.Generator, place: Place, T: int) -> Perturbation:
        factor = self.factor.draw(rng)
        begun = np.arange(T) >= int(rng.uniform(0, self.latest_onset * T))
        return calm._replace(demand_factor=calm.demand_factor * np.where(begun, factor, 1.0)[:, None])


class HotSpots(_ScenarioClass):
    """A crowd gathers somewhere near a cell."""

    kind: Literal["hot_spot"] = "hot_spot"
    extra: Range = Field(default=Range(low=0.5, high=2.0), description="In units of a mean cell's demand")
    radius_m: Range = Range(low=50, high=200)
    distance_m: Range = Field(default=Range(low=30, high=250), description="From the nearest site")

    def _add(self, calm: Perturbation, rng: np.random.Generator, place: Place, T: int) -> Perturbation:
        c = int(rng.integers(place.cells))
        angle, distance = rng.uniform(0, 2 * np.pi), self.distance_m.draw(rng)
        return calm._replace(
            hot_spot=HotSpot(
                x_m=float(place.x_m[c] + distance * np.cos(angle)),
                y_m=float(place.y_m[c] + distance * np.sin(angle)),
                radius_m=self.radius_m.draw(rng),
                extra=np.full(T, self.extra.draw(rng)),
            )
        )


class CellFailure(_ScenarioClass):
    """Cells go out of service, from some moment on."""

    kind: Literal["cell_failure"] = "cell_failure"
    cells: int = Field(default=1, ge=1, description="At most so many at once")
    latest_onset: float = Field(default=0.5, ge=0, lt=1, description="Share of the horizon by which it has begun")

    def _add(self, calm: Perturbation, rng: np.random.Generator, place: Place, T: int) -> Perturbation:
        fail = rng.permutation(place.cells)[: int(rng.integers(1, min(self.cells, place.cells) + 1))]
        onset = int(rng.uniform(0, self.latest_onset * T))
        up = calm.cell_up.copy()
        up[onset:, fail] = False
        return calm._replace(cell_up=up)


class MeasurementError(_ScenarioClass):
    """What the twin believes is wrong: its estimates of demand and of path loss are off."""

    kind: Literal["measurement_error"] = "measurement_error"
    nominal = True
    demand_sigma: float = Field(default=0.2, ge=0, le=1, description="Log-normal error of each cell's demand")
    path_loss_sigma_db: float = Field(default=2.0, ge=0, le=20, description="Error of each cell's path loss")

    def _add(self, calm: Perturbation, rng: np.random.Generator, place: Place, T: int) -> Perturbation:
        z = rng.standard_normal((2, place.cells))
        return calm._replace(
            demand_bias=np.exp(self.demand_sigma * z[0] - 0.5 * self.demand_sigma**2),
            path_loss_offset_db=self.path_loss_sigma_db * z[1],
        )


ScenarioClass = Annotated[Calm | Surge | HotSpots | CellFailure | MeasurementError, Field(discriminator="kind")]


class ScenarioSet(Record):
    """The classes that a verification covers. Each class is judged for itself."""

    classes: tuple[ScenarioClass, ...] = Field(
        default=(Calm(), Surge(), HotSpots(), CellFailure(), MeasurementError()), min_length=1
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        names = self.names
        if len(set(names)) != len(names):
            raise ValueError("a class of scenario stands twice")
        if not self.nominal:
            raise ValueError("no class describes what is expected; add calm or measurement_error")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in order."""
        return tuple(c.kind for c in self.classes)

    @property
    def nominal(self) -> frozenset[str]:
        """Names of the classes that describe what is expected."""
        return frozenset(c.kind for c in self.classes if c.nominal)

    def class_of(self, index: int) -> str:
        """Class of scenario ``index``: they take turns, so that every prefix is balanced.

        >>> [ScenarioSet().class_of(i) for i in (0, 4, 5)]
        ['calm', 'measurement_error', 'calm']
        """
        return self.names[index % len(self.classes)]

    def draw(self, name: str, seed: int, index: int, place: Place, T: int) -> Perturbation:
        """Scenario ``index`` of the job with that seed; the same whoever asks.

        Raises
        ------
        UnknownScenario
            If the set has no class of that name.
        """
        for c in self.classes:
            if c.kind == name:
                return c.perturb(generator(seed, index), place, T)
        raise UnknownScenario(f"no class of scenario {name!r} in this design; it has {', '.join(self.names)}")

    def not_covered(self) -> list[str]:
        """What no scenario of this set shows, in words."""
        by_kind = {c.kind: c for c in self.classes}
        out = []
        if isinstance(c := by_kind.get("surge"), Surge):
            out.append(f"demand beyond {c.factor.high:g} times the expected")
        else:
            out.append("a surge of demand")
        if isinstance(f := by_kind.get("cell_failure"), CellFailure):
            out.append(f"failure of more than {f.cells} cell{'s' if f.cells > 1 else ''} at once")
        else:
            out.append("failure of a cell")
        out += [f"a {n.replace('_', ' ')}" for n in ("hot_spot", "measurement_error") if n not in by_kind]
        return [
            *out,
            "commands that the network refuses or applies in part",
            "uplink, delay, handover failures",
            "users moving otherwise than now",
        ]


def generator(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one scenario.

    >>> float(generator(7, 3).random()) == float(generator(7, 3).random())
    True
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))


def stack(perturbations: Sequence[Perturbation]) -> dict[str, Array | NDArray[np.bool_]]:
    """The per-cell arrays of several scenarios with a leading axis S."""
    return {
        name: np.stack([getattr(p, name) for p in perturbations])
        for name in ("demand_factor", "cell_up", "demand_bias", "path_loss_offset_db")
    }

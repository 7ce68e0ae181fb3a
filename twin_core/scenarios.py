"""Perturbed copies of the world: what may differ from what the twin believes. Environment only, never configuration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import torch

from twin_core.exceptions import InvalidScenarios
from twin_core.network import Network

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Scenarios:
    """Perturbations of S worlds over T periods. All float64 unless said otherwise.

    Attributes
    ----------
    classes
        [S] names, for the record.
    demand_factor
        [S, T, C] on the traffic and users at home in each cell under the twin's present configuration.
    demand_bias
        [S, C] error of measurement: the true demand is 1 + bias times what the twin believes.
    hotspot_x_m, hotspot_y_m, hotspot_radius_m
        [S] where additional users gather (standard deviation of a bell).
    hotspot_share
        [S, T] their traffic and number as a share of the whole network's.
    cell_up
        [S, T, C] bool, false where a cell fails.
    path_loss_offset_db
        [S, C] additional loss from each cell.
    """

    classes: tuple[str, ...]
    demand_factor: Tensor
    demand_bias: Tensor
    hotspot_x_m: Tensor
    hotspot_y_m: Tensor
    hotspot_radius_m: Tensor
    hotspot_share: Tensor
    cell_up: Tensor
    path_loss_offset_db: Tensor

    @classmethod
    def nominal(cls, network: Network, count: int = 1, horizon: int = 1, name: str = "nominal") -> "Scenarios":
        """Unperturbed worlds, to be perturbed with `dataclasses.replace`.

        Raises
        ------
        InvalidScenarios
            If there is no scenario or no period.
        """
        if count < 1 or horizon < 1:
            raise InvalidScenarios(
                f"{count} scenarios over {horizon} periods is nothing to roll out; ask for at least 1"
            )
        cells = len(network.cells)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        return cls(
            classes=(name,) * count,
            demand_factor=zeros(count, horizon, cells) + 1,
            demand_bias=zeros(count, cells),
            hotspot_x_m=zeros(count),
            hotspot_y_m=zeros(count),
            hotspot_radius_m=zeros(count) + 100,
            hotspot_share=zeros(count, horizon),
            cell_up=torch.ones(count, horizon, cells, dtype=torch.bool),
            path_loss_offset_db=zeros(count, cells),
        )

    def __len__(self) -> int:
        """S."""
        return self.demand_factor.shape[0]

    @property
    def horizon(self) -> int:
        """T."""
        return self.demand_factor.shape[1]

    def select(self, indices: Sequence[int]) -> "Scenarios":
        """Some of the scenarios, in that order."""
        rows = torch.tensor(list(indices), dtype=torch.long)
        tensors = {name: value[rows] for name, value in vars(self).items() if name != "classes"}
        return Scenarios(classes=tuple(self.classes[i] for i in indices), **tensors)

    def check(self, cells: int) -> None:
        """Refuse wrong shapes and values that are not finite or negative.

        Raises
        ------
        InvalidScenarios
            Naming the first field that does not fit.
        """
        s, t = len(self), self.horizon
        shapes = {
            "demand_factor": (s, t, cells),
            "demand_bias": (s, cells),
            "hotspot_x_m": (s,),
            "hotspot_y_m": (s,),
            "hotspot_radius_m": (s,),
            "hotspot_share": (s, t),
            "cell_up": (s, t, cells),
            "path_loss_offset_db": (s, cells),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise InvalidScenarios(f"{name} has shape {tuple(value.shape)}, not {shape}, for {cells} cells")
            if not bool(torch.isfinite(value).all()):
                raise InvalidScenarios(f"{name} holds a value that is not finite; scenarios have no missing values")
        if len(self.classes) != s:
            raise InvalidScenarios(f"{len(self.classes)} class names for {s} scenarios; give one each")
        lowest = {"demand_factor": 0.0, "demand_bias": -1.0, "hotspot_share": 0.0, "hotspot_radius_m": 1.0}
        for name, low in lowest.items():
            if s and bool((getattr(self, name) < low).any()):
                raise InvalidScenarios(f"{name} must not be below {low:g}: there is no negative demand or extent")


def generator(seed: int, index: int) -> torch.Generator:
    """Random numbers of scenario `index` of a job: they depend on nothing but seed and index."""
    key = blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)


@dataclass(frozen=True)
class Spreads:
    """How wide perturbations are drawn.

    Attributes
    ----------
    level, cell, period
        Standard deviation of log demand: of the network, of each cell over the horizon, of each cell in each period.
    surge
        Range of the factor of a surge.
    hotspot_share, hotspot_radius_m
        Ranges of a hot spot.
    bias
        Standard deviation of the measurement error of a cell's demand.
    drift_db, cell_drift_db
        Standard deviation of a change of path loss common to all and of each cell.
    """

    level: float = 0.08
    cell: float = 0.12
    period: float = 0.1
    surge: tuple[float, float] = (1.3, 2.0)
    hotspot_share: tuple[float, float] = (0.05, 0.2)
    hotspot_radius_m: tuple[float, float] = (60.0, 200.0)
    bias: float = 0.2
    drift_db: float = 3.0
    cell_drift_db: float = 2.0


NOMINAL, SURGE, HOTSPOT, CELL_FAILURE, MEASUREMENT_ERROR, RADIO_DRIFT = CLASSES = (
    "nominal",
    "surge",
    "hotspot",
    "cell_failure",
    "measurement_error",
    "radio_drift",
)


def draw(
    network: Network,
    classes: Sequence[str],
    horizon: int,
    seed: int,
    first: int = 0,
    spreads: Spreads | None = None,
) -> Scenarios:
    """Draw one scenario of each named class; scenario i of the job is the same however the job is cut into shards.

    Every scenario has the uncertainty of demand of a nominal one; the others have their own perturbation on top.

    Parameters
    ----------
    network
        Where they take place.
    classes
        Names from CLASSES, for scenarios first, first + 1, ...
    horizon
        Periods.
    seed
        Of the job.
    first
        Index of the first scenario within the job.
    spreads
        Widths.

    Raises
    ------
    InvalidScenarios
        If a class is unknown.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> network = Network.of(hexagonal(sites=1))
    >>> whole = draw(network, ["nominal", "surge"], 4, seed=7)
    >>> torch.equal(whole.demand_factor[1], draw(network, ["surge"], 4, seed=7, first=1).demand_factor[0])
    True
    """
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown:
        raise InvalidScenarios(f"unknown scenario class {unknown[0]!r}; known: {', '.join(CLASSES)}")
    widths = spreads or Spreads()
    out = Scenarios.nominal(network, len(classes), horizon)
    out = replace(out, classes=tuple(classes))
    for i, name in enumerate(classes):
        _perturb(out, i, name, network, generator(seed, first + i), widths)
    return out


def _perturb(out: Scenarios, i: int, name: str, network: Network, random: torch.Generator, widths: Spreads) -> None:
    """Fill row i of freshly made tensors."""
    horizon, cells = out.horizon, len(network.cells)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=random, dtype=torch.float64))

    def whole(below: int) -> int:
        return int(torch.randint(below, (), generator=random))

    log = widths.level * normal(1) + widths.cell * normal(1, cells) + widths.period * normal(horizon, cells)
    out.demand_factor[i] = log.exp()
    # From the first third of the horizon on, so that there is a before and an after.
    onset = whole(max(1, horizon // 3))
    if name == SURGE:
        out.demand_factor[i, onset:] *= uniform(*widths.surge)
    elif name == HOTSPOT:
        centre = whole(network.grid.pixels)
        out.hotspot_x_m[i], out.hotspot_y_m[i] = network.grid.x_m[centre], network.grid.y_m[centre]
        out.hotspot_radius_m[i] = uniform(*widths.hotspot_radius_m)
        out.hotspot_share[i, onset:] = uniform(*widths.hotspot_share)
    elif name == CELL_FAILURE:
        out.cell_up[i, onset:, whole(cells)] = False
    elif name == MEASUREMENT_ERROR:
        out.demand_bias[i] = (widths.bias * normal(cells)).exp() - 1
    elif name == RADIO_DRIFT:
        out.path_loss_offset_db[i] = widths.drift_db * normal(1) + widths.cell_drift_db * normal(cells)

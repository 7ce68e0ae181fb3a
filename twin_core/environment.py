"""What nobody sets: propagation, users, demand, capacity, failures. Fitted from telemetry, perturbed by scenarios.

Estimates are kept as sums and weights with exponential forgetting, so that an estimate from little data can lean on
the mean of its kind, and memory does not grow with history.
"""

import math
from dataclasses import dataclass, replace

import torch

from twin_core.flow.power import PRIOR_WATTS, PowerModel
from twin_core.network import Network
from twin_core.settings import TwinSettings

Tensor = torch.Tensor

# Widths of the handover boundary among which telemetry chooses, dB.
SOFTNESS_DB = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0)
_PRIOR_SOFTNESS_DB = 2.0
# Leads of a serving cell over its best rival at which the gap between measured and modelled SINR is learned, dB.
LEAD_DB = (-6.0, -3.0, 0.0, 3.0, 6.0, 10.0, 16.0)
_UPLIFT_LEAN, _PRIOR_SPREAD_DB = 50.0, 3.0
# Loads at which a cell's capacity is learned relative to its gain: more users to choose from, or more overhead.
BUSY_LOADS = (0.2, 0.5, 0.75, 0.9, 1.0)
_BUSY_LEAN, _LARGEST_BUSY = 20.0, 0.4
# Bins of the day's shape of traffic: half an hour each.
DAY_BINS = 48
# Weights at which an estimate leans as much on its kind as on itself.
_GAIN_LEAN, _CAPACITY_LEAN, _ELEMENT_LEAN = 20.0, 1.0, 2.0


def pooled(total: Tensor, weight: Tensor, lean: float) -> Tensor:
    """Weighted means that lean on their common mean, which itself leans on 0.

    Examples
    --------
    >>> pooled(torch.tensor([10.0, 0.0]), torch.tensor([9.0, 0.0]), 1.0).tolist()
    [1.100000023841858, 1.0]
    """
    common = total.sum() / (weight.sum() + lean)
    return (total + lean * common) / (weight + lean)


def knot_weights(at: Tensor, knots: tuple[float, ...]) -> Tensor:
    """[..., U] weights of linear interpolation between knots, constant beyond them.

    Examples
    --------
    >>> knot_weights(torch.tensor([0.25, 99.0]), (0.0, 1.0)).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    places = at.new_tensor(knots)
    inside = at.clamp(knots[0], knots[-1]).unsqueeze(-1)
    upper = torch.bucketize(inside, places).clamp(1, len(knots) - 1)
    part = (inside - places[upper - 1]) / (places[upper] - places[upper - 1])
    out = at.new_zeros(*at.shape, len(knots))
    return out.scatter(-1, upper, part).scatter(-1, upper - 1, 1 - part)


@dataclass(frozen=True, eq=False)
class Environment:
    """State of the world, as far as the twin has learned it. All float64 unless said otherwise.

    Attributes
    ----------
    gain_sum, gain_weight
        [C] residuals of RSRP per cell, dB.
    shadow_sum, shadow_weight
        [P, C] float32, residuals of RSRP per pixel and cell, dB.
    softness_fit
        [G] mean log-likelihood of who served, for each width in SOFTNESS_DB.
    softness_weight
        [] reports behind it.
    uplift_sum, uplift_weight
        [U] measured minus modelled SINR, dB, by the serving cell's lead (LEAD_DB).
    spread_sum
        [] square of what that leaves unexplained.
    seen
        [P] where users were when they reported, per period.
    users
        [P] connected users.
    kbps_per_user
        [P] what a user of the pixel offers.
    capacity_sum, capacity_weight
        [C] log of measured over modelled capacity.
    busy_sum, busy_weight
        [B] log of measured over modelled capacity, cells' gains counted in, by load (BUSY_LOADS).
    throughput_sum, throughput_weight
        [C] log of measured over modelled user throughput.
    watts
        [3] cell asleep, idle, added by full load.
    watts_covariance
        [3, 3] how uncertain they are.
    element_sum, element_weight
        [E] log of measured over modelled power.
    level
        [] log of the network's demand, smoothed.
    trend
        [] its growth per period.
    day_sum, day_weight
        [DAY_BINS] log demand by time of day.
    load
        [C] resource block use in the latest period.
    in_service
        [C] bool, whether the cell is free of failure.
    periods
        [] how many periods were assimilated.
    """

    gain_sum: Tensor
    gain_weight: Tensor
    shadow_sum: Tensor
    shadow_weight: Tensor
    softness_fit: Tensor
    softness_weight: Tensor
    uplift_sum: Tensor
    uplift_weight: Tensor
    spread_sum: Tensor
    seen: Tensor
    users: Tensor
    kbps_per_user: Tensor
    capacity_sum: Tensor
    capacity_weight: Tensor
    busy_sum: Tensor
    busy_weight: Tensor
    throughput_sum: Tensor
    throughput_weight: Tensor
    watts: Tensor
    watts_covariance: Tensor
    element_sum: Tensor
    element_weight: Tensor
    level: Tensor
    trend: Tensor
    day_sum: Tensor
    day_weight: Tensor
    load: Tensor
    in_service: Tensor
    periods: Tensor

    @classmethod
    def prior(cls, network: Network, settings: TwinSettings) -> "Environment":
        """What is believed before any telemetry: expected propagation and evenly spread users."""
        n, p, e = len(network.cells), network.seen_from.pixels, len(network.elements)
        guess = settings.calibration

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        idle = torch.tensor(PRIOR_WATTS, dtype=torch.float64)
        return cls(
            gain_sum=zeros(n),
            gain_weight=zeros(n),
            shadow_sum=torch.zeros(p, n),
            shadow_weight=torch.zeros(p, n),
            softness_fit=zeros(len(SOFTNESS_DB)),
            softness_weight=zeros(),
            uplift_sum=zeros(len(LEAD_DB)),
            uplift_weight=zeros(len(LEAD_DB)),
            spread_sum=zeros(),
            seen=zeros(p),
            users=torch.full((p,), guess.prior_users_per_cell * n / p, dtype=torch.float64),
            kbps_per_user=torch.full((p,), guess.prior_kbps_per_user, dtype=torch.float64),
            capacity_sum=zeros(n),
            capacity_weight=zeros(n),
            busy_sum=zeros(len(BUSY_LOADS)),
            busy_weight=zeros(len(BUSY_LOADS)),
            throughput_sum=zeros(n),
            throughput_weight=zeros(n),
            watts=idle,
            # The guess is trusted to about its own size: units of TR 38.864 are exact, their watts are not.
            watts_covariance=torch.diag(idle**2),
            element_sum=zeros(e),
            element_weight=zeros(e),
            level=zeros(),
            trend=zeros(),
            day_sum=zeros(DAY_BINS),
            day_weight=zeros(DAY_BINS),
            load=torch.full((n,), 0.3, dtype=torch.float64),
            in_service=torch.ones(n, dtype=torch.bool),
            periods=zeros(),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name."""
        return dict(vars(self))

    def or_where_not_finite(self, other: "Environment") -> tuple["Environment", int]:
        """This environment, with the fields of another where its own are not finite, and how many those were.

        Telemetry is checked before it is learned from, so this is the last line: no NaN ever stays in the state.
        """
        broken = [name for name, tensor in self.tensors().items() if not bool(torch.isfinite(tensor).all())]
        return replace(self, **{name: getattr(other, name) for name in broken}), len(broken)

    @property
    def demand_kbps(self) -> Tensor:
        """[P] traffic offered in each pixel."""
        return self.users * self.kbps_per_user

    @property
    def gain_db(self) -> Tensor:
        """[C] by how much a cell is received stronger than expected; cells never measured get the common offset."""
        return pooled(self.gain_sum, self.gain_weight, _GAIN_LEAN)

    @property
    def capacity_gain(self) -> Tensor:
        """[C] measured over modelled capacity."""
        return pooled(self.capacity_sum, self.capacity_weight, _CAPACITY_LEAN).exp()

    @property
    def busy_log(self) -> Tensor:
        """[B] log of capacity at a load relative to what the cell's gain says."""
        return (self.busy_sum / (self.busy_weight + _BUSY_LEAN)).clamp(-_LARGEST_BUSY, _LARGEST_BUSY)

    @property
    def throughput_gain(self) -> Tensor:
        """[C] measured over modelled user throughput."""
        return pooled(self.throughput_sum, self.throughput_weight, _CAPACITY_LEAN).exp()

    @property
    def power(self) -> PowerModel:
        """Watts of cells and factors of managed elements."""
        factor = (self.element_sum / (self.element_weight + _ELEMENT_LEAN)).exp()
        return PowerModel(self.watts, factor)

    @property
    def softness_db(self) -> float:
        """Width of the handover boundary that explains best who served."""
        if float(self.softness_weight) < 1:
            return _PRIOR_SOFTNESS_DB
        return SOFTNESS_DB[int(self.softness_fit.argmax())]

    @property
    def uplift_db(self) -> Tensor:
        """[U] by how much users hear a serving cell of that lead better than their pixel does, dB."""
        return self.uplift_sum / (self.uplift_weight + _UPLIFT_LEAN)

    @property
    def spread_db(self) -> float:
        """Standard deviation of users' SINR about what their pixel and serving cell explain, in half decibels."""
        reports = float(self.uplift_weight.sum())
        variance = (float(self.spread_sum) + _UPLIFT_LEAN * _PRIOR_SPREAD_DB**2) / (reports + _UPLIFT_LEAN)
        return min(6.0, max(2.0, round(2 * math.sqrt(variance)) / 2))

    def correction_db(self, network: Network, length_m: float, prior_weight: float) -> Tensor:
        """[P, C] measured minus expected RSRP: gain of the cell plus a map of what it leaves, less where data is thin.

        A residual counts at its neighbours as exp(-distance / length_m); prior_weight reports are needed to
        believe it half.
        """
        cells = len(network.cells)
        both = network.seen_from.smooth(torch.cat([self.shadow_sum, self.shadow_weight], dim=1), length_m).double()
        total, weight = both[:, :cells], both[:, cells:]
        gain = self.gain_db
        return gain + (total - gain * weight) / (weight + prior_weight)

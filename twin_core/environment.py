"""What nobody sets: propagation, users, demand, capacity, failures. Fitted from telemetry, perturbed by scenarios.

Estimates are kept as sums and weights with exponential forgetting, so that an estimate from little data can lean on
the mean of its kind, and memory does not grow with history.
"""

from dataclasses import dataclass

import torch

from twin_core.network import Network
from twin_core.power import PRIOR_WATTS, PowerModel
from twin_core.settings import TwinSettings

Tensor = torch.Tensor

# Widths of the handover boundary among which telemetry chooses, dB.
SOFTNESS_DB = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0)
_PRIOR_SOFTNESS_DB = 2.0
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
    seen
        [P] where users were when they reported, per period.
    users
        [P] connected users.
    kbps_per_user
        [P] what a user of the pixel offers.
    capacity_sum, capacity_weight
        [C] log of measured over modelled capacity.
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
    seen: Tensor
    users: Tensor
    kbps_per_user: Tensor
    capacity_sum: Tensor
    capacity_weight: Tensor
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
        n, p, e = len(network.cells), network.grid.pixels, len(network.elements)
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
            seen=zeros(p),
            users=torch.full((p,), guess.prior_users_per_cell * n / p, dtype=torch.float64),
            kbps_per_user=torch.full((p,), guess.prior_kbps_per_user, dtype=torch.float64),
            capacity_sum=zeros(n),
            capacity_weight=zeros(n),
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

    def correction_db(self, network: Network, length_m: float, prior_weight: float) -> Tensor:
        """[P, C] measured minus expected RSRP: gain of the cell plus a map of what it leaves, less where data is thin.

        A residual counts at its neighbours as exp(-distance / length_m); prior_weight reports are needed to
        believe it half.
        """
        cells = len(network.cells)
        both = network.grid.smooth(torch.cat([self.shadow_sum, self.shadow_weight], dim=1), length_m).double()
        total, weight = both[:, :cells], both[:, cells:]
        gain = self.gain_db
        return gain + (total - gain * weight) / (weight + prior_weight)

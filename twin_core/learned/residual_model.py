"""A learned correction of KPIs: what the physics misses, cell by cell, as far as it can be known beforehand.

Corrected is what the physics makes of demand: resource blocks and throughput. Demand itself is the forecast's. A small
network of one hidden layer, with a linear path beside it, from what the twin predicts for the cell and how its
predictions missed lately to the log of observed over predicted. Its word is bounded and fades outside the range it has
seen. It is learned elsewhere (`loops.learning.residual`).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from twin_core.exceptions import InvalidModel
from twin_core.kpis import PRB, THROUGHPUT, USERS, CellModel, kpi_index
from twin_core.learned.memory import FLOOR, REMEMBERED, RESIDUAL_HALF_LIVES, Memory, log_level
from twin_core.learned.models import Model, within

Tensor = torch.Tensor

CORRECTED = (PRB, THROUGHPUT)
INPUTS = (
    *(f"predicted:{kpi}" for kpi in REMEMBERED),
    "power share",
    *(f"missed:{kpi}:{half_life:g}" for kpi in REMEMBERED for half_life in RESIDUAL_HALF_LIVES),
)
# What is known of a cell when predictions are made, whatever is predicted for it.
_STANDING = len(REMEMBERED) * len(RESIDUAL_HALF_LIVES)
LARGEST = 0.3
# A miss of now says less and less about later periods: what is left of a correction after each further period.
_FADING = 0.97


@dataclass(frozen=True, eq=False)
class ResidualModel(Model):
    """Parameters, float64. Inputs F as in INPUTS, hidden units J, outputs K as in CORRECTED.

    Attributes
    ----------
    mean, scale
        [F] by which inputs are standardised.
    hidden_weight, hidden_constant
        [F, J], [J] of the hidden layer (tanh).
    out_weight
        [J, K] from there.
    direct_weight, constant
        [F, K], [K] of the linear path.
    low, high
        [F] range of the inputs seen.
    """

    NAME: ClassVar[str] = "kpi-residual"

    version: str
    mean: Tensor
    scale: Tensor
    hidden_weight: Tensor
    hidden_constant: Tensor
    out_weight: Tensor
    direct_weight: Tensor
    constant: Tensor
    low: Tensor
    high: Tensor

    def check(self, cells: int) -> None:
        """Raise InvalidModel if the shapes do not fit one another; any network will do."""
        inputs, outputs, hidden = len(INPUTS), len(CORRECTED), self.hidden_constant.numel()
        for name, shape in (
            ("mean", (inputs,)), ("scale", (inputs,)), ("low", (inputs,)), ("high", (inputs,)),
            ("hidden_weight", (inputs, hidden)), ("hidden_constant", (hidden,)), ("out_weight", (hidden, outputs)),
            ("direct_weight", (inputs, outputs)), ("constant", (outputs,)),
        ):  # fmt: skip
            self.expect(name, *shape)
        if not bool((self.scale > 0).all()):
            raise InvalidModel(f"{self.NAME} {self.version}: scale must be positive; train it again")

    def log_correction(self, inputs: Tensor) -> Tensor:
        """[..., K] log of the factors for [..., F] inputs, one period ahead."""
        x = (inputs - self.mean) / self.scale
        hidden = torch.tanh(x @ self.hidden_weight + self.hidden_constant)
        raw = hidden @ self.out_weight + x @ self.direct_weight + self.constant
        # Bounded smoothly: a correction that grows never stops at a corner.
        bounded = LARGEST * torch.tanh(raw / LARGEST)
        return bounded * within(inputs, self.low, self.high).unsqueeze(-1)


def inputs_of(memory: Memory, kpis: Tensor, power_share: Tensor) -> Tensor:
    """[..., C, F] inputs.

    Parameters
    ----------
    memory
        Of the cells.
    kpis
        [..., M, C] as the physics predicts them.
    power_share
        [C] transmit power relative to rated, linear.
    """
    missed = memory.residual().flatten(0, 1).T  # [C, K R]
    return _joined(kpis, power_share, missed.to(kpis))


def _joined(kpis: Tensor, power_share: Tensor, missed: Tensor) -> Tensor:
    sizes = [log_level(kpis[..., kpi_index(kpi), :].nan_to_num(), FLOOR[kpi]) for kpi in REMEMBERED]
    own = torch.stack([*sizes, power_share.to(kpis).expand_as(sizes[0])], dim=-1)
    return torch.cat([own, missed.expand(*own.shape[:-1], _STANDING)], dim=-1)


class Correction:
    """A residual model made ready for the cells of one configuration.

    Parameters
    ----------
    model, memory
        What was learned, and what is remembered.
    dtype, device
        Of the KPIs it is given.
    """

    def __init__(
        self,
        model: ResidualModel,
        memory: Memory,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        given = {name: tensor.to(device, dtype) for name, tensor in model.tensors().items()}
        self._model = ResidualModel(version=model.version, **given)
        self._missed = memory.residual().flatten(0, 1).T.to(device, dtype)

    def __call__(
        self, by_cell: Tensor, network: Tensor, cells: CellModel, on_air: Tensor, ahead: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Correct KPIs.

        Parameters
        ----------
        by_cell, network
            [..., T, M, C] and [..., T, M] as `twin_core.kpis.cell_kpis` gives them.
        cells, on_air
            The fitted cells of the configuration, and which of them transmit ([C]); the others are left alone.
        ahead
            [T] periods ahead.
        """
        inputs = _joined(by_cell, cells.dynamic_share, self._missed)
        fading = _FADING ** (ahead.to(by_cell) - 1)
        log = self._model.log_correction(inputs) * fading[:, None, None]
        log = torch.where(on_air[:, None], log, 0.0)
        out = by_cell.clone()
        for k, kpi in enumerate(CORRECTED):
            m = kpi_index(kpi)
            value = by_cell[..., m, :]
            out[..., m, :] = ((value + FLOOR[kpi]) * log[..., k].exp() - FLOOR[kpi]).clamp_min(0)
        prb = kpi_index(PRB)
        out[..., prb, :].clamp_(max=100)
        return out, _of_network(out, network, cells, on_air)


def _of_network(by_cell: Tensor, network: Tensor, cells: CellModel, on_air: Tensor) -> Tensor:
    """[..., T, M] of the network again, for the KPIs that were corrected, as `cell_kpis` takes them together."""
    out = network.clone()
    users = by_cell[..., kpi_index(USERS), :]
    blocks = cells.prbs * on_air
    throughput = by_cell[..., kpi_index(THROUGHPUT), :]
    weight = torch.where(throughput.isnan(), 0.0, users)
    out[..., kpi_index(PRB)] = (by_cell[..., kpi_index(PRB), :] * blocks).sum(dim=-1) / blocks.sum().clamp_min(1)
    out[..., kpi_index(THROUGHPUT)] = (throughput.nan_to_num() * weight).sum(dim=-1) / weight.sum(dim=-1)
    return out

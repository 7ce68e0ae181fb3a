"""A learned forecast of demand: what each cell's users will offer, relative to what the twin would expect anyway.

The twin's own forecast is today's map, grown by the network's trend. This model turns it towards what the cell did in
the last minutes: linear in how far the remembered levels lie from the map, with weights common to all cells. What is a
cell's own is its memory, which goes on while a model stays as it is; a cell's constant would be as old as the model. It
is learned elsewhere (`loops.learning.demand`).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from twin_core.exceptions import InvalidModel
from twin_core.learned.memory import LEVEL_HALF_LIVES, USERS_FLOOR, VOLUME_FLOOR_KBPS, Memory, log_level
from twin_core.learned.models import Model, within

Tensor = torch.Tensor

# What is forecast, in the order of the axes of 2.
TARGETS = ("volume", "users")
INPUTS = (
    *(f"{target}:{half_life:g}" for target in TARGETS for half_life in LEVEL_HALF_LIVES),
    "growth",
    "one",
)
# A forecast never turns the twin's by more than this, as a logarithm: a half or twice.
LARGEST = 0.7


@dataclass(frozen=True, eq=False)
class DemandModel(Model):
    """Parameters, float64.

    Attributes
    ----------
    horizons
        [H] periods ahead for which it was learned, ascending; linear between them, constant beyond.
    weights
        [H, 2, F] of INPUTS.
    low, high
        [F] range of the inputs seen.
    """

    NAME: ClassVar[str] = "demand-forecast"

    version: str
    horizons: Tensor
    weights: Tensor
    low: Tensor
    high: Tensor

    def check(self, cells: int) -> None:
        """Raise InvalidModel if the shapes do not fit one another or a network of so many cells."""
        count, inputs = len(self.horizons), len(INPUTS)
        if self.horizons.dim() != 1 or not count or bool((self.horizons.diff() <= 0).any()):
            raise InvalidModel(f"{self.NAME} {self.version}: horizons must be ascending periods; train it again")
        self.expect("weights", count, len(TARGETS), inputs)
        self.expect("low", inputs)
        self.expect("high", inputs)

    def factors(self, memory: Memory, demand_kbps: Tensor, users: Tensor, growth: Tensor, ahead: Tensor) -> Tensor:
        """By how much demand and users of each cell will differ from the twin's own forecast.

        Parameters
        ----------
        memory
            Of the cells.
        demand_kbps, users
            [C] what the twin's map offers in each cell now.
        growth
            [H] the twin's own factor at the horizons of the model.
        ahead
            [T] periods ahead.

        Returns
        -------
        Tensor
            [2, T, C] factors, demand and users.
        """
        x = inputs_of(memory, demand_kbps, users, growth)  # [H, C, F]
        log = torch.einsum("hcf,hkf->khc", x, self.weights)
        log = (within(x, self.low, self.high) * log).clamp(-LARGEST, LARGEST)
        return _between(log, self.horizons, ahead.double()).exp()


def inputs_of(memory: Memory, demand_kbps: Tensor, users: Tensor, growth: Tensor) -> Tensor:
    """[H, C, F] inputs, as they are known when the forecast is made; 0 where a cell never reported."""
    now = torch.stack([log_level(demand_kbps, VOLUME_FLOOR_KBPS), log_level(users, USERS_FLOOR)])
    off = (memory.level() - now[:, None]).nan_to_num(0.0)  # [2, L, C]
    levels = off.flatten(0, 1).T.expand(len(growth), -1, -1)
    log = growth.log()[:, None, None].expand(-1, levels.shape[1], 1)
    return torch.cat([levels, log, torch.ones_like(log)], dim=-1)


def _between(values: Tensor, at: Tensor, wanted: Tensor) -> Tensor:
    """[K, T, C] from [K, H, C]: linear between horizons, constant beyond them."""
    if len(at) == 1:
        return values.expand(-1, len(wanted), -1)
    inside = wanted.clamp(float(at[0]), float(at[-1]))
    upper = torch.bucketize(inside, at).clamp(1, len(at) - 1)
    part = ((inside - at[upper - 1]) / (at[upper] - at[upper - 1]))[:, None]
    return values[:, upper - 1] * (1 - part) + values[:, upper] * part

"""How capacity goes with a cell's own load: more users to choose from, or more overhead. Learned, for all cells alike.

Capacity at load x is the cell's capacity times h(x). Airtime need n, reckoned without h, so gives the load x with x
h(x) = n; that product rises with x, so the answer is unique and rises with n, as the load coupling requires.
"""

from dataclasses import dataclass

import torch

from twin_core.environment import BUSY_LOADS, knot_weights

Tensor = torch.Tensor

_STEPS, _BACK_STEPS = 64, 1024


@dataclass(frozen=True, eq=False)
class BusyCurve:
    """The curve on an even grid of loads from 0 to 1, and backwards on one of needs.

    Attributes
    ----------
    factor
        [65] h.
    need
        [65] load times h, never falling.
    load
        [1025] load that a need gives, on an even grid of needs from 0 to that of a full cell.
    """

    factor: Tensor
    need: Tensor
    load: Tensor

    @classmethod
    def of(cls, busy_log: Tensor, dtype: torch.dtype, device: torch.device | str) -> "BusyCurve":
        """From log h at environment.BUSY_LOADS.

        Examples
        --------
        >>> curve = BusyCurve.of(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.2]), torch.float64, "cpu")
        >>> load = curve.load_for(torch.tensor([0.5, 1.1, 9.0], dtype=torch.float64))
        >>> load.round(decimals=2).tolist(), curve.at(load).round(decimals=2).tolist()
        ([0.5, 0.97, 1.0], [1.0, 1.14, 1.22])
        """
        loads = torch.linspace(0, 1, _STEPS + 1, dtype=torch.float64)
        factor = (knot_weights(loads, BUSY_LOADS) @ busy_log.double()).exp()
        need = (loads * factor).cummax(dim=0).values
        asked = torch.linspace(0, float(need[-1]), _BACK_STEPS + 1, dtype=torch.float64)
        above = torch.searchsorted(need, asked, right=True).clamp(1, _STEPS)
        low, high = need[above - 1], need[above]
        load = (above - 1 + ((asked - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)) / _STEPS
        return cls(factor.to(device, dtype), need.to(device, dtype), load.to(device, dtype))

    def at(self, load: Tensor) -> Tensor:
        """h at loads of any shape in 0..1."""
        place = load * _STEPS
        below = place.to(torch.int64).clamp_max(_STEPS - 1)
        low = self.factor[below]
        return low + (place - below) * (self.factor[below + 1] - low)

    def load_for(self, need: Tensor) -> Tensor:
        """Load that an airtime need of any shape gives, at most 1."""
        place = (need * (_BACK_STEPS / self.need[-1])).clamp_(0, _BACK_STEPS)
        below = place.to(torch.int64).clamp_max_(_BACK_STEPS - 1)
        return torch.lerp(self.load[below], self.load[below + 1], place - below)

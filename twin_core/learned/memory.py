"""What the twin remembers of each cell beside the environment: levels of traffic, and how predictions missed.

Learned models read it. Exponential means with several half-lives, as sums and weights, so that a young mean is a mean
of what there is. A cell that reports nothing keeps what it has. When a configuration moves users from cell to cell, the
remembered levels move with them: a change that somebody made is not mistaken for demand that went away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from twin_core.kpis import PRB, THROUGHPUT, USERS, VOLUME
from twin_core.settings import share_per_period

Tensor = torch.Tensor

# Periods; the first is short enough to be the latest value itself.
LEVEL_HALF_LIVES = (0.02, 3.0, 10.0, 30.0)
RESIDUAL_HALF_LIVES = (3.0, 12.0, 40.0)
# KPIs whose residuals are remembered, and what is added before the logarithm, so that an idle cell's last bits do not
# count like a full cell's gigabits.
REMEMBERED = (PRB, THROUGHPUT, VOLUME, USERS)
FLOOR: Mapping[str, float] = {PRB: 1.0, THROUGHPUT: 100.0, VOLUME: 6000.0, USERS: 1.0}
VOLUME_FLOOR_KBPS, USERS_FLOOR = 100.0, 1.0
# Users who are handed over carry their cell's history at most so far.
_LARGEST_SHIFT = 3.0


def log_level(values: Tensor, floor: float) -> Tensor:
    """Logarithm of a size above its floor."""
    return (values.clamp_min(0) + floor).log()


@dataclass(frozen=True, eq=False)
class Memory:
    """Exponential means of each cell, float64.

    Attributes
    ----------
    level_sum, level_weight
        [2, L, C] log of served rate (kbit/s) and of users, for LEVEL_HALF_LIVES.
    residual_sum, residual_weight
        [K, R, C] log of observed over predicted, for REMEMBERED and RESIDUAL_HALF_LIVES; predicted without any learned
        correction of residuals, so that what is learned from is not what was learned.
    """

    level_sum: Tensor
    level_weight: Tensor
    residual_sum: Tensor
    residual_weight: Tensor

    @classmethod
    def empty(cls, cells: int) -> "Memory":
        """Nothing remembered."""
        level = torch.zeros(2, len(LEVEL_HALF_LIVES), cells, dtype=torch.float64)
        residual = torch.zeros(len(REMEMBERED), len(RESIDUAL_HALF_LIVES), cells, dtype=torch.float64)
        return cls(level, level, residual, residual)

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name."""
        return dict(vars(self))

    def level(self) -> Tensor:
        """[2, L, C] means; NaN where a cell never reported."""
        return self.level_sum / torch.where(self.level_weight > 0, self.level_weight, torch.nan)

    def residual(self) -> Tensor:
        """[K, R, C] means, shrunk to 0 while a cell has told little."""
        return self.residual_sum / self.residual_weight.clamp_min(_LEAST_WEIGHT)

    def after(
        self,
        served_kbps: Tensor,
        users: Tensor,
        observed: Mapping[str, Tensor],
        predicted: Mapping[str, Tensor],
        on_air: Tensor,
    ) -> "Memory":
        """The memory after a period.

        Parameters
        ----------
        served_kbps, users
            [C] of the period, NaN unknown.
        observed, predicted
            KPI to [C], at least REMEMBERED.
        on_air
            [C] cells that served; the others tell nothing.
        """
        levels = torch.stack([log_level(served_kbps, VOLUME_FLOOR_KBPS), log_level(users, USERS_FLOOR)])
        residuals = torch.stack([log_ratio(observed[kpi], predicted[kpi], kpi) for kpi in REMEMBERED])
        level = _remembered(self.level_sum, self.level_weight, levels, on_air, LEVEL_HALF_LIVES)
        residual = _remembered(self.residual_sum, self.residual_weight, residuals, on_air, RESIDUAL_HALF_LIVES)
        return Memory(*level, *residual)

    def moved(self, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], both_on_air: Tensor) -> "Memory":
        """The memory when the same traffic is served by other cells.

        Parameters
        ----------
        before, after
            Offered rate and users ([C] each) of each cell under the configuration that was and the one that is.
        both_on_air
            [C] cells on the air under both.
        """
        floors = (VOLUME_FLOOR_KBPS, USERS_FLOOR)
        shifts = [log_level(b, f) - log_level(a, f) for a, b, f in zip(before, after, floors, strict=True)]
        shift = torch.where(both_on_air, torch.stack(shifts).clamp(-_LARGEST_SHIFT, _LARGEST_SHIFT), 0.0)
        return replace(self, level_sum=self.level_sum + self.level_weight * shift[:, None])


# A residual counts in full once this much weight is behind it: about the second period.
_LEAST_WEIGHT = 0.3


def log_ratio(observed: Tensor, predicted: Tensor, kpi: str) -> Tensor:
    """Log of observed over predicted, above the KPI's floor.

    Examples
    --------
    >>> log_ratio(torch.tensor([19.0]), torch.tensor([9.0]), USERS).exp().tolist()
    [2.0]
    """
    return log_level(observed, FLOOR[kpi]) - log_level(predicted, FLOOR[kpi])


def _remembered(
    total: Tensor, weight: Tensor, new: Tensor, told: Tensor, half_lives: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Sums and weights [K, R, C] after new values [K, C]."""
    share = torch.tensor([share_per_period(h) for h in half_lives], dtype=torch.float64)[:, None]
    known = (new.isfinite() & told)[:, None]
    value = new.nan_to_num(0.0, 0.0, 0.0)[:, None]
    return (
        torch.where(known, (1 - share) * total + share * value, total),
        torch.where(known, (1 - share) * weight + share, weight),
    )

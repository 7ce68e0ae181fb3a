"""What agents see: KPIs and configuration of each cell as numbers of the order of one, without NaN."""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from twin_core.configuration import Configuration
from twin_core.kpis import POWER, PRB, THROUGHPUT, UNSERVED, USERS, VOLUME, kpi_index
from twin_core.network import Network
from twin_core.worlds import Period

Tensor = torch.Tensor
Seen = NDArray[np.float32]

# Per cell, in this order. What is scaled by the network's own is 1 where a cell is as the mean one of a period in which
# nothing is changed; it is cut off at 10.
FEATURES = (
    "load",  # share of resource blocks in use, 0..1
    "throughput",  # of a user, against the network's; 0 where nobody is measured
    "measured",  # 1 where it is
    "volume",  # against the mean cell's
    "users",  # against the mean cell's
    "power",  # against the mean cell's
    "unserved",  # share of the offered traffic, 0..1
    "on_air",  # 1 where the cell transmits: unlocked and free of failure
    "tx_power",  # 10 dB against rated
    "tilt",  # 10 degrees
    "bias",  # 6 dB, mean of the offsets towards its neighbours
    "unlocked",  # 1 where the cell state is UNLOCKED
)
_MOST = 10.0
_SIGNED = ("tx_power", "tilt", "bias")
_SHARES = ("load", "measured", "unserved", "on_air", "unlocked")


@dataclass(frozen=True, eq=False)
class Senses:
    """Scales of a network's features.

    Attributes
    ----------
    network
        Whose cells.
    usual
        A period in which nothing is changed.
    """

    network: Network
    usual: Period

    @property
    def space(self) -> Space[Seen]:
        """[C x F] all features of the first cell, then of the next."""
        low, high = bounds()
        cells = len(self.network.cells)
        return cast("Space[Seen]", Box(np.tile(low, cells), np.tile(high, cells), dtype=np.float32))

    def features(self, period: Period, configuration: Configuration) -> Seen:
        """[C, F] float32, of a period under its configuration."""
        row = {kpi: period.kpis[kpi_index(kpi)] for kpi in (PRB, THROUGHPUT, VOLUME, USERS, POWER, UNSERVED)}
        speed = row[THROUGHPUT]
        columns = (
            row[PRB] / 100,
            speed.nan_to_num(0.0) / self._scale(THROUGHPUT, 1),
            (~speed.isnan()).double(),
            row[VOLUME] / self._scale(VOLUME, len(speed)),
            row[USERS] / self._scale(USERS, len(speed)),
            row[POWER] / self._scale(POWER, len(speed)),
            row[UNSERVED],
            period.on_air.double(),
            (configuration.tx_power_dbm - self.network.rated_dbm) / 10,
            configuration.tilt_deg / 10,
            (configuration.cio_db * self._near).sum(dim=1) / 6,
            configuration.active.double(),
        )
        low, high = bounds()
        out: Seen = np.clip(torch.stack(columns, dim=1).numpy().astype(np.float32), low, high)
        return out

    def _scale(self, kpi: str, parts: int) -> float:
        value = float(self.usual.network[kpi_index(kpi)]) / parts
        return value if value > 0 else 1.0  # a network without users, or all asleep, has no scale of its own

    @cached_property
    def _near(self) -> Tensor:
        """[C, C] by which offsets towards neighbours come to their mean."""
        cells = len(self.network.cells)
        out = torch.zeros(cells, cells, dtype=torch.float64)
        for cell, near in enumerate(self.network.neighbours):
            out[cell, list(near)] = 1 / max(len(near), 1)
        return out


def bounds() -> tuple[Seen, Seen]:
    """[F] lowest and highest value of each feature."""
    low = [-_MOST if name in _SIGNED else 0.0 for name in FEATURES]
    high = [1.0 if name in _SHARES else _MOST for name in FEATURES]
    return np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)

"""A cell and its neighbours, as agents of single cells see and answer for them."""

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.counters import sliced
from twin_core.flow.slices import DELAY as SLICE_DELAY
from twin_core.flow.slices import THROUGHPUT as SLICE_THROUGHPUT
from twin_core.flow.slices import VOLUME as SLICE_VOLUME
from twin_core.kpis import PRB, THROUGHPUT, UNSERVED, USERS, VOLUME
from twin_core.network import Network
from twin_core.training.senses import Seen
from twin_core.worlds import Period

Tensor = torch.Tensor


class Neighbourhoods:
    """Each cell of a network with its neighbours.

    Attributes
    ----------
    most
        Neighbours that the best connected cell has.
    """

    def __init__(self, network: Network) -> None:
        cells = len(network.cells)
        self.most = max(len(near) for near in network.neighbours)
        self._of: NDArray[np.intp] = np.zeros((cells, 1 + self.most), dtype=np.intp)
        self._there: NDArray[np.float32] = np.zeros((cells, 1 + self.most), dtype=np.float32)
        for cell, near in enumerate(network.neighbours):
            self._of[cell, : 1 + len(near)] = (cell, *near)
            self._there[cell, : 1 + len(near)] = 1
        self._members = torch.zeros(cells, cells, dtype=torch.float64)
        for cell, near in enumerate(network.neighbours):
            self._members[cell, [cell, *near]] = 1
        self._blocks, self._slices = network.prbs, network.slices

    def seen(self, features: Seen) -> list[Seen]:
        """[C] observations of F features of [C, F]: own, neighbours', and which neighbours there are."""
        around = (features[self._of] * self._there[..., None]).reshape(len(features), -1)
        return list(np.concatenate([around, self._there[:, 1:]], axis=1))

    def kpis(self, period: Period, names: tuple[str, ...]) -> Tensor:
        """[C, M] of each neighbourhood, as of a network all of whose cells were like its own.

        Volume, users and power are those of as many cells as the network has; PRB use is weighted by blocks on the
        air, throughput by users, unserved traffic by what was offered, slices' throughput and delay by their volume.
        Users whom no cell covers count where they find a cell at all.
        """
        row = dict(zip(names, period.kpis, strict=True))
        weights = {
            PRB: self._blocks * period.on_air,
            THROUGHPUT: row[USERS],
            UNSERVED: row[VOLUME] / (1 - row[UNSERVED]).clamp_min(1e-3),
        }
        for s_nssai in self._slices:
            volume = row[sliced(SLICE_VOLUME, s_nssai)]
            weights |= dict.fromkeys((sliced(SLICE_THROUGHPUT, s_nssai), sliced(SLICE_DELAY, s_nssai)), volume)
        return torch.stack([self._whole(row[name], weights.get(name)) for name in names], dim=1)

    def _whole(self, value: Tensor, weight: Tensor | None) -> Tensor:
        if weight is None:
            return self._members @ value / self._members.sum(dim=1) * len(value)
        known = torch.where(value.isnan(), 0.0, weight)
        return self._members @ (value.nan_to_num(0.0) * known) / (self._members @ known)

"""Radio maps of a twin: what users would measure, pixel by pixel."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.names import short_name
from twin_core.exceptions import InvalidScenarios, UnknownObject
from twin_core.kpis import PRB
from twin_core.radio.best_server import best_server_sinr
from twin_core.radio.coverage import rsrp_dbm
from twin_core.twin import Twin

Floats = NDArray[np.float32]


class Quantity(NamedTuple):
    """What a map shows."""

    name: str
    unit: str
    title: str


RSRP = Quantity("rsrp", "dBm", "RSRP")
BEST_RSRP = Quantity("best-rsrp", "dBm", "RSRP of the best server")
SERVER = Quantity("server", "", "Best server")
SINR = Quantity("sinr", "dB", "SINR of the best server")
GAIN = Quantity("gain", "dB", "Path gain between isotropic antennas")


@dataclass(frozen=True, eq=False)
class RadioMap:
    """One quantity over the area of a twin.

    Attributes
    ----------
    twin
        Whose it is.
    quantity
        Name and unit.
    values
        [B, P] NaN where there is none.
    bands
        [B] cells (DNs), or the quantity's title.
    note
        What a reader must know besides, e.g. the load.
    """

    twin: Twin
    quantity: Quantity
    values: Floats
    bands: tuple[str, ...]
    note: str = ""

    def of_cell(self, cell: str) -> "RadioMap":
        """The map of one cell, by its DN or its short name (gnb7-3).

        Raises
        ------
        UnknownObject
            If no band is about such a cell.
        """
        for i, band in enumerate(self.bands):
            if band in self.twin.network.cells and cell in (band, short_name(band)):
                return replace(self, values=self.values[i : i + 1], bands=(band,))
        known = ", ".join(short_name(band) for band in self.bands[:6] if band in self.twin.network.cells)
        raise UnknownObject(f"the map has no band for cell {cell!r}; name one of its cells: {known or 'none'} …")

    @property
    def rectangles(self) -> Floats:
        """[B, ny, nx] as an image: the northern row first, NaN outside the twin's area."""
        grid = self.twin.network.grid
        out = np.full((len(self.bands), grid.ny * grid.nx), np.nan, dtype=np.float32)
        out[:, grid.cells_of_rectangle] = self.values
        return out.reshape(len(self.bands), grid.ny, grid.nx)[:, ::-1]


def _per_cell(twin: Twin, quantity: Quantity, values: torch.Tensor) -> RadioMap:
    return RadioMap(twin, quantity, values.T.numpy().astype(np.float32), twin.network.cells)


def _single(twin: Twin, quantity: Quantity, values: torch.Tensor, note: str = "") -> RadioMap:
    return RadioMap(twin, quantity, values[None].numpy().astype(np.float32), (quantity.title,), note)


def _heard(twin: Twin) -> torch.Tensor:
    """[P, C] RSRP of the cells on air, NaN of others."""
    return torch.where(twin.physics.on_air, twin.rsrp_dbm, torch.nan)


def _served(twin: Twin) -> tuple[torch.Tensor, torch.Tensor]:
    """[P] RSRP and index of the strongest cell on air, NaN where there is none."""
    best = torch.where(twin.physics.on_air, twin.rsrp_dbm, -torch.inf).max(dim=1)
    anyone = best.values > -torch.inf
    return torch.where(anyone, best.values, torch.nan), torch.where(anyone, best.indices.double(), torch.nan)


def rsrp_map(twin: Twin) -> RadioMap:
    """RSRP of each cell, one band a cell; a cell off air has none."""
    return _per_cell(twin, RSRP, _heard(twin))


def gain_map(twin: Twin) -> RadioMap:
    """Path gain of each cell without antennas, as far as the twin has learned it; what `read_map` reads back."""
    network = twin.network
    prior = rsrp_dbm(network, twin.configuration, torch.zeros_like(network.loss_db))
    return _per_cell(twin, GAIN, twin.rsrp_dbm - prior - network.loss_db)


def best_rsrp_map(twin: Twin) -> RadioMap:
    """RSRP of the strongest cell on air."""
    return _single(twin, BEST_RSRP, _served(twin)[0])


def server_map(twin: Twin) -> RadioMap:
    """Index of the strongest cell on air, in the order of the topology's cells from 0."""
    return _single(twin, SERVER, _served(twin)[1])


def sinr_map(twin: Twin, load: float | None = None) -> RadioMap:
    """SINR of the strongest cell on air.

    Parameters
    ----------
    twin
        Whose radio and, where no load is given, whose expected loads.
    load
        Of every cell that disturbs, in 0..1; None: what the twin expects of the next period.

    Raises
    ------
    InvalidScenarios
        If the load is outside 0..1.
    """
    if load is not None and not 0 <= load <= 1:
        raise InvalidScenarios(f"a load of {load:g} is outside 0..1; give the share of resource blocks in use")
    network = twin.network
    loads = (twin.predicted[PRB] / 100).clamp(0, 1) if load is None else torch.full_like(network.prbs, load)
    note = "at the load that the twin expects" if load is None else f"at {load:.0%} load"
    server = _served(twin)[1]
    serving = server.nan_to_num(0).long()
    # Of all cells those on the server's carrier; powers are received ones.
    heard = 10 ** (_heard(twin).nan_to_num(-torch.inf) / 10) * network.co_channel[serving]
    noise = 10 ** ((network.thermal_noise_dbm + twin.settings.physics.noise_figure_db) / 10)
    sinr = best_server_sinr(heard, torch.ones_like(loads), loads, noise[serving], serving)[1]
    return _single(twin, SINR, torch.where(server.isnan(), torch.nan, 10 * torch.log10(sinr)), note)

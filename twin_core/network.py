"""The network as it is built, as tensors: cells, sites, area, prior propagation, who neighbours whom."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from schemas.names import managed_element_of, short_name
from schemas.topology import Topology
from twin_core.exceptions import EmptyNetwork, InvalidSurvey, UnknownObject
from twin_core.grid import Grid, Places
from twin_core.radio.antenna import Directions, directions, gain_dbi
from twin_core.radio.layout import Layout
from twin_core.radio.overhead import Overhead
from twin_core.radio.path_loss import expected_loss_db

MAX_NEIGHBOURS = 8
# Two cells share a border where the second is within so much of the first.
_BORDER_DB = 6.0
# Down-tilt of an antenna about which nothing is known (assumption: common for 25 m masts at 500 m).
DEFAULT_TILT_DEG = 6.0
# What cells send besides data: no lever, and what a network does otherwise goes into fitted capacity.
OVERHEAD = Overhead()
# Where an attribute stands in a configuration's tensor: at a cell, or at a serving cell and a neighbour.
Place = int | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Network:
    """Topology as tensors. All but a survey is derived from the topology, so snapshots do not carry it.

    Attributes
    ----------
    topology
        What it was made from; its cell order is every cell axis C.
    seen_from
        Pixels P of an area, or given places P.
    element_of
        [C] index into `elements`.
    survey_db
        [P, C] known path loss, NaN where unknown; None where nothing is known but the topology.
    """

    topology: Topology
    seen_from: Grid | Places
    element_of: torch.Tensor
    survey_db: torch.Tensor | None = None

    @staticmethod
    @lru_cache(maxsize=16)
    def of(topology: Topology, pixels_per_isd: int = 10) -> "Network":
        """Lay out a topology. The same topology gives the same object.

        Examples
        --------
        >>> from twin_core.layouts import hexagonal
        >>> network = Network.of(hexagonal(sites=7))
        >>> len(network.cells), network.grid.spacing_m, network.neighbours[0][:2]
        (21, 50.0, (2, 14))
        """
        x = np.array([c.x_m for c in topology.cells])
        y = np.array([c.y_m for c in topology.cells])
        grid = Grid.around(x, y, pixels_per_isd, topology.images_m)
        elements = {name: i for i, name in enumerate(topology.managed_elements)}
        element_of = torch.tensor([elements[managed_element_of(c)] for c in topology.cell_names])
        return Network(topology, grid, element_of)

    def at(self, x_m: torch.Tensor, y_m: torch.Tensor) -> "Network":
        """The same cells seen from given places ([P] each) in place of an area.

        Raises
        ------
        EmptyNetwork
            If there is no place.
        InvalidSurvey
            If places are not finite.
        """
        if len(x_m) == 0:
            raise EmptyNetwork("no place to look from; give at least one")
        if not bool((x_m.isfinite() & y_m.isfinite()).all()):
            raise InvalidSurvey("a place is not finite; leave out users whose place is unknown")
        return Network(self.topology, Places(x_m.double(), y_m.double()), self.element_of)

    @property
    def grid(self) -> Grid:
        """The area's pixels.

        Raises
        ------
        EmptyNetwork
            If the network is seen from given places: they make no map.
        """
        if isinstance(self.seen_from, Places):
            raise EmptyNetwork("a network seen from given places has no area and no maps; take Network.of(topology)")
        return self.seen_from

    @property
    def cells(self) -> tuple[str, ...]:
        """[C] DNs of the cells."""
        return self.topology.cell_names

    @cached_property
    def slices(self) -> tuple[str, ...]:
        """[K] S-NSSAIs."""
        return tuple(s.s_nssai for s in self.topology.slices)

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """[E] DNs of the managed elements."""
        return self.topology.managed_elements

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.cells)}

    @cached_property
    def places(self) -> dict[tuple[str, str], tuple[str, Place]]:
        """Tensor and place of each (object, attribute) met so far: names are parsed once."""
        return {}

    def cell_index(self, cell: str) -> int:
        """Position of a cell on every cell axis.

        Raises
        ------
        UnknownObject
            If the network has no such cell.
        """
        try:
            return self._index[cell]
        except KeyError:
            raise UnknownObject(
                f"network {self.topology.network_id} has no cell {cell!r}; it has {len(self.cells)} cells, "
                f"the first is {self.cells[0]}"
            ) from None

    def cell_named(self, name: str) -> int:
        """Position of a cell that a person names, by its DN or in short (gnb7-3); raises as `cell_index` does."""
        short = {short_name(cell): i for i, cell in enumerate(self.cells)}
        return short[name] if name in short else self.cell_index(name)

    def _column(self, name: str) -> torch.Tensor:
        return torch.tensor([float(getattr(c, name)) for c in self.topology.cells], dtype=torch.float64)

    @cached_property
    def rated_dbm(self) -> torch.Tensor:
        """[C] rated power of the sector carrier, dBm."""
        return 10 * torch.log10(self._column("max_tx_power_mw"))

    @cached_property
    def prbs(self) -> torch.Tensor:
        """[C] resource blocks of the carrier."""
        return self._column("prbs")

    @cached_property
    def scs_khz(self) -> torch.Tensor:
        """[C] subcarrier spacing, kHz."""
        return self._column("scs_khz")

    @cached_property
    def kbps_per_efficiency(self) -> torch.Tensor:
        """[C] what the whole carrier delivers per bit/s/Hz of spectral efficiency, kbit/s."""
        return self.prbs * 12 * self.scs_khz * OVERHEAD.data_share(self.prbs, self.scs_khz)

    @cached_property
    def subcarriers_db(self) -> torch.Tensor:
        """[C] by how much a subcarrier's power is below the carrier's, dB."""
        return 10 * torch.log10(12 * self.prbs)

    @cached_property
    def thermal_noise_dbm(self) -> torch.Tensor:
        """[C] thermal noise of one subcarrier at 290 K, dBm."""
        return -174 + 10 * torch.log10(self.scs_khz * 1e3)

    @cached_property
    def co_channel(self) -> torch.Tensor:
        """[C, C] whether two cells share a carrier and so disturb each other."""
        carrier = self._column("carrier_ghz")
        return (carrier[:, None] - carrier[None]).abs() < 1e-6

    @cached_property
    def layout(self) -> Layout:
        """Where the antennas stand and look."""
        return Layout.of(self.topology)

    @cached_property
    def offsets_m(self) -> tuple[torch.Tensor, torch.Tensor]:
        """[P, C] from antenna to pixel, east and north."""
        return self.layout.offsets_m(self.seen_from.x_m, self.seen_from.y_m)

    @cached_property
    def loss_db(self) -> torch.Tensor:
        """[P, C] path loss before any telemetry: that of a survey where there is one, else expected by TR 38.901."""
        dx, dy = self.offsets_m
        masts = self.layout
        expected = expected_loss_db(torch.hypot(dx, dy), masts.height_m, masts.carrier_ghz, masts.scenarios)
        return expected if self.survey_db is None else torch.where(self.survey_db.isnan(), expected, self.survey_db)

    @cached_property
    def seen(self) -> Directions:
        """[P, C] pixels in the frame of each panel."""
        dx, dy = self.offsets_m
        masts = self.layout
        return directions(dx, dy, masts.height_m, masts.azimuth_deg, masts.mechanical_tilt_deg)

    def surveyed(self, loss_db: torch.Tensor) -> "Network":
        """The same network with known path loss: ray-traced, measured, or reckoned from buildings.

        Parameters
        ----------
        loss_db
            [P, C] without antennas; NaN where unknown, there the expected loss of TR 38.901 holds.

        Raises
        ------
        InvalidSurvey
            If it has another shape, or holds a loss that no link can have.
        """
        shape = (self.seen_from.pixels, len(self.cells))
        if tuple(loss_db.shape) != shape:
            raise InvalidSurvey(
                f"a survey of shape {tuple(loss_db.shape)} does not fit {shape[0]} pixels and {shape[1]} cells; "
                "resample it on the twin's grid (network.grid.x_m, y_m) with one column for each cell"
            )
        if bool(((loss_db < 0) | loss_db.isinf()).any()):
            raise InvalidSurvey(
                "a survey holds a path loss below 0 dB or infinite; give losses, positive and without antenna gain, "
                "and NaN where unknown"
            )
        return Network(self.topology, self.seen_from, self.element_of, loss_db.double())

    @cached_property
    def overlap(self) -> torch.Tensor:
        """[C, C] pixels in which one cell is the strongest and the other within 6 dB, both ways summed."""
        n = len(self.cells)
        tilt = torch.full((n,), DEFAULT_TILT_DEG, dtype=torch.float64)
        gain = gain_dbi(self.seen, tilt, torch.zeros_like(tilt), self.layout.panels)
        rsrp = self.rated_dbm - self.subcarriers_db + gain - self.loss_db
        best = rsrp.max(dim=1, keepdim=True)
        near = (rsrp > best.values - _BORDER_DB).to(torch.float64)
        count = torch.zeros(n, n, dtype=torch.float64).index_add_(0, best.indices[:, 0], near)
        count.fill_diagonal_(0)
        return count + count.T

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """For each cell, the cells it shares a border with, longest border first, at most eight.

        A cell without any border gets its nearest cell.
        """
        dx, dy = self.layout.offsets_m(self.layout.x_m, self.layout.y_m)
        nearer = 1e-3 / (1 + torch.hypot(dx, dy))
        nearer.fill_diagonal_(0)
        rank = self.overlap + nearer
        out = []
        for i in range(len(self.cells)):
            order = torch.argsort(rank[i], descending=True, stable=True).tolist()
            shared = [j for j in order if j != i and self.overlap[i, j] > 0][:MAX_NEIGHBOURS]
            out.append(tuple(shared or [j for j in order if j != i][:1]))
        return tuple(out)

"""Which cells feel a change of which: a neighbour graph from the topology alone.

Two cells are neighbours if, over the ground, one is strongest where the other comes close. Only sites, boresights
and a distance law enter, not the twin's physics: locks and control cells must not depend on a model that is itself
under test.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from loops.outer.exceptions import UnknownCell
from schemas.topology import Topology

_EXPONENT_DB = 37.6  # dB a decade of distance: 3GPP macro
_BEAM_DEG, _BACKLOBE_DB = 65.0, 30.0  # horizontal pattern, TR 38.901 Table 7.3-1
_CANDIDATES = 30  # ten sites of three cells: two rings of a regular grid
_SAMPLES_A_CELL = 160  # points of ground a cell; the graph no longer changes with more


@dataclass(frozen=True)
class NeighbourGraph:
    """Cells and who borders on whom; symmetric, nobody neighbours itself.

    Parameters
    ----------
    cells
        [C] DNs, in topology order.
    adjacent
        [C, C] symmetric, false on the diagonal.
    """

    cells: tuple[str, ...]
    adjacent: NDArray[np.bool_]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {c: i for i, c in enumerate(self.cells)}

    def index(self, cell: str) -> int:
        """Position of a cell on the cell axis; raises UnknownCell."""
        try:
            return self._index[cell]
        except KeyError:
            raise UnknownCell(
                f"the topology has no cell {cell}; propose changes of its {len(self.cells)} cells only"
            ) from None

    def ring(self, cells: Iterable[str]) -> frozenset[str]:
        """Neighbours of these cells that are none of them."""
        inside = [self.index(c) for c in cells]
        touched = np.asarray(self.adjacent[inside].any(axis=0))
        touched[inside] = False
        return frozenset(self.cells[i] for i in np.flatnonzero(touched))

    def area(self, cells: Iterable[str]) -> frozenset[str]:
        """These cells and their ring."""
        cells = frozenset(cells)
        return cells | self.ring(cells)


def neighbour_graph(topology: Topology, *, margin_db: float = 6.0, share: float = 0.04) -> NeighbourGraph:
    """Neighbours of every cell.

    Parameters
    ----------
    margin_db
        How close to the strongest a cell must come to be felt there.
    share
        On how much of a cell's ground another must come that close to count as a neighbour.

    Examples
    --------
    >>> from schemas.topology import CellSite
    >>> def site(i, x):
    ...     return CellSite(cell=f"ManagedElement=g{i},NRCellDU=1", x_m=x, y_m=0, height_m=25, azimuth_deg=90,
    ...                     carrier_ghz=3.5, prbs=100, max_tx_power_mw=40_000)
    >>> line = Topology(network_id="n", cells=tuple(site(i, 500.0 * i) for i in range(5)))
    >>> sorted(neighbour_graph(line).ring([line.cells[2].cell]))
    ['ManagedElement=g1,NRCellDU=1', 'ManagedElement=g3,NRCellDU=1']
    """
    C = len(topology.cells)
    xy = np.array([(c.x_m, c.y_m) for c in topology.cells])
    azimuth = np.deg2rad([c.azimuth_deg for c in topology.cells])
    boresight = np.stack([np.sin(azimuth), np.cos(azimuth)], axis=1)
    rated_dbm = 10 * np.log10([c.max_tx_power_mw for c in topology.cells])

    spacing = _site_spacing(xy)
    low, high = xy.min(axis=0) - 0.6 * spacing, xy.max(axis=0) + 0.6 * spacing
    span = high - low
    step = float(np.sqrt(span.prod() / (_SAMPLES_A_CELL * C)))
    grid = np.meshgrid(*(np.arange(low[i] + step / 2, high[i], step) for i in (0, 1)), indexing="ij")
    ground = np.stack([g.ravel() for g in grid], axis=1)  # [G, 2]

    won, felt = np.zeros(C), np.zeros((C, C))
    # Only the cells nearest to a point can be strong there: cost grows with ground, not with ground x cells.
    _, nearest = cKDTree(xy).query(ground, k=min(C, _CANDIDATES))
    nearest = np.asarray(nearest).reshape(len(ground), -1)  # [G, K] cell indices
    offset = ground[:, None, :] - xy[nearest]  # [G, K, 2]
    distance = np.maximum(np.linalg.norm(offset, axis=2), 10.0)
    angle = np.rad2deg(np.arccos(np.clip((offset * boresight[nearest]).sum(axis=2) / distance, -1, 1)))
    pattern = -np.minimum(12 * (angle / _BEAM_DEG) ** 2, _BACKLOBE_DB)
    level_dbm = rated_dbm[nearest] + pattern - _EXPONENT_DB * np.log10(distance)  # [G, K], up to a constant
    best = np.take_along_axis(nearest, level_dbm.argmax(axis=1)[:, None], axis=1)[:, 0]
    near = level_dbm >= level_dbm.max(axis=1, keepdims=True) - margin_db
    won += np.bincount(best, minlength=C)
    point, candidate = np.nonzero(near)
    np.add.at(felt, (best[point], nearest[point, candidate]), 1.0)
    adjacent: NDArray[np.bool_] = np.asarray(felt > share * np.maximum(won, 1)[:, None])
    adjacent |= adjacent.T
    np.fill_diagonal(adjacent, False)
    adjacent.flags.writeable = False
    return NeighbourGraph(topology.cell_names, adjacent)


def _site_spacing(xy: NDArray[np.float64]) -> float:
    """Median distance from a site to its nearest other site, metres; 500 where there is only one."""
    sites = np.unique(xy, axis=0)
    if len(sites) < 2:
        return 500.0
    apart = np.linalg.norm(sites[:, None] - sites[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return float(np.median(apart.min(axis=1)))

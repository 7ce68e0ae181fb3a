"""Regions: a network whose twin is kept in parts, each with a halo of cells around it.

Cells disturb, and take users from, cells of other regions. So a region's twin holds its own cells and a *halo*: the
managed elements of all cells within so many hops of the neighbour graph. It predicts the halo as well, but what it
says of it is worse, as what lies beyond is missing; only the region that owns a cell speaks for it.
"""

from collections.abc import Collection
from typing import NamedTuple

from schemas.names import managed_element_of
from schemas.topology import Topology
from twin_core.exceptions import UnknownObject
from twin_core.network import Network

# Hops of the neighbour graph. With two, predictions of own cells differ from the whole network's twin by less than half
# a percent (docs/benchmarks.md).
HALO_HOPS = 2


class Shard(NamedTuple):
    """One region's part of a network.

    Parameters
    ----------
    topology
        Own cells and halo, in the order of the whole network.
    owned
        DNs of its own cells.
    """

    region: str
    topology: Topology
    owned: frozenset[str]

    @property
    def elements(self) -> frozenset[str]:
        """Managed elements of its own cells."""
        return frozenset(managed_element_of(cell) for cell in self.owned)

    @property
    def halo(self) -> frozenset[str]:
        """DNs of the cells that others own."""
        return frozenset(self.topology.cell_names) - self.owned


def regions_of(topology: Topology) -> tuple[str, ...]:
    """Names of its regions, sorted."""
    return tuple(sorted({c.region for c in topology.cells}))


def shard_of(topology: Topology, region: str, hops: int = HALO_HOPS) -> Shard:
    """A region with its halo; of a network with one region everything.

    Raises
    ------
    UnknownObject
        If the network has no such region.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> whole = shard_of(hexagonal(sites=1), "1")
    >>> len(whole.owned), len(whole.halo)
    (3, 0)
    """
    known = regions_of(topology)
    if region not in known:
        raise UnknownObject(
            f"network {topology.network_id} has no region {region!r}; it has {', '.join(known)}. "
            "Name one of them with TWINLOOP_REGION"
        )
    owned = frozenset(c.cell for c in topology.cells if c.region == region)
    if len(known) == 1:
        return Shard(region, topology, owned)
    elements = {managed_element_of(cell) for cell in within(topology, owned, hops)}
    cells = tuple(c for c in topology.cells if managed_element_of(c.cell) in elements)
    return Shard(region, topology.model_copy(update={"cells": cells}), owned)


def within(topology: Topology, cells: Collection[str], hops: int) -> frozenset[str]:
    """Cells within so many hops of the neighbour graph, either way along it."""
    network = Network.of(topology)
    near = {network.cell_index(cell) for cell in cells}
    for _ in range(hops):
        ahead = {n for c in near for n in network.neighbours[c]}
        behind = {c for c, around in enumerate(network.neighbours) if near & set(around)}
        near |= ahead | behind
    return frozenset(network.cells[c] for c in near)

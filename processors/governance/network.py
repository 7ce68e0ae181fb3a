"""Which managed elements and cells a network has, and at which index each cell stands."""

from functools import lru_cache

import numpy as np

from schemas.exceptions import InvalidName
from schemas.names import canonical, cell_of, managed_element_of
from schemas.topology import Topology


class NetworkIndex:
    """Names of a topology to indices. Names in Rel-18 spelling are found too.

    Parameters
    ----------
    elsewhere
        DNs of cells of the network that a region's topology lacks: users hear them, nobody here needs to know more.
    """

    def __init__(self, topology: Topology, elsewhere: frozenset[str] = frozenset()) -> None:
        self.topology, self._elsewhere = topology, elsewhere
        self.cells = {name: i for i, name in enumerate(topology.cell_names)}
        self.elements = {name: i for i, name in enumerate(topology.managed_elements)}
        self.element_of_cell = np.array([self.elements[managed_element_of(name)] for name in topology.cell_names])
        # What was refused once is refused again without parsing; bounded, because names come from outside.
        self._lookup = lru_cache(maxsize=65_536)(self._find)

    def cell(self, name: str) -> int | None:
        """Index of a cell, None if the topology lacks it."""
        index = self.cells.get(name)
        return self._lookup(name) if index is None else index

    def hears(self, name: str) -> bool:
        """Whether there is such a cell, here or elsewhere in the network."""
        return self.cell(name) is not None or name in self._elsewhere

    def _find(self, name: str) -> int | None:
        try:
            return self.cells.get(canonical(name))
        except InvalidName:
            return None

    def problem_with_object(self, managed_element: str, dn: str) -> str | None:
        """Why an object cannot be reported by a managed element, or None.

        An object below a cell must belong to a known cell; what stands above the cells needs the element alone.
        """
        try:
            if managed_element_of(dn) != managed_element:
                return f"{dn} belongs to another managed element than {managed_element}"
            cell = cell_of(dn)
        except InvalidName:
            return None  # belongs to no cell
        return None if cell in self.cells else f"the topology has no cell {cell}"

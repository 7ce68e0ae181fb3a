"""Stages: first one cluster of changes that can stand alone, then the rest."""

from collections.abc import Iterable, Sequence

from loops.outer.neighbours import NeighbourGraph
from schemas.base import Record
from schemas.levers import UNLOCKED
from schemas.names import cell_of, relation_target_of
from schemas.strategies import ConfigChange

CANARY, FULL = "canary", "full"


class Stage(Record):
    """Changes that are pushed together."""

    name: str
    changes: tuple[ConfigChange, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells it changes, in order of first appearance."""
        return changed_cells(self.changes)


def changed_cells(changes: Sequence[ConfigChange]) -> tuple[str, ...]:
    """Cells whose levers are touched, in order of first appearance."""
    return tuple(dict.fromkeys(cell_of(c.object) for c in changes))


def clusters(changes: Sequence[ConfigChange], graph: NeighbourGraph) -> list[list[ConfigChange]]:
    """Changes that make sense only together, in order of first appearance.

    Together belong: all changes of a cell; handover biases that answer each other (a towards b and b towards a, or
    else users bounce); a cell that is switched, and the neighbours that are changed to make up for it.

    Raises
    ------
    UnknownCell
        If a change touches a cell outside the topology.
    """
    cells = changed_cells(changes)
    parent = {c: c for c in cells}

    def root(cell: str) -> str:
        while parent[cell] != cell:
            cell = parent[cell]
        return cell

    biases = {(cell_of(c.object), relation_target_of(c.object)) for c in changes if _is_bias(c)}
    switched = {cell_of(c.object) for c in changes if c.attribute == "administrativeState"}
    links = [(a, b) for a, b in biases if (b, a) in biases or b in switched]
    links += [(a, b) for a in switched for b in graph.ring([a]) if b in parent and b not in switched]
    for a, b in sorted(links, key=lambda link: (cells.index(link[0]), cells.index(link[1]))):
        first, second = sorted((root(a), root(b)), key=cells.index)
        parent[second] = first
    together: dict[str, list[ConfigChange]] = {}
    for change in changes:
        graph.index(cell_of(change.object))
        together.setdefault(root(cell_of(change.object)), []).append(change)
    return list(together.values())


def stages_of(changes: Sequence[ConfigChange], graph: NeighbourGraph) -> tuple[Stage, ...]:
    """A canary of one cluster, and the rest where there is one."""
    first, *rest = clusters(changes, graph)
    stages = [Stage(name=CANARY, changes=in_safe_order(first))]
    if rest:
        stages.append(Stage(name=FULL, changes=in_safe_order([c for cluster in rest for c in cluster])))
    return tuple(stages)


def _is_bias(change: ConfigChange) -> bool:
    return change.attribute == "cellIndividualOffset"


def in_safe_order(changes: Iterable[ConfigChange]) -> tuple[ConfigChange, ...]:
    """Cells are switched on before anything else and off after it."""

    def rank(change: ConfigChange) -> int:
        if change.attribute != "administrativeState":
            return 1
        return 0 if change.value == UNLOCKED else 2

    return tuple(sorted(changes, key=rank))

"""What outcomes of pushed changes teach: by how much more or less than predicted a change moved a cell.

Telemetry alone shows the twin's misses where the network happens to be; an outcome shows what it misses of a change. It
becomes a pair for the residual model: the cell as the twin predicts it before and after the change, and what the
difference of corrections between the two should have been.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from loops.learning.residual import Pair
from schemas.strategies import ConfigChange
from twin_core.exceptions import TwinError
from twin_core.flow.power import dynamic_share
from twin_core.kpis import kpi_index
from twin_core.learned.memory import FLOOR
from twin_core.learned.residual_model import CORRECTED, ResidualModel, inputs_of
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

# An observation further from the prediction than this is an accident, not a lesson.
_LARGEST = 1.0


class Moved(NamedTuple):
    """By how much a KPI of a cell was predicted to change, and by how much it did, in the KPI's unit."""

    cell: str
    kpi: str
    predicted: float
    observed: float


@dataclass(frozen=True)
class Lesson:
    """A stage that is over.

    Attributes
    ----------
    before, after
        Its attributes at the fallback's values and at the strategy's.
    moved
        What became of its cells.
    """

    before: tuple[ConfigChange, ...]
    after: tuple[ConfigChange, ...]
    moved: tuple[Moved, ...]


def pairs_of(twin: Twin, lessons: Sequence[Lesson]) -> tuple[Pair, ...]:
    """What lessons say, seen from a twin of now; a change that no longer fits the network says nothing."""
    return tuple(pair for lesson in lessons for pair in _pairs(twin, lesson))


def _pairs(twin: Twin, lesson: Lesson) -> list[Pair]:
    try:
        (before, start), (after, _) = (_inputs(twin, changes) for changes in (lesson.before, lesson.after))
    except TwinError:
        return []
    places = {cell: c for c, cell in enumerate(twin.network.cells)}
    missed = torch.full((len(places), len(CORRECTED)), torch.nan)
    for cell, kpi, predicted, observed in lesson.moved:
        if cell in places and kpi in CORRECTED:
            c, base, floor = places[cell], float(start[kpi_index(kpi), places[cell]]), FLOOR[kpi]
            seen, said = base + observed + floor, base + predicted + floor
            if seen > 0 and said > 0:
                missed[c, CORRECTED.index(kpi)] = max(-_LARGEST, min(_LARGEST, math.log(seen / said)))
    told = torch.nonzero(~missed.isnan().all(dim=1))[:, 0].tolist()
    return [Pair(before[c], after[c], missed[c]) for c in told]


def _inputs(twin: Twin, changes: Sequence[ConfigChange]) -> tuple[torch.Tensor, torch.Tensor]:
    """[C, F] inputs of the residual model, and [M, C] KPIs, as the twin predicts them under these values."""
    plain = twin.without_model(ResidualModel.NAME)
    configuration = plain.configuration.with_changes(plain.network, changes)
    kpis = rollout(plain, configuration, Scenarios.nominal(plain.network)).kpis[0, 0]
    share = dynamic_share(configuration.tx_power_dbm, plain.network.rated_dbm)
    return inputs_of(plain.memory, kpis, share).float(), kpis

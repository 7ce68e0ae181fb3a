"""What outcomes of pushed changes teach: by how much more or less than predicted a change moved a cell.

Telemetry alone shows the twin's misses where the network happens to be; an outcome shows what it misses of a change. It
becomes a pair for the residual model: the cell as the twin predicts it before and after the change, and what the
difference of corrections between the two should have been.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from loops.learning.residual import Pair
from schemas.plans import Outcome
from schemas.strategies import ConfigChange
from twin_core.exceptions import TwinError
from twin_core.kpis import kpi_index
from twin_core.memory import FLOOR
from twin_core.power import dynamic_share
from twin_core.residual_model import CORRECTED, ResidualModel, inputs_of
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

# With fewer control cells an observed change is mostly what the whole network did.
_FEWEST_CONTROLS = 3
# An observation further from the prediction than this is an accident, not a lesson.
_LARGEST = 1.0


@dataclass(frozen=True)
class Lesson:
    """A stage that is over.

    Attributes
    ----------
    before, after
        Its attributes at the fallback's values and at the strategy's.
    outcomes
        Of its cells.
    """

    before: tuple[ConfigChange, ...]
    after: tuple[ConfigChange, ...]
    outcomes: tuple[Outcome, ...]


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
    for outcome in lesson.outcomes:
        if outcome.cell in places and outcome.kpi in CORRECTED and outcome.controls >= _FEWEST_CONTROLS:
            c, k = places[outcome.cell], CORRECTED.index(outcome.kpi)
            base, floor = float(start[kpi_index(outcome.kpi), c]), FLOOR[outcome.kpi]
            seen, said = (torch.tensor(base + change + floor) for change in (outcome.observed, outcome.predicted))
            if float(seen) > 0 and float(said) > 0:
                missed[c, k] = (seen.log() - said.log()).clamp(-_LARGEST, _LARGEST)
    told = torch.nonzero(~missed.isnan().all(dim=1))[:, 0].tolist()
    return [Pair(before[c], after[c], missed[c]) for c in told]


def _inputs(twin: Twin, changes: Sequence[ConfigChange]) -> tuple[torch.Tensor, torch.Tensor]:
    """[C, F] inputs of the residual model, and [M, C] KPIs, as the twin predicts them under these values."""
    plain = twin.without_model(ResidualModel.NAME)
    configuration = plain.configuration.with_changes(plain.network, changes)
    kpis = rollout(plain, configuration, Scenarios.nominal(plain.network)).kpis[0, 0]
    share = dynamic_share(configuration.tx_power_dbm, plain.network.rated_dbm)
    return inputs_of(plain.memory, kpis, share).float(), kpis

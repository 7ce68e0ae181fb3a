"""Epochs in, features and anomaly scores out: governance, windows, features, scores as one operator with one state.

The twin closes a period at its barrier. Features may wait longer: late PM still enters windows that are open.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from processors.anomalies import AnomalyBlock, AnomalyOperator, AnomalyState
from processors.collector import Epoch
from processors.encoding import pack, unpack
from processors.epoch import EpochGovernance, GovernedEpoch
from processors.features import COUNTERS, FeatureBlock, FeatureOperator
from processors.governance.limits import CELL_COLUMNS
from processors.governance.settings import GovernanceSettings
from processors.governance.state import GovernanceState
from processors.operator import Step
from processors.windows import Rows, WindowOperator, WindowSpec, WindowState
from schemas.names import managed_element_of
from schemas.topology import Topology
from streams.serde import Serde

_KIND, _VERSION = "feature-sync", 2
assert COUNTERS == CELL_COLUMNS, "features are made of governed tables"


class FeatureState(NamedTuple):
    """What governance remembers, the open windows, and what is usual of each cell."""

    governance: GovernanceState
    windows: WindowState
    anomalies: AnomalyState


class FeatureSync:
    """The operator behind the features role.

    Parameters
    ----------
    topology, serde, governance_settings
        As for :class:`processors.epoch.EpochGovernance`.
    spec
        Windows and how long they wait.
    """

    name = "features"

    def __init__(
        self,
        topology: Topology,
        serde: Serde,
        spec: WindowSpec,
        governance_settings: GovernanceSettings | None = None,
    ) -> None:
        self.topology, self.spec = topology, spec
        self.governance = EpochGovernance(topology, serde, governance_settings)
        elements = topology.managed_elements
        self._elements = len(elements)
        self._element_of = np.array([elements.index(managed_element_of(c)) for c in topology.cell_names])
        self.anomalies = AnomalyOperator(len(topology.cells))
        self.features = FeatureOperator(WindowOperator(self._elements, len(COUNTERS), spec))

    def initial(self) -> FeatureState:
        """Nothing seen."""
        return FeatureState(self.governance.initial(), self.features.initial(), self.anomalies.initial())

    def process(
        self, state: FeatureState, batch: Sequence[Epoch]
    ) -> Step[FeatureState, FeatureBlock | AnomalyBlock, Rows]:
        """Features and scores of the windows that the epochs complete, and the rows that came too late for theirs.

        Late events and dead letters are the twin role's to produce; here they are only left out.
        """
        blocks: list[FeatureBlock | AnomalyBlock] = []
        late: list[Rows] = []
        for epoch in batch:
            governed = self.governance.process(state.governance, [epoch])
            step = self.features.process(state.windows, self._rows(governed.outputs[0]))
            scored = self.anomalies.process(state.anomalies, step.outputs)
            blocks += [*step.outputs, *scored.outputs]
            late += step.late
            state = FeatureState(governed.state, step.state, scored.state)
        return Step(state, tuple(blocks), tuple(late))

    def _rows(self, epoch: GovernedEpoch) -> Rows:
        """Stragglers, the epoch's tables, and the word that all elements have come this far."""
        late = epoch.stragglers
        rows = Rows(self._element_of[late.cell], late.cell, late.period_end_ms, late.counters)
        for table in epoch.tables:
            cells = np.flatnonzero(table.reported)
            times = np.full(len(cells), table.period_end_ms, dtype=np.int64)
            rows = rows.then(Rows(self._element_of[cells], cells, times, table.counters[cells]))
        return rows.then(Rows.marks(self._elements, epoch.period_end_ms - self.spec.lateness_ms, len(COUNTERS)))

    def dump(self, state: FeatureState) -> bytes:
        """All states as one payload; equal states give equal bytes."""
        parts = {
            "governance": self.governance.dump(state.governance),
            "windows": self.features.dump(state.windows),
            "anomalies": self.anomalies.dump(state.anomalies),
        }
        return pack(_KIND, _VERSION, {}, {name: np.frombuffer(data, dtype=np.uint8) for name, data in parts.items()})

    def load(self, data: bytes) -> FeatureState:
        """The state from its bytes; raises WrongState if it belongs to other cells or windows."""
        _, parts = unpack(_KIND, _VERSION, data)
        return FeatureState(
            self.governance.load(parts["governance"].tobytes()),
            self.features.load(parts["windows"].tobytes()),
            self.anomalies.load(parts["anomalies"].tobytes()),
        )

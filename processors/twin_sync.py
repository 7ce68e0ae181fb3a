"""Twin sync: epochs in, revisions out. Governance and the twin together, as one operator with one state.

This is everything that decides what a revision is; the role around it only reads, writes and saves. Replay runs the
same operator over the same epochs and must get the same state hashes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from processors.collector import Epoch
from processors.encoding import pack, unpack
from processors.epoch import EpochGovernance, GovernedEpoch
from processors.exceptions import WrongState
from processors.governance.limits import CELL_COLUMNS, ELEMENT_COLUMNS
from processors.governance.scope import Scope
from processors.governance.settings import GovernanceSettings
from processors.governance.state import GovernanceState
from processors.operator import Step
from processors.promotions import Promotion, Refusal, models_of, take_up
from schemas.dead_letters import DeadLetter, LateEvent
from schemas.names import managed_element_of
from schemas.topology import Topology
from streams.frontier import Frontier, from_keys, to_keys
from streams.serde import Serde
from twin_core.observation import PeriodObservation
from twin_core.regions import Shard, regions_of, shard_of
from twin_core.settings import TwinSettings
from twin_core.twin import Twin

_KIND, _VERSION = "twin-sync", 1
_POWER = ELEMENT_COLUMNS.index("PEE.AvgPower")


GovernanceStep = Step[GovernanceState, GovernedEpoch, LateEvent]


class TwinState(NamedTuple):
    """The twin, and what governance remembers."""

    twin: Twin
    governance: GovernanceState

    @property
    def frontier(self) -> Frontier:
        """Next offset of every partition of telemetry."""
        return {at: n for at, n in from_keys(self.twin.frontier).items() if at not in self.promotions}

    @property
    def promotions(self) -> Frontier:
        """Next offset behind the promotions of learned models that the twin has taken up."""
        return models_of(from_keys(self.twin.frontier))


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision and what it was made of.

    Attributes
    ----------
    state
        The twin after the epoch, with governance.
    epoch, observation
        What the network reported, as governance and as the twin see it.
    predicted
        KPI to [C]: what the twin before had expected of this period.
    refused
        Promotions that came with it and could not be used.
    """

    state: TwinState
    epoch: GovernedEpoch
    observation: PeriodObservation
    predicted: dict[str, NDArray[np.float64]]
    refused: tuple[Refusal, ...] = ()

    @property
    def twin(self) -> Twin:
        """The twin after the epoch."""
        return self.state.twin


class TwinSync:
    """The operator that keeps the twin of one network in step.

    Parameters
    ----------
    topology, serde, governance_settings
        As for :class:`processors.epoch.EpochGovernance`.
    twin_settings
        Of a twin that begins; one that goes on has them in its state.
    region
        Whose twin it is; None: of a network with one region.

    Raises
    ------
    UnknownObject
        If the network has no such region.
    """

    name = "twin"

    def __init__(
        self,
        topology: Topology,
        serde: Serde,
        governance_settings: GovernanceSettings | None = None,
        twin_settings: TwinSettings | None = None,
        region: str | None = None,
    ) -> None:
        self.regions = regions = regions_of(topology)
        self.shard = shard_of(topology, region or regions[0])
        self.topology = self.shard.topology
        # Cells of the network that this region does not hear.
        self.elsewhere = frozenset(topology.cell_names) - frozenset(self.topology.cell_names)
        scope = scope_of(topology, self.shard) if len(regions) > 1 else None
        self.governance = EpochGovernance(self.topology, serde, governance_settings, scope)
        self._twin_settings = twin_settings

    def initial(self, survey_db: Tensor | None = None) -> TwinState:
        """A twin that has seen nothing yet; of the path loss [P, C] that is known beforehand, if any."""
        return TwinState(Twin.create(self.topology, self._twin_settings, survey_db), self.governance.initial())

    def process(self, state: TwinState, batch: Sequence[Epoch]) -> Step[TwinState, Revision, LateEvent]:
        """One revision for each epoch."""
        revisions: list[Revision] = []
        late: list[LateEvent] = []
        dead: list[DeadLetter] = []
        for epoch in batch:
            step = self.govern(state, epoch)
            revision = self.apply(state, step)
            revisions.append(revision)
            state = revision.state
            late += step.late
            dead += step.dead_letters
        return Step(state, tuple(revisions), tuple(late), tuple(dead))

    def govern(self, state: TwinState, epoch: Epoch) -> GovernanceStep:
        """The first half of a revision: what the epoch says, what was late, what was refused."""
        return self.governance.process(state.governance, [epoch])

    def apply(self, state: TwinState, step: GovernanceStep) -> Revision:
        """The second half: the twin after it."""
        (governed,) = step.outputs
        before = state.twin
        observation = observation_of(governed)
        if np.array_equal(~governed.out_of_service, before.environment.in_service.numpy()):
            # Saying so again would make the twin solve its physics anew.
            observation = replace(observation, cells_out_of_service=np.zeros(0, dtype=bool))
        twin = before.apply(observation, {**to_keys(state.promotions), **to_keys(governed.frontier)})
        predicted = {kpi: values.detach().cpu().numpy() for kpi, values in before.predicted.items()}
        return Revision(TwinState(twin, step.state), governed, observation, predicted)

    def take_up(self, revision: Revision, promotions: Sequence[Promotion]) -> Revision:
        """The same revision with learned models that were promoted: it is the first to predict with them."""
        if not promotions:
            return revision
        twin, refused = take_up(revision.twin, promotions)
        seen = {p.at: p.offset + 1 for p in promotions}
        twin = replace(twin, frontier={**twin.frontier, **to_keys(seen)})
        return replace(revision, state=TwinState(twin, revision.state.governance), refused=refused)

    def dump(self, state: TwinState) -> bytes:
        """Twin and governance as one snapshot payload; equal states give equal bytes."""
        parts = {"twin": state.twin.snapshot(), "governance": self.governance.dump(state.governance)}
        return pack(_KIND, _VERSION, {}, {name: np.frombuffer(data, dtype=np.uint8) for name, data in parts.items()})

    def load(self, data: bytes) -> TwinState:
        """The state from its bytes.

        Raises
        ------
        WrongState
            If the snapshot was made with another topology.
        TwinError
            If the twin's part is corrupt or of another version.
        """
        _, parts = unpack(_KIND, _VERSION, data)
        twin = Twin.restore(parts["twin"].tobytes())
        if twin.network.topology != self.topology:
            raise WrongState(
                f"the saved twin was made with another topology than network {self.topology.network_id} has now",
                "give the changed network another network_id, or delete its snapshots to replay its telemetry",
            )
        return TwinState(twin, self.governance.load(parts["governance"].tobytes()))


def scope_of(topology: Topology, shard: Shard) -> Scope:
    """What a region of a network hears and answers for."""
    halo = frozenset(managed_element_of(cell) for cell in shard.halo)
    elsewhere = frozenset(topology.managed_elements) - halo - shard.elements
    cells = frozenset(topology.cell_names) - frozenset(shard.topology.cell_names)
    return Scope(shard.elements, halo, elsewhere, cells, shard.region == regions_of(topology)[0])


def twin_of(payload: bytes) -> Twin:
    """The twin in a snapshot payload that :meth:`TwinSync.dump` wrote, without governance: for those who only fork it.

    Raises
    ------
    WrongState
        If these bytes are no such payload.
    """
    _, parts = unpack(_KIND, _VERSION, payload)
    return Twin.restore(parts["twin"].tobytes())


def observation_of(epoch: GovernedEpoch) -> PeriodObservation:
    """What the twin sees of a governed epoch."""
    counters, measured = epoch.now.counters, epoch.measurements
    return PeriodObservation(
        period_end_ms=epoch.period_end_ms,
        granularity_s=epoch.granularity_s,
        counters={name: counters[:, k] for k, name in enumerate(CELL_COLUMNS)},
        element_power_w=epoch.now.elements[:, _POWER],
        mr_cell_rsrp=measured.rsrp_dbm,
        mr_serving=measured.serving,
        mr_sinr_db=measured.sinr_db,
        mr_x_m=measured.x_m,
        mr_y_m=measured.y_m,
        configuration=epoch.configuration,
        cells_out_of_service=epoch.out_of_service,
    )

"""The twin: a value that follows a live network period by period."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from schemas.topology import Topology
from twin_core import fidelity, snapshot
from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.exceptions import InvalidConfiguration, InvalidObservation, UnknownObject
from twin_core.fidelity import RSRP, KpiScore, Sample
from twin_core.fit.calibration import Measured, assimilate
from twin_core.fit.demand_fit import growth
from twin_core.fit.radio_fit import Reports, rsrp_error_db
from twin_core.flow.slices import SliceState
from twin_core.kpis import KPIS, POWER, USERS, VOLUME, kpis_of
from twin_core.learned.demand_model import DemandModel
from twin_core.learned.memory import Memory
from twin_core.learned.models import Model
from twin_core.learned.reading import read_model
from twin_core.learned.residual_model import Correction, ResidualModel
from twin_core.network import Network
from twin_core.observation import PeriodObservation
from twin_core.physics import Physics, corrected_rsrp
from twin_core.radio.handover import Attachment
from twin_core.settings import TwinSettings

Tensor = torch.Tensor

# What is counted in a twin's marks.
ABSURD = "values outside the range of their counter or measurement"
UNLIKELY = "RSRP far from all that was measured of its cell"
NOT_FINITE = "estimates that came out not finite and were kept as before"
NOT_UNDERSTOOD = "configuration values that the twin cannot place"

Expectation = tuple[Tensor, Tensor]
_ONE = torch.ones(1, dtype=torch.long)

MODEL_VERSIONS = {"physics": "first-1", "field": "kernel-1", "demand": "level-trend-1"}


def _mark(marks: dict[str, int], reason: str, count: int) -> None:
    if count:
        marks[reason] = marks.get(reason, 0) + count


def _by_name(kpis: Tensor, names: tuple[str, ...] = KPIS) -> dict[str, Tensor]:
    return {kpi: kpis[i] for i, kpi in enumerate(names)}


@dataclass(frozen=True, eq=False)
class Twin:
    """Network, configuration and environment at one revision, with what has been consumed to get there.

    Nothing is ever changed in place: `apply` returns the next revision, and a failed `apply` leaves nothing behind.

    Attributes
    ----------
    network
        As built.
    configuration
        In force at the end of the latest period.
    environment
        As learned from telemetry.
    settings
        Of physics, calibration and fidelity.
    revision
        Counts periods applied.
    frontier
        Next offset of every input partition, keyed "topic/partition"; opaque to the twin.
    period_end_ms
        End of the latest period; 0 before the first.
    fidelity
        Score of each KPI.
    marks
        What was ignored so far, by reason, counted.
    model_versions
        Which models the twin predicts with.
    memory
        What is remembered of each cell for learned models.
    slices
        What is learned of each cell's slices.
    models
        Learned models in force, by name.
    """

    network: Network
    configuration: Configuration
    environment: Environment
    memory: Memory
    slices: SliceState
    settings: TwinSettings = field(default_factory=TwinSettings)
    revision: int = 0
    frontier: Mapping[str, int] = field(default_factory=dict)
    period_end_ms: int = 0
    fidelity: Mapping[str, KpiScore] = field(default_factory=dict)
    marks: Mapping[str, int] = field(default_factory=dict)
    model_versions: Mapping[str, str] = field(default_factory=lambda: dict(MODEL_VERSIONS))
    models: Mapping[str, Model] = field(default_factory=dict)

    @classmethod
    def create(
        cls, topology: Topology, settings: TwinSettings | None = None, survey_db: Tensor | None = None
    ) -> "Twin":
        """A twin that has seen nothing yet.

        Parameters
        ----------
        topology, settings
            Of the network and of the twin.
        survey_db
            [P, C] path loss that is known beforehand, without antennas, NaN where unknown: what
            `twin_core.exchange.survey_files` or `twin_core.radio.survey` give. It travels in snapshots.

        Raises
        ------
        InvalidSurvey
            If it does not fit the network.

        Examples
        --------
        >>> from twin_core.layouts import hexagonal
        >>> twin = Twin.create(hexagonal(sites=7))
        >>> twin.revision, twin.gate_open
        (0, False)
        """
        settings = settings or TwinSettings()
        network = Network.of(topology, settings.physics.pixels_per_isd)
        if survey_db is not None:
            # A copy, as twins are values, and one NaN for all, as equal surveys must give equal hashes.
            network = network.surveyed(torch.where(survey_db.isnan(), torch.nan, survey_db))
        return cls(
            network=network,
            configuration=Configuration.default(network),
            environment=Environment.prior(network, settings),
            memory=Memory.empty(len(network.cells)),
            slices=SliceState.prior(len(network.cells), len(network.slices)),
            settings=settings,
            fidelity=fidelity.unscored(settings.fidelity, kpis_of(network)),
        )

    def fork(self) -> "Twin":
        """A twin to try things on. Values are never changed in place, so that nothing is copied."""
        return replace(self)

    @property
    def gate_open(self) -> bool:
        """Whether measured fidelity lets the outer loop act."""
        return fidelity.gate_open(self.fidelity, self.settings.fidelity)

    @cached_property
    def rsrp_dbm(self) -> Tensor:
        """[P, C] RSRP under the present configuration."""
        return corrected_rsrp(self.network, self.environment, self.configuration, self.settings)

    @cached_property
    def physics(self) -> Physics:
        """The present configuration in the present environment, in float64."""
        return Physics.of(self.network, self.environment, self.configuration, self.settings, rsrp=self.rsrp_dbm)

    @cached_property
    def predicted(self) -> dict[str, Tensor]:
        """KPI to [C], expected of the next period under the present configuration."""
        return self._named(self._corrected(self.physics, self._expected, _ONE)[0])

    def _named(self, kpis: Tensor) -> dict[str, Tensor]:
        return _by_name(kpis, kpis_of(self.network))

    @cached_property
    def _expected(self) -> Expectation:
        return self._expect(self.physics, _ONE)

    def forecast(self, ahead: Tensor) -> Tensor:
        """[T, M, C] expected under the present configuration so many periods ahead ([T])."""
        return self._corrected(self.physics, self._expect(self.physics, ahead), ahead)

    def uncorrected(self, ahead: Tensor) -> Tensor:
        """[T, M, C] of whole cells, without the correction of residuals: what such a correction is learned upon."""
        return self._expect(self.physics, ahead)[0]

    def _expect(self, physics: Physics, ahead: Tensor) -> Expectation:
        factor = self.growth(ahead)[:, None]
        demand, users = self.environment.demand_kbps * factor, self.environment.users * factor
        if (turned := self.demand_factors(ahead)) is not None:
            demand, users = demand * turned[0], users * turned[1]
        loads = physics.loads(demand, users, self.environment.load)
        return physics.kpis(loads, demand, users)

    def _corrected(
        self, physics: Physics, expected: Expectation, ahead: Tensor, configuration: Configuration | None = None
    ) -> Tensor:
        """[T, M, C] with the learned correction, and with slices."""
        if (correction := self.correction()) is not None:
            expected = correction(*expected, physics.cells, physics.on_air, ahead)
        ratios, fitted = (configuration or self.configuration).ratios, self.configuration.ratios
        return self.slices.extend(*expected, ratios, fitted, self.network.prbs * physics.on_air)[0]

    def growth(self, ahead: Tensor) -> Tensor:
        """[T] the twin's own factor on present demand, so many periods ahead."""
        step_ms = self.network.topology.granularity_s * 1000
        return growth(self.environment, self.period_end_ms, step_ms, ahead, self.settings.calibration.trend_damping)

    def demand_factors(self, ahead: Tensor) -> tuple[Tensor, Tensor] | None:
        """[T, P] factors of a learned forecast on demand and on users of each pixel; None without such a model."""
        model = self.models.get(DemandModel.NAME)
        if not isinstance(model, DemandModel):
            return None
        attachment = self.physics.attachment
        here = self.offered(attachment)
        factors = model.factors(self.memory, *here, self.growth(model.horizons.long()), ahead)
        demand, users = factors @ attachment.dense(len(self.network.cells)).T
        return demand, users

    def offered(self, attachment: Attachment) -> tuple[Tensor, Tensor]:
        """[C] kbit/s and [C] users of the twin's map in each cell, under some attachment."""
        cells = len(self.network.cells)
        demand = attachment.per_cell(self.environment.demand_kbps, cells)
        return demand, attachment.per_cell(self.environment.users, cells)

    def correction(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Correction | None:
        """The learned correction of KPIs; None without such a model."""
        model = self.models.get(ResidualModel.NAME)
        return Correction(model, self.memory, dtype, device) if isinstance(model, ResidualModel) else None

    def with_model(self, name: str, version: str, parameters: bytes) -> "Twin":
        """The same revision, predicting with a learned model.

        Parameters
        ----------
        parameters
            Safetensors or JSON, see `twin_core.learned.models`.

        Raises
        ------
        InvalidModel
            If it cannot be read, holds NaN, or does not fit the network.
        """
        return self.holding(read_model(name, version, parameters, len(self.network.cells)))

    def holding(self, model: Model) -> "Twin":
        """The same revision, predicting with a learned model that has been checked."""
        return self._with_models({**self.models, model.NAME: model})

    def without_model(self, name: str) -> "Twin":
        """The same revision, predicting without the learned model of that name."""
        return self._with_models({kept: model for kept, model in self.models.items() if kept != name})

    def _with_models(self, models: Mapping[str, Model]) -> "Twin":
        versions = {**MODEL_VERSIONS, **{name: model.version for name, model in models.items()}}
        twin = replace(self, models=dict(sorted(models.items())), model_versions=versions)
        if "physics" in vars(self):
            vars(twin)["physics"] = self.physics  # models change no physics: what was solved is not solved again
        return twin

    def apply(self, observation: PeriodObservation, frontier: Mapping[str, int]) -> "Twin":
        """The next revision: scores this twin's prediction for the period, then learns from it.

        Parameters
        ----------
        observation
            Telemetry of the period, with the configuration that was in force.
        frontier
            What will have been consumed.

        Raises
        ------
        InvalidObservation
            If the observation has the wrong shape, or its period is not after the latest one.
        """
        cells = len(self.network.cells)
        observation.check(cells, len(self.network.elements))
        if observation.period_end_ms <= self.period_end_ms:
            raise InvalidObservation(
                f"period ending {observation.period_end_ms} is not after {self.period_end_ms}, the latest applied; "
                "apply periods in order, once"
            )
        marks = dict(self.marks)
        configuration = self._configured(observation, marks)
        environment = self.environment
        in_service = torch.from_numpy(~np.asarray(observation.cells_out_of_service, dtype=np.bool_))
        if len(in_service) and not torch.equal(in_service, environment.in_service):
            environment = replace(environment, in_service=in_service)
        measured = Measured.of(observation, self.network)
        reports = Reports.of(observation, self.network)

        same = configuration.same_as(self.configuration) and environment is self.environment
        physics = self.physics if same else Physics.of(self.network, environment, configuration, self.settings)
        expected = self._expected if same else self._expect(physics, _ONE)
        predicted = self.predicted if same else self._named(self._corrected(physics, expected, _ONE, configuration)[0])
        samples = self._samples(predicted, measured)
        error = rsrp_error_db(reports, physics.rsrp)
        rsrp = fidelity.rsrp_sample(error, self.settings.fidelity.rsrp_reference_db)
        if rsrp is not None:
            samples[RSRP] = rsrp
        memory = self.memory
        if not same:
            memory = memory.moved(
                self.offered(self.physics.attachment),
                self.offered(physics.attachment),
                self.physics.on_air & physics.on_air,
            )
        served = measured.by_kpi[VOLUME] / observation.granularity_s
        memory = memory.after(served, measured.by_kpi[USERS], measured.by_kpi, _by_name(expected[0][0]), physics.on_air)
        given: dict[str, Sample] = {}
        slices = self.slices
        _mark(marks, ABSURD, measured.ignored + reports.ignored)
        if self.settings.calibrate:
            result = assimilate(self.network, environment, configuration, self.settings, observation, measured, reports)
            _mark(marks, UNLIKELY, result.unlikely)
            environment, broken = result.environment.or_where_not_finite(environment)
            _mark(marks, NOT_FINITE, broken)
            given = self._samples(result.given_demand, measured)
            slices = self.slices.learned(measured.by_slice, measured.by_kpi, configuration.ratios)
        return replace(
            self,
            configuration=configuration,
            environment=environment,
            revision=self.revision + 1,
            frontier=dict(frontier),
            period_end_ms=observation.period_end_ms,
            fidelity=fidelity.update(self.fidelity, samples, given, self.settings.fidelity),
            marks=marks,
            memory=memory,
            slices=slices,
        )

    def _configured(self, observation: PeriodObservation, marks: dict[str, int]) -> Configuration:
        """The configuration after the reported values; what the twin cannot place is marked, not fatal."""
        configuration = self.configuration
        try:
            if observation.configuration:
                configuration = configuration.with_values(self.network, observation.configuration)
        except (UnknownObject, InvalidConfiguration):
            for item in observation.configuration.items():
                try:
                    configuration = configuration.with_values(self.network, [item])
                except (UnknownObject, InvalidConfiguration):
                    _mark(marks, NOT_UNDERSTOOD, 1)
        return configuration if not configuration.same_as(self.configuration) else self.configuration

    def _samples(self, predicted: Mapping[str, Tensor], measured: Measured) -> dict[str, Sample]:
        out = {}
        for kpi, value in predicted.items():
            if kpi == POWER:
                by_element = torch.zeros(len(self.network.elements), dtype=torch.float64)
                sample = fidelity.wape(
                    by_element.index_add_(0, self.network.element_of, value), measured.element_power_w
                )
            elif kpi in measured.by_kpi:
                sample = fidelity.wape(value, measured.by_kpi[kpi])
            else:
                continue
            if sample is not None:
                out[kpi] = sample
        return out

    def snapshot(self) -> bytes:
        """Everything that `restore` needs, as safetensors; the same twin gives the same bytes."""
        return snapshot.dump(snapshot.State(**{name: getattr(self, name) for name in snapshot.FIELDS}))

    @classmethod
    def restore(cls, data: bytes) -> "Twin":
        """The twin that `snapshot` wrote, bit for bit.

        Raises
        ------
        SnapshotVersion
            If another format version wrote it.
        SnapshotCorrupt
            If it is truncated, altered, or no snapshot.
        """
        state = snapshot.load(data)
        return cls(**{name: getattr(state, name) for name in snapshot.FIELDS})

    def state_hash(self) -> str:
        """BLAKE2b over the canonical bytes of the state: equal exactly when two twins are."""
        return snapshot.digest(snapshot.State(**{name: getattr(self, name) for name in snapshot.FIELDS}))

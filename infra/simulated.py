"""A twin beside the reference network, both in memory: for notebooks, benches and trying agents, without services."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.line_protocol.layouts import Translation
from infra.line_protocol.messages import Command, Inject, RawChange, Start
from infra.line_protocol.reception import receive
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from infra.roles.base import Context
from infra.roles.bridge_telemetry import TelemetryWriter
from infra.settings import Settings
from processors.collector import Epoch
from processors.epoch import EpochGovernance
from processors.epoch_reader import EpochReader
from processors.governance.state import GovernanceState
from processors.twin_sync import observation_of
from schemas.counters import NR_CELL_V1
from schemas.names import managed_element_of
from schemas.plans import AckStatus
from schemas.strategies import ConfigChange
from schemas.topics import TOPICS
from schemas.topology import Topology
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from twin_core.observation import PeriodObservation
from twin_core.twin import Twin

_NETWORK = "simulated"
_MIDNIGHT_MS = 1_768_176_000_000
# Coarser than the network's own: what a twin sees hardly differs, and a period takes a tenth of the time.
_PARAMETERS: Mapping[str, object] = {"time.step_s": 1.0}
# The reference network speaks in common layouts.
_AS_IT_IS = Translation((), NR_CELL_V1)


def followed(
    periods: int = 60, *, seed: int = 1, hour: float = 12.0, parameters: Mapping[str, object] | None = None
) -> Twin:
    """The twin of a simulated network after some periods.

    Parameters
    ----------
    periods
        Granularity periods (minutes) that it has seen.
    seed
        Of the network.
    hour
        Of the day at which it begins.
    parameters
        Of the network, as `twinloop network run --set`.
    """
    return SimulatedNetwork(seed, hour, parameters).twin(periods)


def run_period(network: ReferenceNetwork, writer: TelemetryWriter, network_id: str) -> None:
    """Run a network for a granularity period and write what it tells, as the bridge does."""
    lines = [
        receive({"topic": told, "event": json.loads(text)}, text.encode(), network_id, _AS_IT_IS)
        for told, text in network.step()
        if told is not None
    ]
    writer.write(lines, network.now_ms)
    writer.close_period(network.now_ms)


class SimulatedNetwork:
    """The reference network, and what a twin sees of it: through governance, with topics in memory.

    Parameters
    ----------
    seed, hour, parameters
        As `followed`.
    """

    def __init__(self, seed: int, hour: float = 12.0, parameters: Mapping[str, object] | None = None) -> None:
        self._folder = TemporaryDirectory(prefix="twinloop-simulated-")
        given = Parameters.load(None, {**_PARAMETERS, **(parameters or {})})
        self.network = ReferenceNetwork(given, _NETWORK, Path(self._folder.name))
        list(self.network.start(Start(seed=seed, start_time_ms=_MIDNIGHT_MS + int(hour * 3_600_000))))
        self._see(None)

    def _see(self, state: GovernanceState | None) -> None:
        """Begin to observe."""
        self.topology = self.network.hello().topology
        self._context = Context(Settings(network_id=_NETWORK), _NETWORK, "1", MemoryTransport(), Serde(LocalIds()), "")
        self._context.transport.ensure_topics(TOPICS)
        self._governance = EpochGovernance(self.topology, self._context.serde)
        self._state = state or self._governance.initial()
        self._reader = EpochReader(self._context.transport, self._context.serde, _NETWORK, "simulated")
        self._reader.start({}, None)

    def periods(self, count: int) -> Iterator[PeriodObservation]:
        """Run, and say what was observed of each period."""
        for epoch in self.epochs(count):
            step = self._governance.process(self._state, [epoch])
            self._state = step.state
            yield from (observation_of(governed) for governed in step.outputs)

    def twin(self, periods: int) -> Twin:
        """Run, and follow it with a new twin."""
        twin = Twin.create(self.topology)
        for seen in self.periods(periods):
            twin = twin.apply(seen, {})
        return twin

    def epochs(self, count: int) -> Iterator[Epoch]:
        """Run; each period's messages, not governed yet."""
        writer = TelemetryWriter(self._context, self.topology.granularity_s)
        with closing(writer):
            for _ in range(count):
                run_period(self.network, writer, _NETWORK)
                yield from self._reader.read(1.0)

    def inject(self, fault: str, target: str, after_s: float, duration_s: float, **parameters: float) -> None:
        """Let a fault happen (`infra.network.faults`)."""
        self.network.inject(
            Inject(
                id=f"{fault}@{after_s}", fault=fault, target=target, delay_s=after_s, duration_s=duration_s,
                parameters=parameters,
            )
        )  # fmt: skip

    def apply(self, changes: Sequence[ConfigChange]) -> None:
        """Set attributes from now on.

        Raises
        ------
        RuntimeError
            If the network refuses.
        """
        for element in sorted({managed_element_of(c.object) for c in changes}):
            own = [c for c in changes if managed_element_of(c.object) == element]
            raw = [RawChange(object=c.object, attribute=c.attribute, value=c.value) for c in own]
            command = Command(id=f"{element}@{self.network.now_ms}", managed_element=element, changes=raw)
            answer = self.network.command(command)
            if answer is None or answer[0] is not AckStatus.APPLIED:
                raise RuntimeError(f"{element} refuses: {answer[1] if answer else 'no answer'}")
            list(answer[2])

    def fork(self) -> "SimulatedNetwork":
        """A copy at this moment, to which the same happens from outside."""
        copy = object.__new__(SimulatedNetwork)
        copy._folder = TemporaryDirectory(prefix="twinloop-simulated-")
        saved = Path(self.network.fork()[1])
        copy.network = ReferenceNetwork.resume(saved, Path(copy._folder.name))
        saved.unlink()
        copy._see(self._state)
        return copy


def observed(
    seed: int, hour: float, periods: int, parameters: Mapping[str, object] | None = None
) -> tuple[Topology, Iterator[PeriodObservation]]:
    """Topology and periods of a simulated network."""
    network = SimulatedNetwork(seed, hour, parameters)
    return network.topology, network.periods(periods)

"""A twin beside the reference network, both in memory: for notebooks, benches and trying agents, without services."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing

from infra.line_protocol.layouts import Translation
from infra.line_protocol.messages import Start
from infra.line_protocol.reception import receive
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from infra.roles.base import Context
from infra.roles.bridge_telemetry import TelemetryWriter
from infra.settings import Settings
from processors.epoch_reader import EpochReader
from processors.twin_sync import TwinSync, observation_of
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
    topology, observations = observed(seed, hour, periods, parameters)
    twin = Twin.create(topology)
    for seen in observations:
        twin = twin.apply(seen, {})
    return twin


def observed(
    seed: int, hour: float, periods: int, parameters: Mapping[str, object] | None = None
) -> tuple[Topology, Iterator[PeriodObservation]]:
    """What a twin sees of the reference network, through governance, with topics in memory."""
    network = ReferenceNetwork(Parameters.load(None, {**_PARAMETERS, **(parameters or {})}), _NETWORK)
    start_ms = _MIDNIGHT_MS + int(hour * 3_600_000)
    list(network.start(Start(seed=seed, start_time_ms=start_ms)))
    topology = network.hello().topology
    return topology, _observations(network, topology, start_ms, periods)


def _observations(
    network: ReferenceNetwork, topology: Topology, start_ms: int, periods: int
) -> Iterator[PeriodObservation]:
    transport, period_ms = MemoryTransport(), 1000 * topology.granularity_s
    transport.ensure_topics(TOPICS)
    context = Context(Settings(network_id=_NETWORK), _NETWORK, "1", transport, Serde(LocalIds()), "")
    sync = TwinSync(topology, context.serde)
    state = sync.initial().governance
    with (
        closing(EpochReader(transport, context.serde, _NETWORK, "simulated")) as reader,
        closing(TelemetryWriter(context, topology.granularity_s)) as writer,
    ):
        reader.start({}, None)
        for period in range(1, periods + 1):
            lines = [
                receive({"topic": told, "event": json.loads(text)}, text.encode(), _NETWORK, Translation(()))
                for told, text in network.step()
                if told is not None
            ]
            writer.write(lines, start_ms + period * period_ms)
            writer.close_period(start_ms + period * period_ms)
            for epoch in reader.read(1.0):
                step = sync.governance.process(state, [epoch])
                state = step.state
                yield from (observation_of(governed) for governed in step.outputs)

"""Whether the twin of the reference network can be trusted when it is fitted, and cannot when it is not.

The network simulates single users with a propagation law, clutter and scatter that the twin does not have.
"""

import pytest

from infra.line_protocol.messages import Start
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from infra.roles.base import Context
from infra.roles.bridge_telemetry import TelemetryWriter
from infra.settings import Settings
from infra.simulated import run_period
from processors.epoch_reader import EpochReader
from processors.twin_sync import TwinSync
from schemas.topics import TOPICS
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from twin_core.settings import TwinSettings
from twin_core.twin import Twin

# No service is needed, but minutes of a network: too long for the unit tests.
pytestmark = pytest.mark.integration

EVENING_MS = 1_768_244_400_000
PERIODS = 25


def reported(seed: int) -> tuple[Context, ReferenceNetwork]:
    """A network's telemetry of some periods, on topics in memory."""
    network = ReferenceNetwork(Parameters.load(None, {"time.step_s": 1.0}), "net")
    transport = MemoryTransport()
    transport.ensure_topics(TOPICS)
    context = Context(Settings(network_id="net"), "net", "1", transport, Serde(LocalIds()), "")
    writer = TelemetryWriter(context, 60)
    list(network.start(Start(seed=seed, start_time_ms=EVENING_MS)))
    for _ in range(PERIODS):
        run_period(network, writer, "net")
    return context, network


def twin_of(context: Context, network: ReferenceNetwork, settings: TwinSettings) -> Twin:
    """The twin after all of it."""
    sync = TwinSync(network.hello().topology, context.serde, None, settings)
    state = sync.initial()
    reader = EpochReader(context.transport, context.serde, "net", name="test")
    reader.start({}, None)
    while epochs := reader.read(0.0):
        for epoch in epochs:
            state = sync.apply(state, sync.govern(state, epoch)).state
    reader.close()
    assert state.twin.revision == PERIODS
    return state.twin


@pytest.mark.parametrize("seed", [101, 202])
def test_a_fitted_twin_passes_its_gate_and_an_unfitted_one_fails(seed: int) -> None:
    context, network = reported(seed)
    fitted = twin_of(context, network, TwinSettings())
    unfitted = twin_of(context, network, TwinSettings(calibrate=False))
    assert fitted.gate_open, {k: s.score for k, s in fitted.fidelity.items()}
    assert not unfitted.gate_open
    for kpi in ("RRU.PrbTotDl", "DRB.PdcpSduVolumeDL", "L1M.SS-RSRP"):
        assert fitted.fidelity[kpi].score > unfitted.fidelity[kpi].score + 0.1, kpi

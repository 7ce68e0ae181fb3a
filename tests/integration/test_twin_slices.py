"""What the twin says of other slice ratios, against forks of the reference network that are given them.

The twin has seen the default ratios alone. Stated tolerance: median over cells of the logarithm of the change.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.simulated import SimulatedNetwork
from schemas.counters import EMBB, URLLC, sliced
from schemas.names import slice_policy_dn
from schemas.strategies import ConfigChange
from twin_core.kpis import kpis_of
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

pytestmark = pytest.mark.integration

SEEN, AHEAD = 30, 8
FILES, PACKETS_WAIT, CELL = sliced("DRB.UEThpDl", EMBB), sliced("DRB.RlcSduDelayDl", URLLC), "DRB.UEThpDl"
# Ratios, and by how much each KPI must move at least (sign told) in the network for the comparison to mean anything.
CASES: list[tuple[str, dict[str, float], dict[str, float]]] = [
    (URLLC, {"rRMPolicyMaxRatio": 5.0}, {PACKETS_WAIT: 1.5}),
    (URLLC, {"rRMPolicyMinRatio": 30.0, "rRMPolicyDedicatedRatio": 30.0}, {FILES: -0.2, CELL: -0.2}),
    (EMBB, {"rRMPolicyMaxRatio": 60.0}, {FILES: -0.3, CELL: -0.3}),
]
# Packets behind a bound that binds wait in a queue that the twin sees the beginning of alone: direction and a factor.
TOLERANCE = {FILES: 0.4, CELL: 0.4, PACKETS_WAIT: 4.0}


def followed(seed: int, hour: float) -> tuple[SimulatedNetwork, Twin]:
    network = SimulatedNetwork(seed, hour)
    twin = Twin.create(network.topology)
    for seen in network.periods(SEEN):
        twin = twin.apply(seen, {})
    return network, twin


def live(network: SimulatedNetwork, kpi: str, changes: list[ConfigChange]) -> NDArray[np.float64]:
    fork = network.fork()
    fork.apply(changes)
    cells = len(network.topology.cells)
    seen = np.array([o.counter(kpi, cells) for o in fork.periods(AHEAD)])
    known = np.isfinite(seen).sum(axis=0)
    return np.where(known > 0, np.nan_to_num(seen).sum(axis=0) / np.maximum(known, 1), np.nan)


def said(twin: Twin, kpi: str, changes: list[ConfigChange]) -> NDArray[np.float64]:
    configuration = twin.configuration.with_changes(twin.network, changes)
    means = rollout(twin, configuration, Scenarios.nominal(twin.network, 1, AHEAD)).mean()[0][0]
    return np.asarray(means[kpis_of(twin.network).index(kpi)].numpy())


@pytest.mark.parametrize(("seed", "hour"), [(71, 19.0), (72, 9.0)])
def test_the_twin_foresees_what_other_ratios_do(seed: int, hour: float) -> None:
    network, twin = followed(seed, hour)
    for kpi in (sliced("DRB.PdcpSduVolumeDL", EMBB), FILES):
        assert twin.fidelity[kpi].score > 0.4, kpi
    for s_nssai, ratios, moved in CASES:
        changes = [
            ConfigChange(change_id="1", object=slice_policy_dn(cell, s_nssai), attribute=name, value=value)
            for cell in twin.network.cells
            for name, value in ratios.items()
        ]
        for kpi, least in moved.items():
            with np.errstate(divide="ignore", invalid="ignore"):
                true = float(np.nanmedian(np.log(live(network, kpi, changes) / live(network, kpi, []))))
                told = float(np.nanmedian(np.log(said(twin, kpi, changes) / said(twin, kpi, []))))
            assert np.sign(least) * true > abs(least), f"the network hardly minds {ratios}: {kpi} {true:+.2f}"
            assert np.sign(told) == np.sign(true), (ratios, kpi, told, true)
            assert abs(told) > abs(least) / 2, (ratios, kpi, told, true)
            assert abs(told - true) < TOLERANCE[kpi], (ratios, kpi, told, true)

"""Views for tests of agents: 21 cells whose loads a test sets as it likes, with every agent's own past."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from loops.agents.agent import Attempt, Fate, NetworkView
from schemas.counters import S_NSSAIS, URLLC, sliced
from schemas.ndt import Diagnosis
from schemas.strategies import Strategy
from schemas.topology import NetworkSlice
from twin_core.configuration import Configuration
from twin_core.layouts import hexagonal
from twin_core.network import Network

SLICES = tuple(NetworkSlice(s_nssai=s) for s in S_NSSAIS)
NETWORK = Network.of(hexagonal(sites=7, network_id="views").model_copy(update={"slices": SLICES}))
CELLS = NETWORK.cells
PERIOD_MS = 60_000


def view(load: Mapping[int, float] | None = None, others: float = 40.0, period: int = 100) -> NetworkView:
    """A network in which the named cells have that PRB use, and all others the same."""
    C = len(CELLS)
    loads = np.full(C, others)
    for c, value in (load or {}).items():
        loads[c] = value
    heirs = NETWORK.overlap.numpy().copy()
    heirs /= heirs.sum(axis=1, keepdims=True)
    users = np.full(C, 15.0)
    disturbed = np.full(C, 0.01)
    disturbed[3] = 0.08  # one cell disturbs its neighbours, and one is heard weakly
    weak = np.full(C, 0.02)
    weak[19] = 0.3
    delay = np.full(C, 4.0)
    delay[5] = 30.0  # and in one machines wait
    power, tilt = NETWORK.rated_dbm.numpy().copy(), np.full(C, 6.0)
    ratios = [np.zeros((C, 2)), np.zeros((C, 2)), np.full((C, 2), 100.0)]
    arrays = [loads, heirs, users, np.ones(C, bool), np.zeros((C, C)), power, tilt, weak, disturbed, delay, *ratios]
    for a in arrays:
        a.flags.writeable = False  # an agent that writes into its view fails
    return NetworkView(
        network_id="views",
        region="1",
        topology=NETWORK.topology,
        revision=period,
        period_end_ms=period * PERIOD_MS,
        active=arrays[3].astype(bool),
        in_service=np.ones(C, bool),
        cio_db=arrays[4],
        tx_power_dbm=power,
        tilt_deg=tilt,
        weak_share=weak,
        disturbed_share=disturbed,
        neighbours=NETWORK.neighbours,
        heirs=heirs,
        slices=NETWORK.slices,
        dedicated_ratio=ratios[0],
        min_ratio=ratios[1],
        max_ratio=ratios[2],
        kpis={"RRU.PrbTotDl": loads, "RRC.ConnMean": users, sliced("DRB.RlcSduDelayDl", URLLC): delay},
        forecast={"RRU.PrbTotDl": loads, "RRC.ConnMean": users},
    )


def later(before: NetworkView, periods: int, **changes: object) -> NetworkView:
    """The same network some periods on."""
    moved = replace(
        before, period_end_ms=before.period_end_ms + periods * PERIOD_MS, revision=before.revision + periods
    )
    return replace(moved, **changes)  # type: ignore[arg-type]


def attempt(strategy: Strategy, fate: Fate, diagnosis: Diagnosis | None = None) -> Attempt:
    """A strategy as an agent's past shows it."""
    settings = frozenset((c.object, c.attribute, c.value) for c in strategy.all_changes)
    return Attempt(
        strategy.strategy_id, strategy.agent, settings, strategy.proposed_at_ms, fate, strategy.standing, diagnosis
    )


def applied(before: NetworkView, strategy: Strategy) -> NetworkView:
    """The view after a strategy came into force and nothing else changed."""
    now = Configuration.default(NETWORK)
    now = replace(now, active=now.active & True, cio_db=now.cio_db + 0)
    now.active[:] = now.active.new_tensor(before.active.tolist())
    now.cio_db[:] = now.cio_db.new_tensor(before.cio_db.tolist())
    after = now.with_changes(NETWORK, strategy.changes)
    return replace(
        before,
        active=after.active.numpy(),
        cio_db=after.cio_db.numpy(),
        history=(*before.history, attempt(strategy, Fate.DONE)),
    )

"""Views for tests of agents: 21 cells whose loads a test sets as it likes, with every agent's own past."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from loops.agents.agent import Attempt, Fate, NetworkView
from schemas.ndt import Diagnosis
from schemas.strategies import Strategy
from twin_core.configuration import Configuration
from twin_core.layouts import hexagonal
from twin_core.network import Network

NETWORK = Network.of(hexagonal(sites=7, network_id="views"))
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
    power, tilt = NETWORK.rated_dbm.numpy().copy(), np.full(C, 6.0)
    arrays = [loads, heirs, users, np.ones(C, bool), np.zeros((C, C)), power, tilt, weak, disturbed]
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
        kpis={"RRU.PrbTotDl": loads, "RRC.ConnMean": users},
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

"""A network in two regions with a halo, against the same network in one: the same telemetry, the same KPIs.

Stated tolerance: summed over a region's own cells, predictions of each KPI, now and after a change at the border,
differ from those of the whole network's twin by at most 5 %.
"""

import json
from typing import Any

import numpy as np
import pytest

from infra.simulated import SimulatedNetwork
from processors.collector import Epoch
from processors.twin_sync import TwinState, TwinSync
from schemas.names import sector_carrier_dn
from schemas.strategies import ConfigChange
from schemas.topology import Topology
from schemas.twin import EventCounts
from streams.schema_ids import LocalIds
from streams.serde import Serde
from twin_core.exceptions import UnknownObject
from twin_core.kpis import POWER, PRB, THROUGHPUT, USERS, VOLUME, kpi_index
from twin_core.regions import regions_of, shard_of
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

pytestmark = pytest.mark.integration

TOLERANCE = 0.05
COMPARED = (PRB, THROUGHPUT, VOLUME, USERS, POWER)
SERDE = Serde(LocalIds())


def recorded(sites: int, seed: int, periods: int) -> tuple[Topology, list[Epoch]]:
    parameters = {"layout.regions": 2, "layout.sites": sites, "layout.users": 57 * sites}
    network = SimulatedNetwork(seed, 19.0, parameters)
    cell = network.topology.cell_names[0]
    network.inject("duplicate_events", cell.split(",GNBDU")[0], 60, 60)
    network.inject("out_of_range", network.topology.cell_names[-1], 120, 60)
    network.inject("poison", "", 180, 60, lines=3)
    return network.topology, list(network.epochs(periods))


def followed(sync: TwinSync, epochs: list[Epoch]) -> tuple[TwinState, int, int]:
    """The state after all, how many late events and dead letters it sent on."""
    state, late, dead = sync.initial(), 0, 0
    for epoch in epochs:
        step = sync.process(state, [epoch])
        state, late, dead = step.state, late + len(step.late), dead + len(step.dead_letters)
    return state, late, dead


def in_one_region(topology: Topology) -> Topology:
    return topology.model_copy(update={"cells": tuple(c.model_copy(update={"region": "1"}) for c in topology.cells)})


def means(twin: Twin, changes: list[ConfigChange]) -> np.ndarray[Any, Any]:
    configuration = twin.configuration.with_changes(twin.network, changes)
    found = rollout(twin, configuration, Scenarios.nominal(twin.network, 1, 3)).mean()[0][0]
    return np.asarray(found.numpy())


@pytest.mark.parametrize(("sites", "seed", "periods"), [(7, 81, 20), (19, 82, 10)])
def test_two_regions_with_a_halo_say_what_one_says(sites: int, seed: int, periods: int) -> None:
    topology, epochs = recorded(sites, seed, periods)
    assert regions_of(topology) == ("1", "2")
    whole, late, dead = followed(TwinSync(in_one_region(topology), SERDE), epochs)
    assert dead, "something was wrong, or who counts it proves nothing"
    parts = [TwinSync(topology, SERDE, region=region) for region in regions_of(topology)]
    states = [followed(sync, epochs) for sync in parts]

    assert frozenset().union(*(s.shard.owned for s in parts)) == frozenset(topology.cell_names)
    assert not parts[0].shard.owned & parts[1].shard.owned
    counts = [s.governance.counts.model_dump() for s, _, _ in states]
    together = EventCounts(**{name: counts[0][name] + counts[1][name] for name in counts[0]})
    assert together == whole.governance.counts, "over both regions every event has one fate"
    assert sum(n for _, n, _ in states) == late
    assert sum(n for _, _, n in states) == dead

    for sync, (state, _, _) in zip(parts, states, strict=True):
        shard, mine = sync.shard, state.twin.network
        assert shard.halo or sites == 7
        own = [c for c in mine.cells if c in shard.owned]
        here, there = [mine.cell_index(c) for c in own], [whole.twin.network.cell_index(c) for c in own]
        # Of its own cells one that hears most of the other region.
        other = topology.cell_names[0] if topology.cell_names[0] in shard.owned else own[0]
        border = [
            ConfigChange(change_id="1", object=sector_carrier_dn(other), attribute="configuredMaxTxPower", value=8000.0)
        ]
        for changes in ([], border):
            told, true = means(state.twin, changes)[:, here], means(whole.twin, changes)[:, there]
            for kpi in COMPARED:
                a, b = told[kpi_index(kpi)], true[kpi_index(kpi)]
                known = np.isfinite(a) & np.isfinite(b)
                off = float(np.abs(a - b)[known].sum() / np.abs(b)[known].sum())
                assert off < TOLERANCE, (shard.region, kpi, len(changes), off)


def test_a_state_of_a_region_goes_on_where_it_was_saved() -> None:
    topology, epochs = recorded(7, 83, 6)
    sync = TwinSync(topology, SERDE, region="2")
    half, _, _ = followed(sync, epochs[:3])
    again = sync.load(sync.dump(half))
    for epoch in epochs[3:]:
        again = sync.process(again, [epoch]).state
    whole, _, _ = followed(sync, epochs)
    assert again.twin.state_hash() == whole.twin.state_hash()


def test_a_region_that_is_not_there_is_named() -> None:
    topology, _ = recorded(7, 84, 1)
    with pytest.raises(UnknownObject, match="has no region '9'; it has 1, 2"):
        TwinSync(topology, SERDE, region="9")
    with pytest.raises(ValueError, match="lie in two regions"):
        Topology.model_validate_json(json.dumps(_torn(topology)))


def _torn(topology: Topology) -> dict[str, Any]:
    content = topology.model_dump(mode="json")
    content["cells"][0]["region"] = "2" if content["cells"][0]["region"] == "1" else "1"
    return content


def test_a_halo_grows_with_its_hops() -> None:
    topology, _ = recorded(19, 85, 1)
    sizes = [len(shard_of(topology, "1", hops).halo) for hops in (0, 1, 2, 3)]
    assert sizes[0] == 0
    assert sizes == sorted(sizes)
    assert sizes[2] < len(topology.cells) - len(shard_of(topology, "1").owned), "not everything"

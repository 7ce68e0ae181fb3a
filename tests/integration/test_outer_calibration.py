"""Whether the judgement of stages is right on a network that scatters as real ones do: the reference live network.

The network runs once, untouched. Changes are then made up: pushes that did nothing, and pushes after which part of the
throughput is taken from the reports of the area.
"""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from infra.line_protocol.messages import Start
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from loops.inner.guards import load_guards
from loops.outer.comparison import windows
from loops.outer.ground import Ground
from loops.outer.history import KpiHistory, Series
from loops.outer.judgement import Decision, Judgement, judge
from loops.outer.neighbours import NeighbourGraph, neighbour_graph
from loops.outer.settings import OuterSettings, watches_from
from schemas.counters import NR_CELL_SLICES_V1

pytestmark = pytest.mark.full

PERIODS, STEP = 80, 9
SETTINGS = OuterSettings()
WATCHES = (*SETTINGS.watches, *watches_from(load_guards()))
LENGTH = SETTINGS.before_periods + SETTINGS.settle_periods + SETTINGS.longest_hold


@pytest.fixture(scope="module")
def run() -> tuple[NeighbourGraph, dict[str, Series]]:
    """Eighty periods of a seeded network: neighbours, and every counter [T, objects]."""
    parameters = Parameters.load(None, {"time.step_s": 1.0, "reporting.collection": "delta"})
    network = ReferenceNetwork(parameters, "reference")
    list(network.start(Start(seed=11, start_time_ms=1_768_244_400_000)))
    topology = network.hello().topology
    cells, elements = topology.cell_names, topology.managed_elements
    values = {k: np.full((PERIODS, len(cells)), np.nan) for k in NR_CELL_SLICES_V1.cell}
    power = np.full((PERIODS, len(elements)), np.nan)
    for period in range(PERIODS):
        for line in network.step():
            if line.topic != "telemetry.pm":
                continue
            report = json.loads(line.text)
            power[period, elements.index(report["managed_element"])] = report["element_values"][0]
            for cell in report["cells"]:
                for kpi, value in zip(NR_CELL_SLICES_V1.cell, cell["values"], strict=True):
                    values[kpi][period, cells.index(cell["cell"])] = np.nan if value is None else value
    series = {k: Series(cells, v) for k, v in values.items()}
    return neighbour_graph(topology), series | {"PEE.AvgPower": Series(elements, power)}


def histories(series: dict[str, Series]) -> Iterator[KpiHistory]:
    """Pieces as long as a whole hold."""
    ends = (np.arange(LENGTH, dtype=np.int64) + 1) * 60_000
    for first in range(0, PERIODS - LENGTH + 1, STEP):
        yield KpiHistory(ends, {k: Series(s.names, s.values[first : first + LENGTH].copy()) for k, s in series.items()})


def first_decision(history: KpiHistory, ground: Ground) -> Judgement:
    """What a stage that was pushed after the window before comes to."""
    push = 60_000 * SETTINGS.before_periods
    for period in range(1, SETTINGS.settle_periods + SETTINGS.longest_hold + 1):
        seen = history.until(push + 60_000 * period)
        at = windows(seen, push, push + 60_000 * SETTINGS.settle_periods, SETTINGS.before_periods)
        found = judge(seen, at, ground, WATCHES, (), SETTINGS)
        if found.decision is not Decision.HOLD:
            return found
    raise AssertionError("the longest hold decides")


def shares(run: tuple[NeighbourGraph, dict[str, Series]], left: float) -> dict[str, float]:
    """How stages end when so much of the area's throughput is left."""
    graph, series = run
    counted: Counter[str] = Counter()
    for history in histories(series):
        for cell in graph.cells[::5]:
            treated = frozenset({cell})
            ground = Ground(treated, graph.ring(treated), frozenset(graph.cells) - graph.area(treated))
            area = [i for i, c in enumerate(graph.cells) if c in ground.area]
            throughput = history.series["DRB.UEThpDl"].values
            whole = throughput.copy()
            throughput[SETTINGS.before_periods :, area] *= left
            found = first_decision(history, ground)
            throughput[:] = whole
            counted["harm" if found.reason.startswith("harm") else found.decision.value] += 1
    return {k: n / counted.total() for k, n in counted.items()}


def test_changes_that_do_nothing_are_promoted(run: tuple[NeighbourGraph, dict[str, Series]]) -> None:
    found = shares(run, 1.0)
    assert found["PROMOTE"] >= 0.75
    assert found.get("harm", 0.0) <= SETTINGS.alpha + 0.05


def test_half_of_the_throughput_gone_is_never_promoted(run: tuple[NeighbourGraph, dict[str, Series]]) -> None:
    found = shares(run, 0.5)
    assert found.get("PROMOTE", 0.0) <= 0.05
    assert found["harm"] >= 0.25

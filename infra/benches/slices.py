"""How well the twin foresees other slice ratios: against forks of the reference network that are given them.

The twin has followed the network under the default ratios alone. Then all cells get others at once: the network in a
fork, the twin in a roll-out, for the same minutes. Compared is, cell by cell, the logarithm of what a KPI becomes over
what it would have been; shown are medians over the cells of all scenes, busy and other cells apart.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.benches.base import BenchResult
from infra.replaying import one_thread
from infra.simulated import SimulatedNetwork
from schemas.counters import EMBB, URLLC, sliced
from schemas.levers import DEDICATED, MAXIMUM, MINIMUM
from schemas.names import slice_policy_dn
from schemas.strategies import ConfigChange
from twin_core.kpis import PRB, kpis_of
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

Array = NDArray[np.float64]

FILES, PACKETS_WAIT, CELL = sliced("DRB.UEThpDl", EMBB), sliced("DRB.RlcSduDelayDl", URLLC), "DRB.UEThpDl"
# Seeds and hours.
SCENES: dict[int, float] = {41: 12.0, 42: 20.0, 43: 9.0, 44: 18.0}
BUSY = 85.0  # PRB use, %
_SEEN, _AHEAD = 30, 8


class Case(NamedTuple):
    """Other ratios of a slice, percent, and the KPIs that they move."""

    name: str
    s_nssai: str
    ratios: dict[str, float]
    kpis: tuple[str, ...]


CASES = (
    Case("urllc_max_5", URLLC, {MAXIMUM: 5.0}, (PACKETS_WAIT,)),
    Case("urllc_min_30", URLLC, {MINIMUM: 30.0}, (PACKETS_WAIT,)),
    Case("urllc_dedicated_30", URLLC, {MINIMUM: 30.0, DEDICATED: 30.0}, (FILES, CELL)),
    Case("embb_max_60", EMBB, {MAXIMUM: 60.0}, (FILES, CELL, PACKETS_WAIT)),
    Case("embb_max_80", EMBB, {MAXIMUM: 80.0}, (FILES,)),
)


class Change(NamedTuple):
    """Logarithms of the changes of a KPI in one scene, [C]; NaN where a cell carries nothing."""

    case: Case
    kpi: str
    busy: NDArray[np.bool_]
    network: Array
    twin: Array


def run(*, quick: bool = False) -> BenchResult:
    """Measure; quick looks at one scene and two cases."""
    began = time.monotonic()
    scenes = dict(list(SCENES.items())[: 1 if quick else None])
    cases = CASES[: 2 if quick else None]
    with one_thread():
        found = [change for seed, hour in scenes.items() for change in changes(seed, hour, cases)]
    figures: dict[str, float | int | str] = {"scenes": ", ".join(f"{s} at {h:g} h" for s, h in scenes.items())}
    for case in cases:
        for kpi in case.kpis:
            own = [c for c in found if c.case is case and c.kpi == kpi]
            busy, network, twin = (np.concatenate(x) for x in zip(*(c[2:] for c in own), strict=True))
            for band, chosen in (("busy", busy), ("other", ~busy)):
                name = f"{case.name}_{kpi}_{band}"
                figures[f"{name}_cells"] = int((chosen & np.isfinite(network) & np.isfinite(twin)).sum())
                figures[f"{name}_network"] = _median(network[chosen])
                figures[f"{name}_twin"] = _median(twin[chosen])
    return BenchResult(name="slices", seconds=time.monotonic() - began, figures=figures)


def changes(seed: int, hour: float, cases: Sequence[Case] = CASES) -> Iterator[Change]:
    """What other ratios do in one network at one time of day."""
    network = SimulatedNetwork(seed, hour)
    twin = network.twin(_SEEN)
    kpis = tuple(dict.fromkeys([PRB, *(kpi for case in cases for kpi in case.kpis)]))
    lived, told = _live(network, kpis, ()), _said(twin, kpis, ())
    for case in cases:
        given = [
            ConfigChange(change_id="1", object=slice_policy_dn(cell, case.s_nssai), attribute=name, value=value)
            for cell in twin.network.cells
            for name, value in case.ratios.items()
        ]
        after, said = _live(network, kpis, given), _said(twin, kpis, given)
        for kpi in case.kpis:
            with np.errstate(divide="ignore", invalid="ignore"):
                true, foreseen = np.log(after[kpi] / lived[kpi]), np.log(said[kpi] / told[kpi])
            yield Change(case, kpi, lived[PRB] > BUSY, true, foreseen)


def _live(network: SimulatedNetwork, kpis: Sequence[str], given: Sequence[ConfigChange]) -> dict[str, Array]:
    """Of each KPI the mean over the minutes ahead, [C], in a fork of the network."""
    fork, cells = network.fork(), len(network.topology.cells)
    fork.apply(given)
    seen = list(fork.periods(_AHEAD))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a cell that never carried anything: NaN, which is meant
        return {kpi: np.nanmean([o.counter(kpi, cells) for o in seen], axis=0) for kpi in kpis}


def _said(twin: Twin, kpis: Sequence[str], given: Sequence[ConfigChange]) -> dict[str, Array]:
    """The same, in the twin."""
    configuration = twin.configuration.with_changes(twin.network, given)
    means = rollout(twin, configuration, Scenarios.nominal(twin.network, 1, _AHEAD)).mean()[0][0].numpy()
    return {kpi: means[kpis_of(twin.network).index(kpi)] for kpi in kpis}


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")

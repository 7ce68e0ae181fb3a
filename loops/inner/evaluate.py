"""What a worker does with a shard: roll the present configuration and the candidate over the same scenarios."""

import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch

from loops.exceptions import LoopError
from loops.inner.evidence import Array
from loops.inner.guards import first_breaches
from loops.inner.scenarios import ScenarioSet
from schemas.ndt import NdtShard, NdtShardResult
from twin_core.configuration import Configuration
from twin_core.control import control_of, locked_by
from twin_core.exceptions import TwinError
from twin_core.kpis import KPIS, kpis_of
from twin_core.rollout import Trajectory, rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

Timer = Callable[[], float]
# A scenario whose loads could not be solved counts as harm: what is not known is never a pass.
UNSOLVED = "load not solved"


def evaluate(
    shard: NdtShard,
    twin: Twin,
    worker: str,
    device: torch.device | str = "cpu",
    timer: Timer = time.perf_counter,
    baselines: "Baselines | None" = None,
) -> NdtShardResult:
    """Compute a shard. What cannot be computed is a result with its error.

    Both configurations meet the same demand, failures and propagation in each scenario (common random numbers), so that
    their difference is the strategy's alone. The result depends on the shard and the twin revision, on nothing else;
    only ``worker`` and ``compute_s`` tell who did it and how long it took.

    Parameters
    ----------
    twin
        The revision that the shard names.
    timer
        Seconds of any clock.
    baselines
        Remembers roll-outs of the present configuration from shard to shard; without it none is.
    """
    began = timer()
    try:
        scenarios = _scenarios_of(shard).draw(
            twin.network, shard.scenario_classes, shard.horizon_periods, shard.seed, shard.first_scenario
        )
        control = control_of(twin, shard.strategy)
        ahead = None if isinstance(control, Configuration) else control.ahead(scenarios.horizon)
        base = (baselines or Baselines(0)).of(shard, twin, scenarios, device, ahead)
        candidate = rollout(twin, control, scenarios, device, ahead)
        problem = _unusable(base)
    except (LoopError, TwinError) as error:
        problem = str(error)
    if problem:
        return failed(shard, worker, problem, timer() - began)
    baseline, changed = _means(base), _means(candidate)
    kpis = kpis_of(twin.network)
    off = locked_by(shard.strategy)
    exempt = np.array([cell in off for cell in twin.network.cells]) & twin.configuration.active.numpy()
    breached = first_breaches(shard.guards, kpis, twin.network.cells, baseline, changed, exempt)
    unknown = _unknown(candidate)
    solved = (base.converged & candidate.converged).tolist()
    breached = [u or ("" if s else UNSOLVED) or b for u, s, b in zip(unknown, solved, breached, strict=True)]
    return _result(shard, worker, timer() - began).model_copy(
        update={
            "cells": list(twin.network.cells),
            "kpis": list(kpis),
            "baseline": baseline.ravel().tolist(),
            "candidate": changed.ravel().tolist(),
            "breached": breached,
        }
    )


class Baselines:
    """The latest roll-outs of present configurations.

    All jobs on a revision draw the same scenarios, so that strategies verified together, alone and in pairs, have their
    baseline in common.

    Parameters
    ----------
    kept
        Shards.
    """

    def __init__(self, kept: int = 32) -> None:
        self._kept = kept
        # With the twin, so that its id is no other's as long as this is kept.
        self._found: OrderedDict[tuple[object, ...], tuple[Twin, Trajectory]] = OrderedDict()

    def of(
        self, shard: NdtShard, twin: Twin, scenarios: Scenarios, device: torch.device | str, ahead: torch.Tensor | None
    ) -> Trajectory:
        """Of a shard's scenarios, computed unless it was lately."""
        drawn = (shard.seed, shard.first_scenario, tuple(shard.scenario_classes), shard.scenario_design)
        key = (id(twin), *drawn, shard.horizon_periods, str(device), None if ahead is None else tuple(ahead.tolist()))
        if key not in self._found:
            self._found[key] = twin, rollout(twin, twin.configuration, scenarios, device, ahead)
            while len(self._found) > max(self._kept, 1):
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return self._found[key][1]


def failed(shard: NdtShard, worker: str, error: str, compute_s: float = 0.0) -> NdtShardResult:
    """The result of a shard that could not be computed."""
    return _result(shard, worker, compute_s).model_copy(update={"error": error or "unknown"})


def _result(shard: NdtShard, worker: str, compute_s: float) -> NdtShardResult:
    return NdtShardResult(
        network_id=shard.network_id,
        event_id=shard.event_id,
        job_id=shard.job_id,
        shard_index=shard.shard_index,
        attempt=shard.attempt,
        worker=worker,
        kpis=[],
        cells=[],
        baseline=[],
        candidate=[],
        breached=[],
        compute_s=max(0.0, compute_s),
    )


def _scenarios_of(shard: NdtShard) -> ScenarioSet:
    return ScenarioSet.model_validate_json(shard.scenario_design) if shard.scenario_design else ScenarioSet()


def _means(trajectory: Trajectory) -> Array:
    """[n, M, C + 1] means over the horizon; the network last."""
    cells, network = trajectory.mean()
    return np.concatenate([cells.numpy(), network.numpy()[:, :, None]], axis=2)


def _unusable(trajectory: Trajectory) -> str:
    """Why the present configuration gives nothing to compare with, '' if it does."""
    bad = ~torch.isfinite(trajectory.mean()[1][:, : len(KPIS)]).all(dim=0)
    return f"the twin gives no value of the network's {KPIS[int(bad.nonzero()[0])]}" if bool(bad.any()) else ""


def _unknown(trajectory: Trajectory) -> list[str]:
    """[n] the first KPI of the network that a candidate has no value of, '' where it has all."""
    missing = ~torch.isfinite(trajectory.mean()[1][:, : len(KPIS)])  # a slice may carry nothing
    return [f"network {KPIS[int(row.nonzero()[0])]} unknown" if bool(row.any()) else "" for row in missing]

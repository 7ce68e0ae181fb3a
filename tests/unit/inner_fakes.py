"""Verifications without a twin: shard results made up from a stated probability of harm and gain."""

import math
from typing import Any

import numpy as np

from loops.inner.design import Design
from loops.inner.evidence import Basis, Evidence
from loops.inner.sharding import Job
from schemas.names import cell_dn
from schemas.ndt import NdtShard, NdtShardResult
from schemas.strategies import ConfigChange, Direction, Objective, Strategy

CELLS = [cell_dn(f"SubNetwork=1,ManagedElement=g{i}", 1) for i in range(3)]
KPIS = ["RRU.PrbTotDl", "DRB.UEThpDl", "RRC.ConnMean", "PEE.AvgPower", "TL.UnservedRatio"]
PERIOD_MS = 60_000


def strategy(min_gain: float = 0.02, **update: object) -> Strategy:
    """Switch one cell off to save energy."""
    return Strategy(
        network_id="test",
        event_id="s1",
        strategy_id="s1",
        agent="person:anna",
        title="sleep",
        changes=[ConfigChange(change_id="1", object=CELLS[0], attribute="administrativeState", value="LOCKED")],
        objective=Objective(kpi="PEE.AvgPower", direction=Direction.DOWN, min_gain=min_gain),
        proposed_at_ms=10 * PERIOD_MS,
        revision=10,
    ).model_copy(update=update)


def job(design: Design | None = None, **update: Any) -> Job:
    """A job of several small shards."""
    # So many cells make shards small enough for a look to have several.
    return Job(strategy(**update), revision=10, design=design or Design(), cells=20)


def basis(**update: object) -> Basis:
    """A fresh, trusted twin."""
    values: dict[str, object] = {
        "period_end_ms": 10 * PERIOD_MS,
        "newest_ms": 10 * PERIOD_MS,
        "granularity_s": 60,
        "gate_open": True,
        "model_versions": {"physics": "1"},
        "noise_sd": {k: np.full(len(CELLS) + 1, 0.5) for k in KPIS},
    }
    return Basis(**{**values, **update})  # type: ignore[arg-type]


def result(
    shard: NdtShard, *, p_harm: dict[str, float] | float = 0.0, gain: float = 0.05, gain_sd: float = 0.01, seed: int = 0
) -> NdtShardResult:
    """What a worker would answer if harm and gain were as stated; the same for the same scenario and seed."""
    n, M, C = len(shard.scenario_classes), len(KPIS), len(CELLS)
    baseline = np.tile(np.array([40.0, 30e3, 20.0, 500.0, 0.0])[:, None], (n, 1, C + 1))
    candidate = baseline.copy()
    breached = []
    for i, name in enumerate(shard.scenario_classes):
        rng = np.random.default_rng([seed, shard.seed % 2**32, shard.first_scenario + i])
        p = p_harm if isinstance(p_harm, float) else p_harm.get(name, 0.0)
        breached.append("cell DRB.UEThpDl >= 3000 (30 %) @ " + CELLS[1] if rng.random() < p else "")
        if breached[-1]:
            candidate[i, KPIS.index("DRB.UEThpDl"), 1] = 2e3
        candidate[i, KPIS.index("PEE.AvgPower")] *= 1 - gain - gain_sd * rng.standard_normal()
    return NdtShardResult(
        network_id=shard.network_id,
        event_id=shard.event_id,
        job_id=shard.job_id,
        shard_index=shard.shard_index,
        worker="w1",
        kpis=KPIS,
        cells=CELLS,
        baseline=baseline.reshape(n * M * (C + 1)).tolist(),
        candidate=candidate.reshape(n * M * (C + 1)).tolist(),
        breached=breached,
        compute_s=0.1,
        attempt=shard.attempt,
    )


def evidence(
    of: Job, look: int, rng: np.random.Generator, *, p_harm: dict[str, float] | float = 0.0, gain: float = 0.05
) -> Evidence:
    """What the first scenarios up to a look show, drawn anew each time."""
    scenarios = of.design.scenarios
    n = of.design.looks[look] * len(scenarios.classes)
    classes = tuple(scenarios.class_of(i) for i in range(n))
    p = [p_harm if isinstance(p_harm, float) else p_harm.get(c, 0.0) for c in classes]
    baseline = np.ones((n, len(KPIS), len(CELLS) + 1))
    candidate = baseline.copy()
    candidate[:, KPIS.index("PEE.AvgPower")] -= (gain + 0.02 * rng.standard_normal(n))[:, None]
    breached = tuple("some guard" if harm else "" for harm in rng.random(n) < p)
    return Evidence(classes, tuple(KPIS), tuple(CELLS), baseline, candidate, breached)


def failure(shard: NdtShard, error: str = "no such revision") -> NdtShardResult:
    """What a worker answers when it cannot compute a shard."""
    return result(shard).model_copy(
        update={"kpis": [], "cells": [], "baseline": [], "candidate": [], "breached": [], "error": error}
    )


def same(a: object, b: object) -> bool:
    """Equal, with NaN equal to NaN."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b

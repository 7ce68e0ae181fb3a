"""How long the loops take: telemetry to twin revision, proposal to verdict, verdict to push.

A demo in lock-step on the reference network with services, roles and one worker as processes of this machine, so that
everything shares its cores. All agents propose; beside theirs, strategies are handed in every few periods, one site
after the other.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from infra.benches.base import BenchResult, Goal
from infra.demo.plan import load_plan
from infra.demo.run import run_demo
from infra.demo.screen import Screen
from infra.roles.schedule import Entry
from infra.storage.database import Connection

_FIRST, _EVERY = 14, 4
_STRATEGY = """
title: Trim the power of gnb{site} by {decibels} dB
by: bench
objective: {{kpi: PEE.AvgPower, direction: down, min_gain: 0.001}}
changes:
  - {{cell: gnb{site}-1, attribute: configuredMaxTxPower, value: {power}}}
  - {{cell: gnb{site}-2, attribute: configuredMaxTxPower, value: {power}}}
  - {{cell: gnb{site}-3, attribute: configuredMaxTxPower, value: {power}}}
rationale: To be measured.
"""
# Site, and by how much its power is below the rated 40 W: one after the other by one decibel, then by two.
_STRATEGIES = tuple((site, db, round(40_000 * 10 ** (-db / 10))) for db in (1, 2) for site in range(1, 8))
# What is measured, as seconds between two noted times.
_QUERIES = {
    "telemetry to revision": """
        SELECT extract(epoch FROM b.at - a.at) FROM timings a JOIN timings b USING (network_id, id)
        WHERE a.what = 'progress bridge' AND b.what = 'progress twin'""",
    "proposal to verdict": """
        SELECT extract(epoch FROM b.at - a.at) FROM timings a JOIN timings b USING (network_id, id)
        WHERE a.what = 'strategy' AND b.what = 'verdict'""",
    "verdict to push": """
        SELECT extract(epoch FROM min(c.at) - min(v.at)) FROM timings v
        JOIN plans p ON p.network_id = v.network_id AND p.strategy_id = v.id
        JOIN commands k ON k.network_id = p.network_id AND k.plan_id = p.plan_id AND k.body->>'kind' = 'apply'
        JOIN timings c ON c.network_id = k.network_id AND c.id = k.command_id AND c.what = 'command'
        WHERE v.what = 'verdict' GROUP BY p.plan_id""",
    "period, all roles": """
        SELECT extract(epoch FROM b.at - a.at) FROM timings a JOIN timings b USING (network_id, id)
        WHERE a.what = 'progress bridge' AND b.what = 'progress outer'""",
}


def run(*, quick: bool = False) -> BenchResult:
    """Measure.

    Parameters
    ----------
    quick
        Half the periods: shows that it works, measures little.
    """
    began = time.monotonic()
    figures: dict[str, float | int | str] = {}

    def inspect(connection: Connection) -> None:
        for name, query in _QUERIES.items():
            seconds = [float(row[0]) for row in connection.execute(query).fetchall()]
            figures[f"{name}, samples"] = len(seconds)
            for q in (50, 99) if seconds else ():
                figures[f"{name}, p{q} s"] = round(float(np.percentile(seconds, q)), 4)

    with tempfile.TemporaryDirectory(prefix="twinloop-bench-") as folder:
        entries = []
        chosen = _STRATEGIES[:6:2] if quick else _STRATEGIES
        for i, (site, decibels, power_mw) in enumerate(chosen):
            path = Path(folder) / f"trim-{site}-{decibels}.yaml"
            path.write_text(_STRATEGY.format(site=site, decibels=decibels, power=power_mw), encoding="utf-8")
            entries.append(Entry(at_period=_FIRST + i * _EVERY, file=path))
        periods = entries[-1].at_period + _EVERY
        update = {"name": "bench", "periods": periods, "strategies": tuple(entries), "faults": (), "reinject_at": ()}
        plan = load_plan().model_copy(update=update)
        with Screen(Console(stderr=True), plan) as screen:
            report = run_demo(plan, Path(folder) / "run", screen, inspect=inspect)
    figures |= {
        "cells": report.network.cells,
        "periods": report.periods,
        "approved": report.strategies.approved,
        "rejected": report.strategies.rejected,
        "inconclusive": report.strategies.inconclusive,
        "broken invariants": sum(not i.holds for i in report.invariants),
    }
    broken = Goal(name="broken invariants", value=float(figures["broken invariants"]), op="==", goal=0)
    return BenchResult(name="loop", seconds=round(time.monotonic() - began, 1), figures=figures, goals=(broken,))

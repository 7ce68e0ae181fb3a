"""How many times faster than the clock the reference network runs, on one core, reports included.

Workload: the evening of the shipped parameters, 19 users a cell, from a started network; figures are simulated seconds
per second of processor time (other programs do not count) and of wall time, best of some periods.
"""

import time
from typing import NamedTuple

from infra.benches.base import BenchResult, Goal
from infra.line_protocol.messages import Start
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork

_EVENING_MS = 1_768_244_400_000
_USERS_A_CELL = 400 / 21
# Issue goals: 21 cells x 400 users.
_GOALS = {"21_cells_step_100_ms": 50.0, "21_cells_step_1_s": 400.0}


class _Speed(NamedTuple):
    cpu: float
    wall: float


def run(*, quick: bool = False) -> BenchResult:
    """Measure; quick runs fewer periods and leaves out the 57 cells."""
    began = time.monotonic()
    figures: dict[str, float | int | str] = {}
    for sites in (7,) if quick else (7, 19):
        for step_s, name in ((0.1, "100_ms"), (1.0, "1_s")):
            speed = _speed(sites, step_s, periods=2 if quick else 10)
            case = f"{3 * sites}_cells_step_{name}"
            figures[f"{case}_times_real_time_cpu"] = speed.cpu
            figures[f"{case}_times_real_time_wall"] = speed.wall
    goals = tuple(
        Goal(name=case, value=float(figures[f"{case}_times_real_time_cpu"]), op=">=", goal=goal)
        for case, goal in _GOALS.items()
    )
    return BenchResult(name="network", seconds=time.monotonic() - began, figures=figures, goals=goals)


def _speed(sites: int, step_s: float, periods: int) -> _Speed:
    overrides = {"layout.sites": sites, "layout.users": round(3 * sites * _USERS_A_CELL), "time.step_s": step_s}
    parameters = Parameters.load(overrides=overrides)
    network = ReferenceNetwork(parameters, "bench")
    list(network.start(Start(seed=1, start_time_ms=_EVENING_MS)))
    best_cpu_s = best_wall_s = float("inf")
    for _ in range(periods):
        cpu, wall = time.process_time(), time.perf_counter()
        for line in network.step():
            len(line.text)
        best_cpu_s = min(best_cpu_s, time.process_time() - cpu)
        best_wall_s = min(best_wall_s, time.perf_counter() - wall)
    return _Speed(parameters.time.period_s / best_cpu_s, parameters.time.period_s / best_wall_s)

"""How fast the engine steps scenarios, beside its peers and beside bare torch on the same machine in the same run.

A SINR step turns powers and loads into the SINR of every user; a full step turns configurations into KPIs. All run on
one thread; what each computes is said with each figure.
"""

import time
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch

from infra.benches import rollout_engine as engine
from infra.benches.base import BenchResult, Goal, Side
from infra.benches.rollout_drop import drop
from infra.benches.rollout_measure import CASES, Case, Measured, NotRun
from infra.benches.rollout_peers import Form, bare_torch, crrm_all_users_moved, crrm_power_only, mobile_env

BATCHES = (1, 64, 1024)
MIDDLE, LARGE = CASES[1], CASES[2]
_MIDDLE_BATCH = 64  # at which goals are held
_TURNS = 4
_COPY_BYTES = 1 << 30
_PRODUCTS: tuple[Form, ...] = ("matmul", "matmul_others")
_OTHERS: tuple[Form, ...] = ("eager", "eager_strongest", "compiled_strongest", "positions", "positions_compiled")

Figures = dict[str, float | int | str]


def run(*, quick: bool = False, device: str = "cpu", tell: Callable[[str], None] = lambda _: None) -> BenchResult:
    """Measure; quick takes the smallest network and hardly repeats.

    Parameters
    ----------
    device
        "cpu" or "cuda".
    tell
        Is told of each case as it is done.
    """
    _check(device)
    began = time.monotonic()
    seconds = 0.05 if quick else 0.5
    figures: Figures = {"device": _named(device)}
    measured: dict[str, Measured] = {}
    for case in CASES[:1] if quick else CASES:
        for one in _cases(case, device, seconds, figures, quick):
            measured[f"{case} {one.name}"] = one
            tell(f"{case} {one.name}: {one.not_run or f'{one.steps_per_s:,.0f} steps/s'}")
            _enter(figures, case, one)
        figures[f"{case} sparsity: SINR error at the 95th percentile, dB"] = engine.sparsity_error_db(case)
        engine.scene.cache_clear()
        drop.cache_clear()
    goals = () if quick else tuple(_goals(measured, figures, device))
    sides = tuple(_sides(measured, figures))
    return BenchResult(name="rollout", seconds=time.monotonic() - began, figures=figures, goals=goals, sides=sides)


def _check(device: str) -> None:
    """Raise NotRun unless the device is there."""
    try:
        kind = torch.device(device).type
    except RuntimeError as unknown:
        raise NotRun(f"{device!r} is no device", "name cpu or cuda") from unknown
    if kind not in ("cpu", "cuda"):
        raise NotRun(f"the bench does not know how to measure on {kind}", "name cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise NotRun("torch finds no CUDA device", "run it where there is a GPU, with a CUDA build of torch")


def _sides(measured: dict[str, Measured], figures: Figures) -> Iterator[Side]:
    """One table a network, what was not run, what each computes, and what the load coupling took."""
    for case in CASES:
        own = [one for name, one in measured.items() if name.startswith(f"{case} ") and not one.not_run]
        if own:
            yield Side(
                title=f"{case.cells} cells, {case.users} users",
                columns=("what", "steps/s", "µs a step", "peak MiB"),
                rows=tuple(
                    (
                        one.name,
                        f"{one.steps_per_s:,.0f}",
                        f"{1e6 / one.steps_per_s:,.1f}",
                        "" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:,.0f}",
                    )
                    for one in own
                ),
            )
    not_run = tuple((name, one.not_run) for name, one in measured.items() if one.not_run)
    if not_run:
        yield Side(title="not run", columns=("what", "why, and what to do"), rows=not_run)
    prefix = "computes: "
    computed = {
        k.removeprefix(prefix).partition(", batch")[0]: str(v) for k, v in figures.items() if k.startswith(prefix)
    }
    yield Side(title="what a step is", columns=("of", "computes"), rows=tuple(computed.items()))
    rest = {k: v for k, v in figures.items() if "load" in k or "iteration" in k or "sparsity" in k}
    yield Side(
        title="load coupling and sparsity",
        columns=("figure", "value"),
        rows=tuple((k, v if isinstance(v, str) else f"{v:,.3g}") for k, v in rest.items() if not k.startswith(prefix)),
    )


def _cases(case: Case, device: str, seconds: float, figures: Figures, quick: bool) -> Iterator[Measured]:
    batches = BATCHES[: 2 if quick else None]
    compared = _in_turns(case, device, seconds, 1 if quick else _TURNS)
    yield from (one for one, _ in compared)
    for one, full in compared:
        _coupling(figures, case, _MIDDLE_BATCH, one, full)
    for batch in batches:
        yield engine.sinr_step(case, batch, device, seconds, find=True)
        if batch != _MIDDLE_BATCH:
            yield engine.sinr_step(case, batch, device, seconds)
            measured, full = engine.full_step(case, batch, device, seconds)
            yield measured
            _coupling(figures, case, batch, measured, full)
    if device == "cpu":
        yield engine.tilt_step(case, seconds)
        yield crrm_all_users_moved(case, seconds)
        yield mobile_env(case, seconds)
    for batch in batches:
        for form in _PRODUCTS:
            if batch != _MIDDLE_BATCH:
                yield bare_torch(case, batch, device, form, seconds)
    for form in _OTHERS:
        yield bare_torch(case, 1, device, form, seconds)


def _coupling(figures: Figures, case: Case, batch: int, one: Measured, full: engine.Full | None) -> None:
    """What the load coupling of a full step took."""
    if full is None:
        return
    mean = sum(full.iterations) / len(full.iterations)
    figures[f"{case} full step, batch {batch}: load iterations"] = mean
    figures[f"{case} full step, batch {batch}: microseconds an iteration"] = 1e6 / one.steps_per_s / mean
    figures[f"{case} full step, batch {batch}: mean load"] = sum(full.loads) / len(full.loads)
    figures[f"{case} full step, batch {batch}: all loads converged"] = "yes" if full.converged else "no"


def _in_turns(case: Case, device: str, seconds: float, turns: int) -> list[tuple[Measured, engine.Full | None]]:
    """What goals compare, each the fastest of several turns: what else the machine does must not decide a ratio."""
    batch = _MIDDLE_BATCH

    def turn() -> Iterator[tuple[Measured, engine.Full | None]]:
        yield engine.sinr_step(case, batch, device, seconds), None
        yield engine.full_step(case, batch, device, seconds)
        yield engine.from_positions(case, device, seconds), None
        for form in _PRODUCTS:
            yield bare_torch(case, batch, device, form, seconds), None
        if device == "cpu":
            yield crrm_power_only(case, seconds), None

    rounds = [list(turn()) for _ in range(turns)]
    return [max(each, key=lambda one: one[0].steps_per_s) for each in zip(*rounds, strict=True)]


def _enter(figures: Figures, case: Case, one: Measured) -> None:
    if one.not_run:
        figures[f"{case} {one.name}"] = f"not run: {one.not_run}"
        return
    figures[f"{case} {one.name}, steps/s"] = one.steps_per_s
    figures[f"{case} {one.name}, ms a call"] = one.milliseconds
    if one.peak_bytes is not None:
        figures[f"{case} {one.name}, peak MiB"] = one.peak_bytes / 2**20
    figures.setdefault(f"computes: {one.name}", one.computes)


def _goals(measured: dict[str, Measured], figures: Figures, device: str) -> Iterator[Goal]:
    def rate(case: Case, name: str) -> float:
        one = measured.get(f"{case} {name}")
        return 0.0 if one is None else one.steps_per_s

    step = f"twinloop SINR step, batch {_MIDDLE_BATCH}, {device}"
    full = f"twinloop full step, batch {_MIDDLE_BATCH}, {device}"
    ours = rate(MIDDLE, step)
    bare = max(rate(MIDDLE, f"torch {form}, batch {_MIDDLE_BATCH}, {device}") for form in _PRODUCTS)
    iterations = figures.get(f"{MIDDLE} full step, batch {_MIDDLE_BATCH}: load iterations")
    if ours and bare:
        yield Goal(name="SINR step over the bare matrix form", value=ours / bare, op=">=", goal=0.4)
    if rate(MIDDLE, full) and isinstance(iterations, float):
        each = ours / rate(MIDDLE, full) / iterations
        yield Goal(name="full step per load iteration over SINR step", value=each, op="<=", goal=8.0)
    for name in (step, full):
        if rate(LARGE, name):
            growth = rate(MIDDLE, name) / rate(LARGE, name)
            figures[f"growth from 57 to 513 cells: {name}"] = growth
            yield Goal(name=f"growth from 57 to 513 cells: {name}", value=growth, op="<=", goal=12.0)
    error = figures[f"{LARGE} sparsity: SINR error at the 95th percentile, dB"]
    yield Goal(name="SINR error of sparsity at 513 cells, dB", value=float(error), op="<", goal=0.1)
    if device == "cpu":
        peer = rate(MIDDLE, "CRRM, power only")
        if peer:
            yield Goal(name="SINR step over CRRM, power only", value=ours / peer, op=">=", goal=10.0)
        moved = rate(MIDDLE, "twinloop from positions, cpu")
        yield Goal(name="from positions, steps/s", value=moved, op=">=", goal=1500.0)
    else:
        yield from _bandwidth(measured, figures, device)


def _bandwidth(measured: dict[str, Measured], figures: Figures, device: str) -> Iterator[Goal]:
    """Gains read once a call and results written once, against what the device copies."""
    copied = _copy_bytes_per_s(device)
    figures["copy bandwidth, GB/s"] = copied / 1e9
    batch = BATCHES[-1]
    one = measured.get(f"{LARGE} twinloop SINR step, batch {batch}, {device}")
    if one is not None and not one.not_run:
        reach = min(LARGE.cells, engine.SETTINGS.physics.interferers)
        moved = 4.0 * LARGE.users * (reach + batch) * one.steps_per_s / batch
        figures["effective bandwidth, GB/s"] = moved / 1e9
        yield Goal(name="effective over copy bandwidth", value=moved / copied, op=">=", goal=1 / 3)


@lru_cache(maxsize=1)
def _copy_bytes_per_s(device: str) -> float:
    source = torch.empty(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    began, times = time.perf_counter(), 20
    for _ in range(times):
        target.copy_(source)
    torch.cuda.synchronize()
    return 2 * _COPY_BYTES * times / (time.perf_counter() - began)


def _named(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu, one thread"

"""The SINR step in a few lines of torch: what this machine can do, without any of the engine's structure."""

import os
import shutil
from collections.abc import Callable
from itertools import cycle
from typing import Any, Literal, get_args

import torch

from infra.benches.rollout_drop import INPUTS, NOISE_MW, POWER_MW, Drop, drop, path_gain
from infra.benches.rollout_measure import SECONDS, Case, Measured, NotRun, Plan, Work, measure, refuse_slow, shortest

Tensor = torch.Tensor
Form = Literal[
    "eager",
    "compiled",
    "eager_strongest",
    "compiled_strongest",
    "matmul",
    "matmul_others",
    "positions",
    "positions_compiled",
]
FORMS: tuple[Form, ...] = get_args(Form)

_CACHED = "float32 gains that stay, another power in every step; SINR at the cell heard best, all cells busy"
_HELD = "float32 gains and attachment that stay, another power and load in every step"
_MOVED = "every user elsewhere: distance, UMa NLOS, horizontal pattern by atan2, SINR at the cell heard best; float32"
COMPUTES: dict[Form, str] = {
    "eager": f"{_CACHED}, and which cell that is",
    "compiled": f"{_CACHED}, and which cell that is; torch.compile",
    "eager_strongest": f"{_CACHED}; not which cell that is",
    "compiled_strongest": f"{_CACHED}; not which cell that is; torch.compile",
    "matmul": f"{_HELD}; interference is a matrix product less one's own cell",
    "matmul_others": f"{_HELD}; interference is a matrix product with gains that are zero at one's own cell",
    "positions": _MOVED,
    "positions_compiled": f"{_MOVED}; torch.compile",
}
# How many arrays of [N, P, C] stand in memory at once.
_WIDE: dict[Form, int] = {"eager": 2, "eager_strongest": 2, "positions": 6}
# On a CPU a batch of these takes as long as its scenarios one by one, or nearly.
_ONE_BY_ONE: tuple[Form, ...] = ("eager", "eager_strongest", "positions", "positions_compiled")


def bare_torch(
    case: Case, batch: int = 1, device: str = "cpu", form: Form = "eager", seconds: float = SECONDS
) -> Measured:
    """Measure one form, with so many scenarios a call."""
    links, places, columns = case.users * case.cells, case.users * batch, INPUTS * batch * case.cells
    plan = Plan(
        f"torch {form}, batch {batch}, {device}",
        COMPUTES[form],
        scenarios=batch,
        peak_bytes=4.0 * ((_WIDE.get(form, 0) * batch + 2) * links + (4 + 2 * INPUTS) * places + 2 * columns),
        device=device,
    )
    return measure(plan, lambda: prepare(case, batch, device, form), seconds)


def prepare(case: Case, batch: int, device: str, form: Form) -> Work:
    """A form ready to step; compiled where that is its name.

    Raises
    ------
    NotRun
        If it cannot be compiled here, or would take too long.
    """
    if "compiled" in form:
        _compiler()
    if batch > 1 and form in _ONE_BY_ONE and device == "cpu":
        step, kept, given = parts(drop(case), 1, device, form)
        refuse_slow(batch * shortest(lambda: step(*kept, *given[0])), "would take")
    step, kept, given = parts(drop(case), batch, device, form)
    turns = cycle(given)
    if "compiled" in form:
        torch.compiler.reset()  # it counts the shapes that one function was compiled for, and stops at eight
        step = torch.compile(step, fullgraph=True, dynamic=False)
        try:
            step(*kept, *given[0])
        except RuntimeError as error:  # the base of all that it raises
            cause = str(error).strip().partition("\n")[0]
            raise NotRun(f"torch.compile fails: {cause}", "see that a C++ program with Python.h compiles") from error
    tensors = [*kept, *(t for turn in given for t in turn)]
    return Work(lambda: step(*kept, *next(turns)), sum(t.nbytes for t in tensors))


def parts(
    here: Drop, batch: int, device: str, form: Form
) -> tuple[Callable[..., Any], tuple[Tensor, ...], list[tuple[Tensor, ...]]]:
    """A form's step, what stays from step to step, and what each of several steps is given besides."""
    cells = len(here.cells_m)
    random = torch.Generator().manual_seed(1)
    powers = [POWER_MW * (0.5 + 0.5 * torch.rand(batch, cells, generator=random)) for _ in range(INPUTS)]
    gain = torch.from_numpy(here.gain).float()

    def there(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.to(device).contiguous() for t in tensors)

    if form in ("eager", "compiled"):
        return served_sinr, there(gain), [there(p) for p in powers]
    if form in ("eager_strongest", "compiled_strongest"):
        return strongest_sinr, there(gain), [there(p) for p in powers]
    if form in ("matmul", "matmul_others"):
        serving = (gain * powers[0][0]).argmax(dim=1)
        own = gain.gather(1, serving[:, None])
        turns = [there(p.T, torch.rand(cells, batch, generator=random)) for p in powers]
        if form == "matmul":
            return sinr_by_product, there(gain, own, serving), turns
        return sinr_by_product_of_others, there(gain.scatter(1, serving[:, None], 0.0), own, serving), turns
    places = torch.from_numpy(here.users_m).float()
    users = [places[(torch.arange(batch) + i) % INPUTS] for i in range(INPUTS)]
    kept = there(torch.from_numpy(here.cells_m).float(), torch.from_numpy(here.boresight).float())

    def from_positions(cells_m: Tensor, boresight: Tensor, users_m: Tensor, power: Tensor) -> Tensor:
        return strongest_sinr(path_gain(users_m, cells_m, boresight, here.height_m), power)

    return from_positions, kept, [there(u, p) for u, p in zip(users, powers, strict=True)]


def served_sinr(gain: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """[N, P] SINR and serving cell, of gains [P, C] or [N, P, C] and powers [N, C]."""
    received = gain * power[:, None]
    own, serving = received.max(dim=2)
    return own / (received.sum(dim=2) - own + NOISE_MW), serving


def strongest_sinr(gain: Tensor, power: Tensor) -> Tensor:
    """[N, P] SINR alone: the greatest of numbers is found several times faster than where it stands."""
    received = gain * power[:, None]
    own = received.amax(dim=2)
    return own / (received.sum(dim=2) - own + NOISE_MW)


def sinr_by_product(gain: Tensor, own: Tensor, serving: Tensor, power: Tensor, load: Tensor) -> Tensor:
    """[P, N] of gains [P, C], gains to one's own cell [P, 1], cells [P], and powers and loads [C, N]."""
    busy = power * load
    return own * power[serving] / (gain @ busy).sub_(own * busy[serving]).add_(NOISE_MW)


def sinr_by_product_of_others(others: Tensor, own: Tensor, serving: Tensor, power: Tensor, load: Tensor) -> Tensor:
    """The same, of gains that are zero at one's own cell."""
    return own * power[serving] / (others @ (power * load)).add_(NOISE_MW)


def _compiler() -> None:
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if not any(map(shutil.which, wanted)):
        raise NotRun(f"torch.compile finds no C++ compiler ({', '.join(wanted)})", "install g++, or name one in CXX")

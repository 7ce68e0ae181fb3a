"""How cases of the roll-out bench are measured: one thread, one by one, none that the machine cannot hold."""

import ctypes
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from infra.exceptions import InfraError
from infra.replaying import one_thread

LIMIT_BYTES = 8 * 2**30
LIMIT_S = 60.0
BLOCKS = 5
SECONDS = 0.5  # of stepping, over all blocks

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class NotRun(InfraError):
    """A case that cannot be measured here."""


@dataclass(frozen=True)
class Case:
    """How large a network is: cells of three-sector sites, and users."""

    cells: int
    users: int

    def __post_init__(self) -> None:
        """Refuse what is no network of whole sites."""
        if self.cells < 3 or self.cells % 3 or self.users < 1:
            raise NotRun(f"{self} is no network of three-sector sites", "give a multiple of 3 cells, and users")

    def __str__(self) -> str:
        return f"{self.cells}x{self.users}"


CASES = (Case(21, 210), Case(57, 1000), Case(513, 9000))


@dataclass(frozen=True)
class Measured:
    """What one case took.

    Attributes
    ----------
    name, computes
        Of what, and what a step of it is.
    steps_per_s
        Scenarios stepped in a second; 0 where not run.
    milliseconds
        Of one call, which steps all scenarios of a batch.
    peak_bytes
        Arrays that it holds, and by how much memory grows in a step; None where the system does not tell.
    not_run
        Why not, and what to do about it; empty where it ran.
    """

    name: str
    computes: str
    steps_per_s: float
    milliseconds: float
    peak_bytes: int | None
    not_run: str = ""


@dataclass(frozen=True)
class Work:
    """What is to be measured, ready to step.

    Attributes
    ----------
    step
        Steps all scenarios once.
    held_bytes
        Size of the arrays that stay from step to step.
    """

    step: Callable[[], Any]
    held_bytes: int


@dataclass(frozen=True)
class Plan:
    """What is known of a case before it is prepared.

    Attributes
    ----------
    scenarios
        How many a call steps.
    peak_bytes
        Estimate of its memory.
    """

    name: str
    computes: str
    scenarios: int = 1
    peak_bytes: float = 0.0
    device: str = "cpu"


def measure(plan: Plan, prepare: Callable[[], Work], seconds: float = SECONDS) -> Measured:
    """The median of five blocks of calls that together last so many seconds, or why it was not run.

    Torch gets one thread; NumPy's loops over elements, all that the peers call, have no other.

    Parameters
    ----------
    plan
        What it is, and what it is expected to need.
    prepare
        Makes it, on one thread; it may raise NotRun.
    seconds
        At least so long, and at least one call a block.
    """
    try:
        _refuse_large(plan)
        with one_thread():
            return _measured(plan, prepare, seconds)
    except NotRun as reason:
        return _not_run(plan, reason)
    except (MemoryError, torch.OutOfMemoryError):
        return _not_run(plan, NotRun("memory ran out", "take a smaller network or batch"))


def _not_run(plan: Plan, reason: NotRun) -> Measured:
    return Measured(plan.name, plan.computes, 0.0, 0.0, None, f"{reason.cause}; {reason.remedy}")


def _measured(plan: Plan, prepare: Callable[[], Work], seconds: float) -> Measured:
    memory = _Cuda(plan.device) if plan.device.startswith("cuda") else _Resident()
    work = prepare()
    first = _timed(work.step, memory)
    refuse_slow(first)
    memory.watch()
    blocks = [_block(work.step, memory, seconds / BLOCKS) for _ in range(BLOCKS)]
    call = median(blocks)
    growth = memory.growth()
    peak = None if growth is None else work.held_bytes + growth
    return Measured(plan.name, plan.computes, plan.scenarios / call, 1000 * call, peak)


def _block(step: Callable[[], object], memory: "_Resident | _Cuda", seconds: float) -> float:
    """Seconds of a call."""
    began, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - began < seconds:
        step()
        calls += 1
    memory.wait()
    return (time.perf_counter() - began) / calls


def _timed(step: Callable[[], object], memory: "_Resident | _Cuda") -> float:
    return _block(step, memory, 0.0)


def _refuse_large(plan: Plan) -> None:
    here = torch.cuda.is_available() if plan.device.startswith("cuda") else True
    if not here:
        raise NotRun("torch finds no CUDA device", "run it where there is a GPU, with a CUDA build of torch")
    free = torch.cuda.mem_get_info()[0] if plan.device.startswith("cuda") else psutil.virtual_memory().available
    limit = min(LIMIT_BYTES, int(0.8 * free))
    if plan.peak_bytes > limit:
        raise NotRun(
            f"it would take {plan.peak_bytes / 2**30:.1f} GiB of memory, more than {limit / 2**30:.1f} GiB",
            "take a smaller network or batch",
        )


def refuse_slow(call_s: float, takes: str = "took") -> None:
    """Raise NotRun if calls that last so long would be too many seconds."""
    calls = 2 + BLOCKS
    if call_s * calls > LIMIT_S:
        raise NotRun(
            f"a call {takes} {call_s:.3g} s, so that the {calls} it needs last longer than {LIMIT_S:.0f} s",
            "take a smaller network or batch",
        )


def shortest(step: Callable[[], object], times: int = 3) -> float:
    """Seconds of the quickest of a few calls on a CPU: what a larger case can be told from."""
    return min(_timed(step, _Resident()) for _ in range(times))


class _Resident:
    """Resident memory of this process."""

    def __init__(self) -> None:
        self._before = 0

    def wait(self) -> None:
        """A CPU is done when it returns."""

    def watch(self) -> None:
        """Forget the peak so far, and give back what the first call left, lest a step fit into it unseen."""
        if hasattr(ctypes.CDLL(None), "malloc_trim"):
            ctypes.CDLL(None).malloc_trim(0)
        if _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text("5", encoding="ascii")  # 5: the peak becomes what is resident now, proc(5)
        self._before = resident_bytes()

    def growth(self) -> int | None:
        """From the call of watch to the peak."""
        peak = _status("VmHWM")
        return None if peak is None else max(0, peak - self._before)


class _Cuda:
    """Memory that torch has allocated on a GPU."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._before = 0

    def wait(self) -> None:
        """Until the GPU has done what it was given."""
        torch.cuda.synchronize(self._device)

    def watch(self) -> None:
        """Forget the peak so far."""
        self._before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)

    def growth(self) -> int | None:
        """From the call of watch to the peak."""
        return max(0, int(torch.cuda.max_memory_allocated(self._device)) - self._before)


def resident_bytes() -> int:
    """What this process has in memory; 0 where the system does not tell."""
    return _status("VmRSS") or 0


def _status(name: str) -> int | None:
    """A line of /proc/self/status in bytes; None where there is none."""
    if not _STATUS.exists():
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None

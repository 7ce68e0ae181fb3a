"""The form of every bench: raw numbers, and the goals they are held against."""

import operator
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

Op = Literal[">=", "<=", ">", "<", "=="]
_OPS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq,
}  # fmt: skip


class Goal(BaseModel):
    """What a figure should be.

    >>> Goal(name="counters/s", value=2.5e6, op=">=", goal=1e6).met
    True
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    value: float = Field(description="What was measured")
    op: Op
    goal: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool:
        """Whether value op goal holds."""
        return _OPS[self.op](self.value, self.goal)


class Side(BaseModel):
    """Figures side by side, as people would rather read them."""

    model_config = ConfigDict(frozen=True)

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row of {self.title!r} has not {len(self.columns)} entries")
        return self


class BenchResult(BaseModel):
    """One run of one bench."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    commit: str = Field(default_factory=lambda: commit(), description="Of the code that ran; + where it was changed")
    machine: str = Field(default_factory=lambda: machine())
    seconds: float = Field(ge=0, description="Wall time of the whole bench")
    figures: dict[str, float | int | str] = Field(description="All raw numbers, peers beside ours")
    goals: tuple[Goal, ...] = ()
    sides: tuple[Side, ...] = Field(default=(), description="In place of the raw numbers where a person reads")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [g.name for g in self.goals]
        if len(set(names)) != len(names):
            raise ValueError("a goal stands twice in a bench result")
        return self


def commit() -> str:
    """Short hash of the commit that runs, ``+`` after it if files were changed; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=here, capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def machine() -> str:
    """Processor, cores and system, without the machine's name."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"

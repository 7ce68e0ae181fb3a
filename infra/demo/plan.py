"""What a demo is run with: its inputs. Verdicts, roll-backs and alerts are not inputs; they are computed."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.exceptions import InfraError

DEFAULT_PLAN = Path(__file__).with_name("default.toml")


class DemoPlanError(InfraError):
    """The demo's plan file cannot be used."""


class ScheduledStrategy(BaseModel):
    """A person's strategy, handed in at a period."""

    model_config = ConfigDict(extra="forbid")
    at_period: int = Field(ge=1)
    file: Path = Field(description="Strategy file; relative to the plan file")


class ScheduledFault(BaseModel):
    """A fault injected into the live network at a period, in the words of the line protocol."""

    model_config = ConfigDict(extra="forbid")
    at_period: int = Field(ge=1)
    fault: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class DemoPlan(BaseModel):
    """Inputs of one demo run."""

    model_config = ConfigDict(extra="forbid")
    name: str = "evening"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    periods: int = Field(default=90, ge=3, le=10_000, description="Granularity periods to run")
    start: str = Field(default="2026-01-12T19:00:00Z", description="Simulated time at which the network starts")
    sites: int = Field(default=7, description="Sites of three cells each: 7 or 19")
    users: int = Field(default=400, ge=1, le=20_000)
    time_step_s: float = Field(default=1.0, description="Time step of the live network: 0.1 or 1 s")
    workers: int = Field(default=1, ge=1, le=16)
    strategies: list[ScheduledStrategy] = Field(default_factory=list)
    faults: list[ScheduledFault] = Field(default_factory=list)


def load_plan(path: Path = DEFAULT_PLAN) -> DemoPlan:
    """Read a plan file; strategy paths become absolute.

    Raises
    ------
    DemoPlanError
        If the file is missing, is not TOML, has an unknown or impossible entry, or names a strategy file that is
        not there.
    """
    try:
        plan = DemoPlan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DemoPlanError(f"cannot read {path}: {error.strerror}", "give the path of a plan file in TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise DemoPlanError(f"{path} is not TOML: {error}", "mend the file at that place") from None
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DemoPlanError(f"{path}: {lines}", "see infra/demo/default.toml for what a plan may say") from None
    for strategy in plan.strategies:
        strategy.file = (path.parent / strategy.file).resolve()
        if not strategy.file.is_file():
            raise DemoPlanError(f"{path} names {strategy.file}, which is not there", "write the file or mend its name")
    return plan

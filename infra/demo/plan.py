"""What a demo is run with: its inputs. Verdicts, roll-backs and alerts are not inputs; they are computed."""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from infra.exceptions import InfraError
from infra.roles.fault_plan import PlannedFault
from infra.roles.schedule import Entry

DEFAULT_PLAN = Path(__file__).with_name("default.toml")


class DemoPlanError(InfraError):
    """The demo's plan file cannot be used."""


class Approval(BaseModel):
    """A person approves a plan that waits for that."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str = Field(description="Title of the strategy")
    by: str = "demo"
    reason: str = ""


class DemoPlan(BaseModel):
    """Inputs of one demo run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = "evening"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    periods: int = Field(default=90, ge=3, le=10_000, description="Granularity periods to run")
    start: AwareDatetime = Field(description="Simulated time at which the network starts")
    sites: Literal[7, 19] = Field(default=7, description="Sites of three cells each")
    users: int = Field(default=400, ge=1, le=20_000)
    step_s: float = Field(default=1.0, gt=0, le=1, description="Time step of the live network, seconds")
    workers: int = Field(default=1, ge=1, le=16)
    reinject_at: tuple[int, ...] = Field(default=(), description="Periods in which dead letters are sent again")
    strategies: tuple[Entry, ...] = Field(default=(), description="A person's strategies, handed in at a revision")
    approvals: tuple[Approval, ...] = Field(
        default=(), description="Plans that a person approves as soon as they wait for it"
    )
    faults: tuple[PlannedFault, ...] = Field(default=(), description="Faults injected into the live network")

    @property
    def start_ms(self) -> int:
        """Start, epoch milliseconds."""
        return round(datetime.timestamp(self.start) * 1000)


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
    entries = tuple(e.model_copy(update={"file": (path.parent / e.file).resolve()}) for e in plan.strategies)
    for entry in entries:
        if not entry.file.is_file():
            raise DemoPlanError(f"{path} names {entry.file}, which is not there", "write the file or mend its name")
    return plan.model_copy(update={"strategies": entries})

"""A plan of faults to inject into the live network: a YAML list, one entry a fault.

::

    - at_period: 12            # before this period is run, counted from 1
      fault: cell_outage       # a name from the hello of the network
      target: SubNetwork=1,ManagedElement=gnb2,GNBDUFunction=1,NRCellDU=1
      duration_s: 180          # one period by default
      delay_s: 20              # within the period; 0 by default
      parameters: {}           # the fault's own

``target``, ``duration_s`` and ``delay_s`` may also stand among the parameters.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from infra.exceptions import SettingsError

_MESSAGE_FIELDS = ("target", "duration_s", "delay_s")


class PlannedFault(BaseModel):
    """One fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_period: int = Field(ge=1, description="Period before which it is injected, counted from 1")
    fault: str = Field(description="Name, as in the hello of the network")
    target: str = ""
    duration_s: float | None = Field(default=None, gt=0, description="Simulated seconds; None: one period")
    delay_s: float = Field(default=0, ge=0, description="Simulated seconds into the period")
    parameters: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _lift(cls, data: Any) -> Any:
        """Take the message's own fields out of the parameters."""
        if not isinstance(data, Mapping) or not isinstance(data.get("parameters"), Mapping):
            return data
        given = dict(data["parameters"])
        lifted = {name: given.pop(name) for name in _MESSAGE_FIELDS if name in given}
        return {**data, **lifted, "parameters": given}


class FaultPlan:
    """Faults by the period before which they are injected."""

    def __init__(self, faults: list[PlannedFault]) -> None:
        self._faults = faults

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read a plan; no path is an empty plan.

        Raises
        ------
        SettingsError
            If the file cannot be read or an entry is impossible.
        """
        if path is None:
            return cls([])
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or []
            return cls(TypeAdapter(list[PlannedFault]).validate_python(content))
        except OSError as error:
            raise SettingsError(
                f"cannot read the fault plan {path}: {error.strerror}", "correct bridge.faults"
            ) from None
        except yaml.YAMLError as error:
            raise SettingsError(f"the fault plan {path} is not YAML: {error}", "mend the file at that place") from None
        except ValidationError as error:
            lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise SettingsError(
                f"the fault plan {path}: {lines}", "write a list of {at_period, fault, target, duration_s, parameters}"
            ) from None

    def __bool__(self) -> bool:
        return bool(self._faults)

    def at(self, period: int) -> list[tuple[str, PlannedFault]]:
        """Faults to inject before this period, each with an id of its own."""
        return [(f"planned-{i}", f) for i, f in enumerate(self._faults) if f.at_period == period]

    def unknown(self, faults: list[str]) -> list[str]:
        """Names in the plan that the network does not have."""
        return sorted({f.fault for f in self._faults} - set(faults))

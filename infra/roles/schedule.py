"""A schedule of strategies to hand in at given periods: a YAML list of ``{at_period, file}``."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infra.exceptions import SettingsError
from loops.agents.from_file import load_strategy
from loops.exceptions import BadStrategyFile
from schemas.strategies import Strategy
from schemas.topology import Topology


class Entry(BaseModel):
    """One strategy: its file, relative to the schedule, and the twin revision at which it is handed in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_period: int = Field(ge=1)
    file: Path


_ENTRIES = TypeAdapter(list[Entry])


class Schedule:
    """Strategies of a schedule file for one region of a network.

    Parameters
    ----------
    path
        The file; None is an empty schedule.

    Raises
    ------
    SettingsError
        If the schedule or a strategy file in it cannot be used.
    """

    def __init__(self, path: Path | None, topology: Topology, region: str) -> None:
        self._topology, self._region = topology, region
        self._entries = _read(path) if path else []
        self.between(-1, max((e.at_period for e in self._entries), default=0), 0)  # mistakes show at the start

    def between(self, after: int, until: int, time_ms: int) -> list[Strategy]:
        """Strategies that fall due after one revision and by another, in order."""
        due = [e for e in self._entries if after < e.at_period <= until]
        try:
            return [
                load_strategy(
                    e.file, self._topology, proposed_at_ms=time_ms, revision=max(until, 0), region=self._region
                )
                for e in sorted(due, key=lambda e: e.at_period)
            ]
        except BadStrategyFile as error:
            raise SettingsError(str(error), "mend the strategy file, or take it out of inner.schedule") from None


def _read(path: Path) -> list[Entry]:
    try:
        entries = _ENTRIES.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"cannot read the schedule {path}: {error.strerror}", "correct inner.schedule") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"the schedule {path} is not YAML: {error}", "mend the file at that place") from None
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"the schedule {path}: {lines}", "write a list of {at_period, file}") from None
    return [Entry(at_period=e.at_period, file=path.parent / e.file) for e in entries]

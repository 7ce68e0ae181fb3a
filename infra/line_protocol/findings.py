"""What a conformance check finds."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"  # twinloop cannot work with this network
    WARNING = "warning"  # it can, with less
    INFO = "info"  # what this network does not have


class Finding(NamedTuple):
    """One thing found.

    Attributes
    ----------
    code
        Short and stable, for programs and for searching the documentation.
    """

    level: Level
    code: str
    message: str
    remedy: str


class Findings:
    """Collects findings; the same one in every period is one."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, level: Level, code: str, message: str, remedy: str, about: str = "") -> None:
        """Add a finding unless its code was found about the same thing before."""
        self._found.setdefault((code, about or message), Finding(level, code, message, remedy))

    def error(self, code: str, message: str, remedy: str, about: str = "") -> None:
        """Add an error."""
        self.add(Level.ERROR, code, message, remedy, about)

    def warning(self, code: str, message: str, remedy: str, about: str = "") -> None:
        """Add a warning."""
        self.add(Level.WARNING, code, message, remedy, about)

    def info(self, code: str, message: str, remedy: str = "nothing to do") -> None:
        """Add what is good to know."""
        self.add(Level.INFO, code, message, remedy)

    def all(self) -> list[Finding]:
        """Errors first, in the order found."""
        order = list(Level)
        return sorted(self._found.values(), key=lambda f: order.index(f.level))

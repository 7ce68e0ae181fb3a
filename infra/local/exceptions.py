"""What can go wrong with services on this machine.

::

    LocalServiceError
    ├── PortInUse               something else listens on a port we need
    ├── NotEnoughDisk           too little free space, found before it is needed or while writing
    ├── ArtefactsUnavailable    jars cannot be fetched, or are not the pinned ones
    ├── NoRuntime               the Java runtime or the PostgreSQL programs are not installed
    ├── NoUnprivilegedUser      root cannot get the account PostgreSQL must run under
    ├── DataFromOtherVersion    the data folder was written by another PostgreSQL
    ├── ServiceDied             a service ended while it was starting
    ├── StartTimeout            a service did not answer in time
    ├── StopTimeout             a service is still there after SIGKILL
    ├── Busy                    another command is starting or stopping the same services
    └── Cancelled               the start was interrupted
"""

from pathlib import Path

from infra.exceptions import InfraError


class LocalServiceError(InfraError):
    """Base of all errors of local services."""


class PortInUse(LocalServiceError):
    """Something else listens on a port a service needs."""

    def __init__(self, service: str, port: int, owner: str | None) -> None:
        held = f"held by {owner}" if owner else "held by a process this user may not see"
        super().__init__(
            f"{service} needs 127.0.0.1:{port}, which is in use: {held}",
            f"end that process, or choose another port (TWINLOOP_LOCAL__PORTS__{service.upper()}=NUMBER)",
        )
        self.service, self.port, self.owner = service, port, owner


class NotEnoughDisk(LocalServiceError):
    """There is too little free space."""

    def __init__(self, path: Path, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(
            f"{path} needs {needed_bytes / 1e6:.0f} MB of free disk and has {free_bytes / 1e6:.0f} MB",
            "free some space, or put the folder elsewhere (TWINLOOP_LOCAL__ROOT for data, TWINLOOP_CACHE for programs)",
        )


class ArtefactsUnavailable(LocalServiceError):
    """Jars cannot be fetched, or differ from the pinned ones."""


class NoRuntime(LocalServiceError):
    """The Java runtime or the PostgreSQL programs are not installed."""


class NoUnprivilegedUser(LocalServiceError):
    """PostgreSQL refuses to run as root and no other account can be had."""


class DataFromOtherVersion(LocalServiceError):
    """The data folder was written by another major version of PostgreSQL."""


class ServiceDied(LocalServiceError):
    """A service ended while it was starting."""


class StartTimeout(LocalServiceError):
    """A service did not answer before its deadline."""


class StopTimeout(LocalServiceError):
    """A service is still there after SIGKILL."""


class Busy(LocalServiceError):
    """Another command is starting or stopping the same services."""


class Cancelled(LocalServiceError):
    """The start was interrupted."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the start of {service} was interrupted", "start it again")

"""Where the local services listen, and who is there already."""

import random
import socket
from contextlib import suppress
from dataclasses import dataclass, fields

import psutil

from infra.local.exceptions import PortInUse

LOOPBACK = "127.0.0.1"
# Below every platform's ephemeral range, so that no outgoing connection takes the port between choice and use.
_FREE_RANGE = range(20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1. The defaults keep clear of the services' usual ports."""

    kafka: int = 19092
    kafka_controller: int = 19093
    registry: int = 18081
    postgres: int = 15432

    @classmethod
    def free(cls) -> "Ports":
        """Ports nobody listens on now, chosen at random so that two callers rarely meet."""
        chosen: list[int] = []
        while len(chosen) < len(fields(cls)):
            port = random.choice(_FREE_RANGE)
            if port not in chosen and _can_bind(port):
                chosen.append(port)
        return cls(*chosen)


def require_free(service: str, port: int) -> None:
    """Make sure a service can listen.

    Raises
    ------
    PortInUse
        Naming the process that holds the port, when this user may see it.
    """
    if not _can_bind(port):
        raise PortInUse(service, port, _listener(port))


def is_listening(port: int, timeout_s: float = 0.5) -> bool:
    """Whether something accepts connections on the port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout_s).close()
    except OSError:
        return False
    return True


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the services do: connections in TIME_WAIT do not block a restart, listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _listener(port: int) -> str | None:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid})"
    return None

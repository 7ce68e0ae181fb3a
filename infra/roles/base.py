"""What a role is, what it is given, and how several run in one process until they are told to stop.

A role does its work in *attempts*. When a service it needs is away, the attempt ends, and after a pause the next one
begins where a new process would: at the last durable state. So a lost connection and a killed process come back the
same way, and there is one way to test.
"""

import importlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

import structlog

from infra.exceptions import InfraError, SettingsError
from infra.metrics import RETRIES
from infra.settings import Settings, secret
from infra.storage.database import Database, claim
from infra.storage.exceptions import DatabaseUnavailable
from schemas.exceptions import RegistryUnavailable
from streams.clock import Clock, SystemClock
from streams.exceptions import BrokerUnavailable, CommitFailed, DeliveryFailed, TopicMissing, TransportError
from streams.kafka import KafkaTransport
from streams.schema_ids import RegistryIds
from streams.serde import Serde
from streams.transport import Transport

ROLES = ("bridge", "twin", "features", "worker", "inner", "outer", "learn", "alerts")
# A service that restarts is back in seconds; one that stays away is asked twice a minute.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
_LOOK_AGAIN_S = 0.5
# Longest a role may take to finish what it is doing after a stop: a shard, a period, a transaction.
_STOP_DEADLINE_S = 60.0

# What a retry can cure, and the service that is away.
_AWAY: dict[type[Exception], str] = {
    DatabaseUnavailable: "database",
    RegistryUnavailable: "registry",
    BrokerUnavailable: "kafka",
    DeliveryFailed: "kafka",
    CommitFailed: "kafka",
    # Topics without a leader look as if they were missing; each attempt makes sure that they are there.
    TopicMissing: "kafka",
}

StepHook = Callable[[str, int, int], None]


def _nothing(role: str, step: int, period_end_ms: int) -> None:
    """What happens after a step when nobody asked."""


@dataclass(frozen=True)
class Context:
    """What every role is given.

    Attributes
    ----------
    settings
        The whole tree.
    network_id, region
        What it works on.
    transport, serde
        Topics and their events.
    database_url
        PostgreSQL; never shown.
    clock
        For what must wait; event logic reads event time.
    after_step
        Called with role, step and period after each numbered step of a role's delivery order; tests break off there.
    """

    settings: Settings
    network_id: str
    region: str
    transport: Transport
    serde: Serde
    database_url: str = field(repr=False)
    clock: Clock = field(default_factory=SystemClock)
    after_step: StepHook = _nothing

    @classmethod
    def of(cls, settings: Settings) -> "Context":
        """What the settings describe; nothing is connected yet.

        Raises
        ------
        SettingsError
            If a secret's file cannot be read.
        BadProperty
            If a Kafka property is unknown.
        """
        kafka = settings.kafka
        return cls(
            settings=settings,
            network_id=settings.network_id,
            region=settings.region,
            transport=KafkaTransport(
                kafka.bootstrap_servers, kafka.properties(), replication_factor=kafka.replication_factor
            ),
            serde=Serde(RegistryIds(settings.registry.url, registry_properties(settings))),
            database_url=settings.database.location(),
        )

    def database(self, name: str) -> Database:
        """A connection of one's own, opened when needed."""
        return Database(self.database_url, f"twinloop {name}")


class Role(Protocol):
    """One job of twinloop."""

    @property
    def name(self) -> str:
        """As in ``twinloop run NAME``."""
        ...

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then leave in good order. Raises what no retry can cure."""
        ...


def build(names: Sequence[str], context: Context) -> list[Role]:
    """The roles of these names; ``infra/roles/<name>.py`` has ``build(context)``.

    Raises
    ------
    SettingsError
        If there is no such role.
    """
    roles: list[Role] = []
    for name in names:
        if name not in ROLES:
            raise SettingsError(f"no role {name!r}", f"roles are {', '.join(ROLES)}")
        roles.append(importlib.import_module(f"infra.roles.{name}").build(context))
    return roles


def run_roles(roles: Sequence[Role], stop: threading.Event | None = None) -> int:
    """Run roles side by side until SIGTERM, SIGINT, ``stop``, or until one fails or all have finished.

    A second signal does not wait for what they are doing.

    Returns
    -------
    int
        Exit code: 0, or 1 if a role failed; then the others are stopped too.
    """
    stop = stop or threading.Event()
    log = structlog.get_logger()
    failed: list[str] = []

    def body(role: Role) -> None:
        try:
            role.run(stop)
            log.info("role ended", role=role.name)
        except Exception as error:
            failed.append(role.name)
            if _explained(error):
                log.error("role failed", role=role.name, error=str(error))
            else:
                log.exception("role failed for a reason nobody foresaw; please report it", role=role.name)
            stop.set()

    threads = [threading.Thread(target=body, args=(role,), name=role.name, daemon=True) for role in roles]
    with _signals_to(stop):
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not stop.is_set():
            stop.wait(0.2)  # wakes for signals on every platform
        stop.set()
        for thread in threads:
            thread.join(_STOP_DEADLINE_S)
    for thread in threads:
        if thread.is_alive():
            failed.append(thread.name)
            log.error("role does not stop; it is left behind", role=thread.name, waited_s=_STOP_DEADLINE_S)
    return 1 if failed else 0


def keep_trying(role: str, stop: threading.Event, attempt: Callable[[], None]) -> None:
    """Run attempts until one ends by itself (it was told to stop); pause and try again while a service is away.

    Parameters
    ----------
    attempt
        Begins at the last durable state and works until ``stop`` is set.
    """
    log = structlog.get_logger().bind(role=role)
    pause_s = _FIRST_PAUSE_S
    while not stop.is_set():
        began = time.monotonic()
        try:
            attempt()
            return
        except Exception as error:
            service = _away(error)
            if service is None:
                raise
            RETRIES.labels(role, service).inc()
            log.warning("a service is away; trying again", service=service, pause_s=pause_s, error=str(error))
        if time.monotonic() - began > _LONGEST_PAUSE_S:
            pause_s = _FIRST_PAUSE_S  # it had worked for a while: a new trouble, not the old one
        stop.wait(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def stand_by(database: Database, right: str, stop: threading.Event) -> bool:
    """Wait until this process alone has a right, such as writing a region's twin; False if told to stop first.

    The right lasts as long as the database connection.
    """
    told = False
    while not stop.is_set():
        with database.transaction() as connection:
            if claim(connection, right):
                return True
        if not told:
            structlog.get_logger().info("another process does this; standing by", right=right)
            told = True
        stop.wait(_LOOK_AGAIN_S)
    return False


def _away(error: Exception) -> str | None:
    """Which service is away, if waiting can mend the error."""
    if type(error) is TransportError:
        return "kafka"  # the broker answers, but not well; what no waiting mends has a type of its own
    return next((name for kind, name in _AWAY.items() if isinstance(error, kind)), None)


def _explained(error: Exception) -> bool:
    """Whether its text already says what is wrong and what to do."""
    return isinstance(error, InfraError | TransportError) or hasattr(error, "remedy")


@contextmanager
def _signals_to(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set ``stop``; the second one is as if nobody had caught it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone; whoever runs us there handles them
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def registry_properties(settings: Settings) -> dict[str, object]:
    """Properties of the registry's client; secrets in clear, for the client alone."""
    registry = settings.registry
    properties: dict[str, object] = {}
    if registry.username is not None:
        properties["basic.auth.user.info"] = (
            f"{registry.username}:{secret(registry.password, registry.password_file) or ''}"
        )
    if registry.ssl_ca_location is not None:
        properties["ssl.ca.location"] = str(registry.ssl_ca_location)
    return properties

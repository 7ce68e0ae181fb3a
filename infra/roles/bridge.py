"""The bridge role: runs a live network that speaks the line protocol, puts its events on Kafka, carries commands back.

Delivery order, for each period (docs/live_network_protocol.md says what becomes of lines that are no events):

1. inject the faults that are planned before the period, and step the network: it reports one period;
2. produce its events, each under its managed element's key, and wait for the acknowledgements;
3. produce the barrier: the end of the period and the next offset of every telemetry partition; wait again;
4. serve commands while the loops work: command to the network, answer to ``config.acks``, wait for the
   acknowledgement, then commit the command's offset. In lock-step, until every named role has finished the period.

What is broken off after 1 to 3 is done again with the same period, which is kept until the barrier is acknowledged:
its events repeat under the same ids, its barrier counts once. A command whose offset was not committed is handed to
the network again, which knows its id and answers DUPLICATE: it is applied once.

An event that is not valid, and a line that is no JSON, go as the bytes they are to the topic they were for (damaged
JSON: ``telemetry.pm``) under the key of the managed element that can be made out, with the header ``twinloop-problem``.
There the twin role counts and dead-letters them like everything else: one place refuses, and nothing gets lost.

The network lives as long as the role: attempts that end because Kafka or the database is away do not restart it. If
its process dies the role ends with the network's last words; a new run begins under a new network id or a later start.
"""

import sys
import threading
import time
from contextlib import ExitStack, closing

import structlog

from infra.exceptions import SettingsError
from infra.line_protocol.client import LineNetwork, Period
from infra.line_protocol.exceptions import RequestRefused, Stopped
from infra.metrics import STEP_SECONDS
from infra.roles.base import Context, keep_trying, stand_by
from infra.roles.bridge_commands import CommandDesk
from infra.roles.bridge_telemetry import TelemetryWriter, reports_configuration, snapshots
from infra.roles.fault_plan import FaultPlan
from infra.storage import progress
from infra.storage.database import Database
from infra.storage.rows import upsert
from schemas.topics import TOPICS

NAME = "bridge"
# How often commands are looked for while the loops work. Kafka hands over what is there at once; this is the pause
# between two looks at the database.
_SERVE_EVERY_S = 0.05
_LOOK_AGAIN_S = 0.5


def build(context: Context) -> "BridgeRole":
    """The bridge to the context's network.

    Raises
    ------
    SettingsError
        If the fault plan cannot be used.
    """
    return BridgeRole(context)


class BridgeRole:
    """Runs a network, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings.bridge
        self._plan = FaultPlan.read(self._settings.faults)
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``, or until the last period has been run."""
        try:
            with LineNetwork(
                self._command(), self._context.network_id, self._settings.period_deadline_s, stop
            ) as network:
                run = _Run(self._context, network, self._plan)
                keep_trying(NAME, stop, lambda: run.attempt(stop))
        except Stopped:
            self._log.info("stopped while the network was at work")

    def _command(self) -> list[str]:
        """The executable; the reference network where none is named."""
        return list(self._settings.command) or [sys.executable, "-m", "infra.network"]


class _Run:
    """One run of a network: what outlives the attempts of the role."""

    def __init__(self, context: Context, network: LineNetwork, plan: FaultPlan) -> None:
        self._context, self._network, self._plan = context, network, plan
        self._settings = context.settings.bridge
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id)
        self._now_ms: int | None = network.hello.time_ms if network.hello.running else None
        self._done = 0  # periods whose barrier is acknowledged
        self._pending: Period | None = None  # reported by the network, not yet on Kafka
        self._injected: set[str] = set()

    def attempt(self, stop: threading.Event) -> None:
        """Steps 1 to 4, again and again."""
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            if not stand_by(database, f"{NAME}|{context.network_id}", stop):
                return
            context.transport.ensure_topics(TOPICS)
            self._introduce(database)
            writer = stack.enter_context(closing(TelemetryWriter(context, self._network.hello.period_s)))
            desk = stack.enter_context(closing(CommandDesk(context, self._network)))
            watch = stack.enter_context(progress.ProgressWatch(context.database_url))
            while not stop.is_set() and (self._settings.periods is None or self._done < self._settings.periods):
                began = time.monotonic()
                end_ms = self._report(writer, database)
                STEP_SECONDS.labels(NAME).observe(time.monotonic() - began)
                self._serve(desk, watch, end_ms, stop)
                context.after_step(NAME, 4, end_ms)

    def _introduce(self, database: Database) -> None:
        """Start the network, and write down what it is."""
        hello, context = self._network.hello, self._context
        if self._now_ms is None:
            self._must_be_new(database)
            self._now_ms = self._network.start(self._settings.seed, self._settings.start_ms, self._settings.options)
            self._log.info(
                "network started", name=hello.network.name, version=hello.network.version, hash=hello.network.hash,
                cells=len(hello.topology.cells), levers=hello.levers, capabilities=hello.capabilities,
            )  # fmt: skip
            self._say_what_cannot_be_injected()
            if left_out := self._network.translation.left_out:
                self._log.warning("counters of the network that nobody here knows are left out", counters=left_out)
        row = {
            "network_id": context.network_id,
            "topology": hello.topology,
            "levers": hello.levers,
            "capabilities": hello.capabilities,
            "parameters_hash": hello.network.hash,
            "granularity_s": hello.period_s,
            "updated_ms": self._now_ms,
        }
        with database.transaction() as connection:
            upsert(connection, "networks", row)

    def _must_be_new(self, database: Database) -> None:
        """Periods that were reported once are closed: reported again, all their events would be late."""
        with database.transaction() as connection:
            before = progress.reached(connection, self._context.network_id).get(NAME)
        if before is not None and before > self._settings.start_ms:
            raise SettingsError(
                f"network {self._context.network_id} has been reported up to {before}, "
                f"and is to start at {self._settings.start_ms}",
                "give the new run a network_id of its own, or a later bridge.start_ms",
            )

    def _say_what_cannot_be_injected(self) -> None:
        hello = self._network.hello
        if self._plan and "inject" not in hello.capabilities:
            self._log.warning("this network cannot inject faults; the fault plan has no effect")
        elif unknown := self._plan.unknown(hello.faults):
            self._log.warning("this network does not have these faults", faults=unknown)

    def _report(self, writer: TelemetryWriter, database: Database) -> int:
        """Steps 1 to 3: the end of the period that is on Kafka now."""
        if self._pending is None:
            self._inject(self._done + 1)
            self._pending = self._with_configuration(self._network.step())
        period = self._pending
        self._context.after_step(NAME, 1, period.end_ms)
        writer.write(period.received, period.end_ms)
        self._context.after_step(NAME, 2, period.end_ms)
        writer.close_period(period.end_ms)
        self._context.after_step(NAME, 3, period.end_ms)
        self._pending, self._now_ms, self._done = None, period.end_ms, self._done + 1
        with database.transaction() as connection:
            progress.report(connection, self._context.network_id, NAME, period.end_ms)
        self._log.info("period reported", period=self._done, period_end_ms=period.end_ms, lines=len(period.received))
        return period.end_ms

    def _with_configuration(self, period: Period) -> Period:
        """The period with what is configured at its end, asked for where the network does not report it."""
        if reports_configuration(period.received):
            return period
        asked = snapshots(self._context.network_id, self._network.query(), period.end_ms)
        return period._replace(received=[*period.received, *asked])

    def _inject(self, number: int) -> None:
        if "inject" not in self._network.hello.capabilities:
            return
        for name, fault in self._plan.at(number):
            if name in self._injected:
                continue
            self._injected.add(name)
            duration_s = fault.duration_s or float(self._network.hello.period_s)
            try:
                self._network.inject(name, fault.fault, fault.target, duration_s, fault.delay_s, fault.parameters)
                self._log.info("fault injected", fault=fault.fault, target=fault.target, period=number)
            except RequestRefused as error:
                self._log.error("the network refuses a planned fault", fault=fault.fault, error=error.cause)

    def _serve(self, desk: CommandDesk, watch: progress.ProgressWatch, end_ms: int, stop: threading.Event) -> None:
        """Step 4."""
        lockstep = self._context.settings.lockstep

        def meanwhile() -> None:
            if stop.is_set():
                raise Stopped("told to stop while waiting for the loops", "start again when ready")
            desk.serve()

        meanwhile()
        if lockstep.roles:
            watch.wait(self._context.network_id, lockstep.roles, end_ms, lockstep.deadline_s, meanwhile, _SERVE_EVERY_S)
            meanwhile()  # a role may report right after it has published its last command

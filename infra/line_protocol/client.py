"""twinloop's side of the protocol: drives a network that runs as an executable.

Requests are answered in order, so an answer that fails to come shows without waiting: a command is followed by an
empty query, and when the query is answered and the command is not, the command got lost.
"""

import itertools
import json
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ValidationError

from infra.line_protocol.exceptions import (
    NetworkSilent,
    ProtocolViolation,
    RequestRefused,
    Stopped,
    WrongProtocol,
)
from infra.line_protocol.layouts import Translation
from infra.line_protocol.messages import (
    PROTOCOL,
    Ack,
    Command,
    ConfigurationLine,
    ErrorLine,
    Fork,
    Forked,
    Hello,
    Inject,
    Injected,
    Line,
    PeriodEndLine,
    Query,
    RawChange,
    Start,
    Started,
    Step,
    Stop,
    from_network,
)
from infra.line_protocol.process import MAX_LINE, STOP_S, LineProcess
from infra.line_protocol.reception import Received, explain, poison, receive
from schemas.counters import common_layout
from schemas.telemetry import AttributeValue

_L = TypeVar("_L", bound=Line)
_LOOK_EVERY_S = 0.2
_MOST_POISON = 1000  # lines that are no JSON between two answers: damage below, not a protocol above


class Period(NamedTuple):
    """One period as reported."""

    end_ms: int
    received: list[Received]


class LineNetwork:
    """A running network.

    Parameters
    ----------
    command
        Executable with arguments.
    network_id
        Stamped on topology and events; None keeps the network's own.
    silence_s
        Longest time between two lines while an answer is due.
    stop
        Set from elsewhere to end a wait.

    Attributes
    ----------
    hello
        Who it is and what it can do.
    translation
        How its counters are brought into the common layout.

    Raises
    ------
    NetworkDied, NetworkSilent, WrongProtocol, ProtocolViolation
        If it does not begin with a good hello; the process is ended then.

    Examples
    --------
    ::

        with LineNetwork(["python", "-m", "infra.network"]) as network:
            network.start(seed=1, start_time_ms=0)
            period = network.step()
    """

    def __init__(
        self,
        command: Sequence[str] | str,
        network_id: str | None = None,
        silence_s: float = 120.0,
        stop: threading.Event | None = None,
    ) -> None:
        self._stop = stop or threading.Event()
        self._silence_s = silence_s
        self._given_id = network_id
        self._events: list[Received] = []
        self._late_acks: list[Ack] = []
        self._fences = itertools.count(1)
        self._poisoned = 0
        self._process = LineProcess(command)
        try:
            self.hello = self._greet()
        except BaseException:
            self._process.close()
            raise
        self.network_id = self.hello.topology.network_id
        self.translation = Translation(self.hello.layouts, common_layout(sliced=bool(self.hello.topology.slices)))

    @property
    def command_line(self) -> list[str]:
        """What was started."""
        return list(self._process.arguments)

    @property
    def pid(self) -> int:
        """Process id of the executable."""
        return self._process.pid

    def start(self, seed: int, start_time_ms: int, options: dict[str, Any] | None = None) -> int:
        """Begin a run; the simulated time at which it stands.

        Raises
        ------
        RequestRefused
            If the network refuses (so do all requests below).
        """
        self._send(Start(seed=seed, start_time_ms=start_time_ms, options=options or {}))
        return self._await(Started, None).time_ms

    def step(self) -> Period:
        """Run one period."""
        self._send(Step())
        end = self._await(PeriodEndLine, None)
        return Period(end.period_end_ms, self.take_events())

    def command(self, command_id: str, managed_element: str, changes: Sequence[AttributeValue]) -> Ack | None:
        """Set attributes; None if the network did not answer: the command got lost on its way."""
        raw = [RawChange(object=c.object, attribute=c.attribute, value=c.value) for c in changes]
        return self.send_command(Command(id=command_id, managed_element=managed_element, changes=raw))

    def send_command(self, command: Command) -> Ack | None:
        """The same with a message as it stands, right or wrong."""
        fence = f"fence-{next(self._fences)}"
        self._send(command)
        self._send(Query(id=fence, objects=[]))
        answer: Ack | None = None
        while True:
            line = self._next()
            if isinstance(line, Ack) and line.id == command.id and answer is None:
                answer = line
            elif isinstance(line, ConfigurationLine | ErrorLine) and line.id == fence:
                return answer
            else:
                self._other(line, f"the acknowledgement of {command.id}")

    def query(self, objects: Sequence[str] | None = None) -> list[AttributeValue]:
        """What is set now on these objects (on all, if none are named)."""
        name = f"query-{next(self._fences)}"
        self._send(Query(id=name, objects=None if objects is None else list(objects)))
        return self._await(ConfigurationLine, name).values

    def fork(self) -> list[str]:
        """Save a copy of the running state; the arguments to add to the command line that continues it."""
        name = f"fork-{next(self._fences)}"
        self._send(Fork(id=name))
        return self._await(Forked, name).arguments

    def inject(
        self,
        fault_id: str,
        fault: str,
        target: str = "",
        duration_s: float = 60.0,
        delay_s: float = 0.0,
        parameters: dict[str, float] | None = None,
    ) -> None:
        """Let a fault happen, ``delay_s`` of simulated time from now."""
        self._send(
            Inject(
                id=fault_id,
                fault=fault,
                target=target,
                delay_s=delay_s,
                duration_s=duration_s,
                parameters=parameters or {},
            )
        )
        self._await(Injected, fault_id)

    def send_raw(self, text: str) -> None:
        """Send any line (the conformance checker asks the network odd things)."""
        self._process.write(text)

    def take_events(self) -> list[Received]:
        """Telemetry that came since it was last taken."""
        events, self._events = self._events, []
        return events

    def take_acks(self) -> list[Ack]:
        """Acknowledgements that came after their command had been given up for lost."""
        acks, self._late_acks = self._late_acks, []
        return acks

    def close(self, patience_s: float = STOP_S) -> int:
        """Stop the network and end its process, by force if it does not end in time; its exit code."""
        return self._process.close(Stop().model_dump_json(), patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- lines

    def _send(self, line: BaseModel) -> None:
        self._poisoned = 0
        self._process.write(line.model_dump_json())

    def _await(self, kind: type[_L], name: str | None) -> _L:
        """The answer of that kind (and id)."""
        while True:
            line = self._next()
            if isinstance(line, kind) and (name is None or getattr(line, "id", None) == name):
                return line
            if isinstance(line, ErrorLine) and line.id in (name, None):
                raise RequestRefused(f"the network refuses: {line.message} ({line.code})", "correct the request")
            self._other(line, kind.__name__)

    def _other(self, line: Line, awaited: str) -> None:
        """A line that answers something else."""
        if isinstance(line, Ack):
            self._late_acks.append(line)
        elif isinstance(line, ConfigurationLine | ErrorLine):
            pass  # answers a request that was given up, or complains of a line that nobody waits for
        else:
            raise ProtocolViolation(
                f"the network wrote {getattr(line, 'type', '?')} while {awaited} was due: {_shown(line)}",
                "answer requests in order; docs/live_network_protocol.md says with what",
            )

    def _next(self) -> Line:
        """The next line that is no telemetry; telemetry is put aside."""
        while True:
            text = self._read()
            try:
                content = json.loads(text)
            except ValueError as error:
                self._put_aside(poison(text, f"the line is no JSON: {error}"))
                continue
            kind = content.get("type") if isinstance(content, dict) else None
            if kind == "event":
                self._events.append(receive(content, text, self.network_id, self.translation))
                continue
            try:
                return from_network.validate_python(content)
            except ValidationError as error:
                raise ProtocolViolation(
                    f"the network wrote a line of type {kind!r} that the protocol does not know: {explain(error)}",
                    "see docs/live_network_protocol.md for the lines of a network",
                ) from error

    def _put_aside(self, damaged: Received) -> None:
        self._poisoned += 1
        if self._poisoned > _MOST_POISON:
            raise ProtocolViolation(
                f"the network wrote {self._poisoned} lines that are no JSON, last {_clip(damaged.raw)}",
                "keep logs out of stdout: write them to stderr",
            )
        self._events.append(damaged)

    def _read(self) -> bytes:
        end = time.monotonic() + self._silence_s
        while True:
            if self._stop.is_set():
                raise Stopped("told to stop while the network was at work", "start again when ready")
            line = self._process.read(_LOOK_EVERY_S)
            if line is not None:
                if len(line) >= MAX_LINE:
                    raise ProtocolViolation(
                        f"the network wrote a line of more than {MAX_LINE} bytes", "split the event by managed element"
                    )
                return line
            if time.monotonic() > end:
                raise NetworkSilent(
                    f"the network said nothing for {self._silence_s:g} s while an answer was due",
                    "flush stdout after every line; if it only needs longer, raise bridge.period_deadline_s",
                )

    def _greet(self) -> Hello:
        text = self._read()
        try:
            content = json.loads(text)
        except ValueError:
            content = None
        if not isinstance(content, dict) or content.get("type") != "hello":
            raise ProtocolViolation(
                f"the first line of the network is no hello: {_clip(text)}",
                "write hello first, unasked, and keep logs out of stdout",
            )
        if content.get("protocol") != PROTOCOL:
            raise WrongProtocol(
                f"the network speaks {content.get('protocol')!r}, twinloop speaks {PROTOCOL!r}",
                "use a version of the network that speaks the same protocol",
            )
        topology = content.get("topology")
        if self._given_id is not None and isinstance(topology, dict):
            topology["network_id"] = self._given_id
        try:
            return Hello.model_validate(content)
        except ValidationError as error:
            raise ProtocolViolation(
                f"the network's hello is not valid: {explain(error)}",
                "compare it with the hello of docs/live_network_protocol.md",
            ) from error


def _clip(text: bytes, width: int = 200) -> str:
    shown = text[:width].decode(errors="replace")
    return f"{shown!r}{' …' if len(text) > width else ''}"


def _shown(line: Line) -> str:
    return _clip(line.model_dump_json().encode())

"""The network's side of the protocol: reads requests, lets a network answer them, writes lines."""

import json
from collections.abc import Iterable, Sequence
from typing import Protocol, TextIO

from pydantic import ValidationError

from infra.line_protocol.exceptions import RequestRefused
from infra.line_protocol.messages import (
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
    Start,
    Started,
    Step,
    Stop,
    to_network,
)
from schemas.plans import AckStatus
from schemas.telemetry import AttributeValue

Text = tuple[str | None, str]
"""A topic and an event's JSON; without topic, a line as it stands."""


class ServedNetwork(Protocol):
    """What a network offers to be served. Refuse a request by raising RequestRefused."""

    @property
    def running(self) -> bool:
        """Whether it has been started."""

    @property
    def now_ms(self) -> int:
        """Simulated time."""

    def hello(self) -> Hello:
        """Who it is."""

    def start(self, request: Start) -> Iterable[Text]:
        """Begin; returns events to report at once."""

    def step(self) -> Iterable[Text]:
        """Run one period and report it."""

    def command(self, request: Command) -> tuple[AckStatus, str, Iterable[Text]] | None:
        """Carry out a command: status, reason, events. None: it got lost, say nothing."""

    def query(self, objects: Sequence[str] | None) -> list[AttributeValue]:
        """Present values."""

    def fork(self) -> list[str]:
        """Save the state; returns the arguments with which the executable continues it."""

    def inject(self, request: Inject) -> None:
        """Let a fault happen."""


def serve(network: ServedNetwork, requests: Iterable[str], out: TextIO) -> None:
    """Answer requests, one a line, until stop or the end of input.

    Every request gets its answer before the next is read, so whoever asks may rely on the order.
    """
    _write(out, network.hello())
    for text in requests:
        if not text.strip():
            continue
        try:
            request = to_network.validate_json(text)
        except ValidationError as error:
            _write(out, ErrorLine(code="bad_request", message=_short(error)))
            continue
        if isinstance(request, Stop):
            return
        name = getattr(request, "id", None)
        if not network.running and not isinstance(request, Start):
            message = f"{request.type} before start; send start first"
            _write(out, ErrorLine(id=name, code="not_started", message=message))
            continue
        try:
            _answer(network, request, out)
        except RequestRefused as error:
            _write(out, ErrorLine(id=name, code="refused", message=error.cause))


def _answer(network: ServedNetwork, request: Line, out: TextIO) -> None:
    match request:
        case Start():
            if network.running:
                raise RequestRefused("start: already started", "start a new process for a new run")
            events = network.start(request)
            _write(out, Started(time_ms=network.now_ms), flush=False)
            _report(out, events)
        case Step():
            _report(out, network.step(), flush=False)
            _write(out, PeriodEndLine(period_end_ms=network.now_ms), flush=False)
        case Command():
            answer = network.command(request)
            if answer is not None:
                status, reason, events = answer
                _write(out, Ack(id=request.id, status=status, reason=reason, time_ms=network.now_ms), flush=False)
                _report(out, events, flush=False)
        case Query():
            values = network.query(request.objects)
            _write(out, ConfigurationLine(id=request.id, values=values, time_ms=network.now_ms), flush=False)
        case Fork():
            _write(out, Forked(id=request.id, arguments=network.fork()), flush=False)
        case Inject():
            network.inject(request)
            _write(out, Injected(id=request.id), flush=False)
    out.flush()


def _report(out: TextIO, events: Iterable[Text], flush: bool = True) -> None:
    for topic, text in events:
        # The event is JSON already: wrapping it as text spares parsing it again.
        out.write(text if topic is None else f'{{"type":"event","topic":{json.dumps(topic)},"event":{text}}}')
        out.write("\n")
    if flush:
        out.flush()


def _write(out: TextIO, line: Line, flush: bool = True) -> None:
    out.write(line.model_dump_json())
    out.write("\n")
    if flush:
        out.flush()


def _short(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"

"""The conformance checker: tells the author of a network what twinloop would trip over, and how to mend it."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from infra.line_protocol.client import LineNetwork, Period
from infra.line_protocol.command_checks import CommandChecks
from infra.line_protocol.exceptions import LineProtocolError, RequestRefused
from infra.line_protocol.findings import Finding, Findings, Level
from infra.line_protocol.messages import Hello
from infra.line_protocol.period_checks import PeriodChecks
from schemas.levers import LEVERS
from schemas.names import managed_element_of

__all__ = ["Finding", "Level", "check"]

# A Monday evening: networks with a daily shape are busy then. A multiple of an hour, so of every period.
START_MS = 1_768_244_400_000
_PERIODS = 3
_SEED = 11


def check(command: Sequence[str] | str, silence_s: float = 60.0) -> list[Finding]:
    """Run a network through the protocol and say what is wrong with it; nothing of level ERROR is a pass.

    Parameters
    ----------
    command
        Executable with arguments.
    silence_s
        Longest time between two lines while an answer is due.
    """
    return _Check(command, silence_s).run()


class _Check:
    def __init__(self, command: Sequence[str] | str, silence_s: float) -> None:
        self._command, self._silence_s = command, silence_s
        self._findings = Findings()

    def run(self) -> list[Finding]:
        """All checks; each goes on after findings, but not after the network is gone."""
        first: list[Period] = []
        hello = self._guarded("run", lambda: self._first_run(first))
        if hello is not None:
            self._guarded("seed", lambda: self._second_run(hello, first))
            if "inject" in hello.capabilities:
                self._guarded("inject", lambda: self._inject(hello))
        return self._findings.all()

    def _guarded(self, code: str, part: Callable[[], Hello | None]) -> Hello | None:
        """Run a part; what the client cannot go on from is a finding."""
        try:
            return part()
        except LineProtocolError as error:
            kind = type(error).__name__
            self._findings.error(f"{code}-{_CODES.get(kind, 'failed')}", error.cause, error.remedy)
            return None

    def _open(self) -> LineNetwork:
        return LineNetwork(self._command, silence_s=self._silence_s)

    # -- parts

    def _first_run(self, periods: list[Period]) -> Hello:
        """Periods, commands, fork, stop."""
        f = self._findings
        network = self._open()
        try:
            hello = network.hello
            self._check_hello(hello)
            started = network.start(_SEED, START_MS)
            if started != START_MS:
                f.error(
                    "start-time", f"started at {started}, told to start at {START_MS}",
                    "begin at start_time_ms: it is a multiple of every period length that divides an hour",
                )  # fmt: skip
            checks = PeriodChecks(hello, started, f)
            commands = CommandChecks(network, f)
            for number in range(_PERIODS):
                period = network.step()
                checks.check(period)
                periods.append(period)
                if number == 0:
                    commands.run()
            commands.still_applied()
            checks.summary()
            if "fork" in hello.capabilities:
                self._fork(network)
            self._odd_lines(network)
        finally:
            code = network.close()
        if code:
            f.warning(
                "stop", f"the network ended with exit code {code} after stop", "end with 0 on stop and on end of input"
            )
        return hello

    def _check_hello(self, hello: Hello) -> None:
        f, topology = self._findings, hello.topology
        if topology.granularity_s != hello.period_s:
            f.error(
                "granularity",
                f"topology.granularity_s is {topology.granularity_s}, period_s {hello.period_s}",
                "use one length of period everywhere",
                about="granularity",
            )
        named = {(v.object, v.attribute) for v in hello.configuration}
        if len(named) < len(hello.configuration):
            f.error("configuration", "an object's attribute stands twice in the configuration", "name each once")
        for lever in hello.levers:
            if not any(attribute == lever for _, attribute in named):
                f.error(
                    "configuration",
                    f"{lever} is a lever, but no object in the hello's configuration has it",
                    "list every lever object with its present value",
                )
        elements = set(topology.managed_elements)
        strange = sorted({v.object for v in hello.configuration if managed_element_of(v.object) not in elements})
        if strange:
            f.error(
                "configuration", f"objects outside the topology: {', '.join(strange[:3])}",
                "keep lever objects under the managed elements of the cells",
            )  # fmt: skip
        for value in hello.configuration:
            if value.attribute not in LEVERS or value.attribute not in hello.levers:
                f.warning(
                    "configuration", f"{value.attribute} is in the configuration, but no lever",
                    "list only what can be commanded", about=value.attribute,
                )  # fmt: skip
        if "seed" not in hello.capabilities:
            f.info("no-seed", "runs cannot be repeated: no capability seed")
        if "fork" not in hello.capabilities:
            f.info("no-fork", "what-if questions cannot be put to a copy of this network: no capability fork")
        if "inject" not in hello.capabilities:
            f.info("no-inject", "faults cannot be injected: no capability inject")

    def _odd_lines(self, network: LineNetwork) -> None:
        """A line that it cannot know is complained of, and does no harm."""
        network.send_raw('{"type":"juggle","id":"odd"}')
        try:
            with suppress(RequestRefused):  # the complaint
                network.query([])
            network.query([])
        except LineProtocolError as error:
            self._findings.warning(
                "odd-lines",
                f"the network did not survive a line that it cannot know: {error.cause.splitlines()[0]}",
                "answer unknown lines with an error line and go on: later versions of the protocol may add some",
            )

    def _fork(self, network: LineNetwork) -> None:
        f = self._findings
        copy = LineNetwork([*network.command_line, *network.fork()], silence_s=self._silence_s)
        try:
            if not copy.hello.running:
                f.error(
                    "fork", "the copy's hello does not say that it is running",
                    'write "running": true and time_ms in the hello of a continued state',
                )  # fmt: skip
                return
            if _values(network.query()) != _values(copy.query()):
                f.error("fork", "the copy has another configuration", "save the configuration with the state")
            ours, theirs = network.step(), copy.step()
        finally:
            copy.close()
        if _content(ours) != _content(theirs):
            f.error(
                "fork", "the copy's next period differs from the original's",
                "save everything that the next period depends on: positions, queues, counters, random state",
            )  # fmt: skip

    def _second_run(self, hello: Hello, first: list[Period]) -> None:
        """The same seed gives the same events; another one gives others."""
        if "seed" not in hello.capabilities:
            return
        again = self._short_run(hello, _SEED)
        if again != _content(first[0]):
            self._findings.error(
                "seed", "two runs with one seed differ in their first period",
                "draw all randomness from generators that the seed sets; use no wall clock and no unordered sets",
            )  # fmt: skip
        elif self._short_run(hello, _SEED + 1) == again:
            self._findings.warning("seed", "another seed changes nothing", "let the seed set the random generators")

    def _short_run(self, hello: Hello, seed: int) -> list[bytes]:
        with self._open() as network:
            network.start(seed, START_MS)
            return _content(network.step())

    def _inject(self, hello: Hello) -> None:
        f = self._findings
        if not hello.faults:
            f.error("inject", "inject is a capability, but the hello names no faults", "list them under faults")
            return
        with self._open() as network:
            network.start(_SEED, START_MS)
            try:
                network.inject("odd", "no-such-fault")
            except RequestRefused:
                pass
            else:
                f.error("inject", "a fault of an unknown name was accepted", "answer it with an error line")
            cell, element = hello.topology.cell_names[0], hello.topology.managed_elements[0]
            for fault in hello.faults:
                for target in (cell, element, ""):
                    try:
                        network.inject(f"check-{fault}", fault, target)
                        break
                    except RequestRefused:
                        continue
                else:
                    f.error(
                        "inject", f"{fault} was refused for a cell, a managed element and the whole network",
                        "let it be injected on one of the three", about=fault,
                    )  # fmt: skip
            network.step()  # what it reports may be damaged: that is what faults are for
            network.step()


_CODES = {
    "NetworkDied": "died",
    "NetworkSilent": "silent",
    "WrongProtocol": "protocol",
    "ProtocolViolation": "violation",
    "RequestRefused": "refused",
}


def _content(period: Period) -> list[bytes]:
    return sorted(line.raw for line in period.received)


def _values(values: Sequence[object]) -> list[str]:
    return sorted(map(str, values))

"""The reference network behind the line protocol."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.line_protocol.exceptions import RequestRefused
from infra.line_protocol.messages import PROTOCOL, Command, Hello, Inject, NetworkInfo, Start
from infra.network import state
from infra.network.configuration import Configuration, Setting
from infra.network.faults import FaultKind
from infra.network.layout import Sites
from infra.network.parameters import Parameters
from infra.network.reporting import Outgoing, Reporting
from infra.network.simulation import Simulation
from schemas.exceptions import InvalidName
from schemas.names import canonical
from schemas.plans import AckStatus
from schemas.telemetry import AttributeValue


class ReferenceNetwork:
    """Serves one run (infra.line_protocol.server.ServedNetwork).

    Parameters
    ----------
    state_dir
        Where forks are saved; a new temporary folder by default.
    """

    def __init__(self, parameters: Parameters, network_id: str, state_dir: Path | None = None) -> None:
        self._p = parameters
        self._sites = Sites.build(parameters, network_id)
        self._state_dir = state_dir
        self._forks = 0
        self._sim: Simulation | None = None
        self._reporting: Reporting | None = None
        self._applied: dict[str, str] = {}

    @classmethod
    def resume(cls, path: Path, state_dir: Path | None = None) -> "ReferenceNetwork":
        """Continue a forked state; raises BadState if it cannot be read."""
        sim, reporting, applied = state.load(path)
        network = cls(sim.p, sim.sites.topology.network_id, state_dir)
        network._sites, network._sim, network._reporting, network._applied = sim.sites, sim, reporting, applied
        return network

    @property
    def running(self) -> bool:
        """Whether it has been started."""
        return self._sim is not None

    @property
    def now_ms(self) -> int:
        """Simulated time."""
        return self._run[0].now_ms

    @property
    def _run(self) -> tuple[Simulation, Reporting]:
        if self._sim is None or self._reporting is None:
            raise RequestRefused("not started", "send start first")
        return self._sim, self._reporting

    def hello(self) -> Hello:
        """Who it is."""
        configuration = self._sim.configuration if self._sim else Configuration(self._sites, self._p)
        return Hello(
            protocol=PROTOCOL,
            network=NetworkInfo(name=self._p.name, version=self._p.version, hash=self._p.hash),
            topology=self._sites.topology,
            configuration=_values(configuration.all_settings()),
            levers=list(configuration.levers),
            period_s=self._p.time.period_s,
            capabilities=["seed", "fork", "inject"],
            faults=list(FaultKind),
            running=self.running,
            time_ms=self.now_ms if self.running else None,
        )

    def start(self, request: Start) -> Iterator[Outgoing]:
        """Begin; a period must start at a multiple of its length."""
        if request.options:
            raise RequestRefused(
                f"unknown options {', '.join(sorted(request.options))}", "set them on the command line"
            )
        period_ms = 1000 * self._p.time.period_s
        if request.start_time_ms % period_ms:
            raise RequestRefused(f"start_time_ms must be a multiple of {period_ms}", "round it down")
        sim = Simulation(self._sites, self._p, request.seed, request.start_time_ms)
        sim.warm_up()
        self._sim, self._reporting = sim, Reporting(sim)
        return iter(())

    def step(self) -> Iterator[Outgoing]:
        """Run one period."""
        sim, reporting = self._run
        end_ms = sim.now_ms + 1000 * self._p.time.period_s
        while sim.now_ms < end_ms:
            began_ms = sim.now_ms
            changed = sim.step()
            yield from reporting.after_step(changed, began_ms)
        yield from reporting.end_of_period()

    def command(self, request: Command) -> tuple[AckStatus, str, Iterator[Outgoing]] | None:
        """Set attributes: all or none, once an id."""
        sim, reporting = self._run
        nothing: Iterator[Outgoing] = iter(())
        try:
            element = canonical(request.managed_element)
        except InvalidName as error:
            return AckStatus.REJECTED, str(error), nothing
        if sim.faults.element_hit(FaultKind.LOSE_COMMAND, element, sim.now_ms):
            return None
        if request.id in self._applied:
            return AckStatus.DUPLICATE, "applied before", nothing
        if sim.faults.element_hit(FaultKind.REFUSE_COMMAND, element, sim.now_ms):
            return AckStatus.REJECTED, "the managed element refuses commands", nothing
        changes = [Setting(c.object, c.attribute, c.value) for c in request.changes]
        problem = sim.configuration.problem(element, changes)
        if problem:
            return AckStatus.REJECTED, problem, nothing
        changes = [Setting(canonical(c.object), c.attribute, c.value) for c in changes]
        sim.set(changes)
        self._applied[request.id] = element
        # The change holds from the next step: its time lies within the period that begins now.
        return AckStatus.APPLIED, "", reporting.change(changes, sim.now_ms + 1, request.id)

    def query(self, objects: Sequence[str] | None) -> list[AttributeValue]:
        """Present values; objects that do not exist are left out."""
        configuration = self._run[0].configuration
        if objects is None:
            return _values(configuration.all_settings())
        try:
            return _values(configuration.look_up(objects))
        except InvalidName as error:
            raise RequestRefused(str(error), "name objects by their DN") from error

    def fork(self) -> list[str]:
        """Save the state."""
        sim, reporting = self._run
        if self._state_dir is None:
            self._state_dir = Path(tempfile.mkdtemp(prefix="twinloop-network-"))
        self._state_dir.mkdir(parents=True, exist_ok=True)
        self._forks += 1
        path = self._state_dir / f"{sim.sites.topology.network_id}-{sim.now_ms}-{self._forks}.npz"
        try:
            state.save(path, sim, reporting, self._applied)
        except OSError as error:
            raise RequestRefused(f"cannot save the state: {error}", "free some space") from error
        return ["--from-state", str(path)]

    def inject(self, request: Inject) -> None:
        """Let a fault happen."""
        sim, _ = self._run
        problem = sim.faults.problem(request.fault, request.target, request.parameters)
        if problem:
            raise RequestRefused(problem, "see the faults of hello")
        start_ms = sim.now_ms + round(1000 * request.delay_s)
        sim.faults.add(
            request.id, request.fault, request.target, start_ms, request.duration_s, dict(request.parameters)
        )


def _values(settings: list[Setting]) -> list[AttributeValue]:
    return [AttributeValue(object=s.object, attribute=s.attribute, value=s.value) for s in settings]

"""What the outer loop relies on in any network that takes its commands.

Each network passes the same tests: the fake one that the loop's own tests use, so that they test what is true, and
the reference live network behind its line protocol.
"""

from collections.abc import Callable
from typing import Protocol

import pytest

from infra.line_protocol.messages import Command, Inject, RawChange, Start
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from schemas.names import managed_element_of
from schemas.plans import AckStatus, ConfigCommand
from schemas.strategies import ConfigChange
from schemas.topology import Topology
from tests.outer_world import FakeNetwork, lock, power

MINUTE = 60_000


class Port(Protocol):
    """A network that is driven from outside."""

    topology: Topology

    def receive(self, command_id: str, changes: list[ConfigChange]) -> AckStatus | None:
        """Execute a command; None if no answer comes."""
        ...

    def value(self, change: ConfigChange) -> float | str | None:
        """The present value of what a change would set."""
        ...

    def misbehave(self, kind: str, element: str) -> None:
        """From now on, ``refuse`` or ``lose`` commands to an element."""
        ...

    def behave(self) -> None:
        """No longer."""
        ...


class Fake:
    """The fake network of the outer loop's tests."""

    def __init__(self) -> None:
        self._network = FakeNetwork()
        self.topology = self._network.topology

    def receive(self, command_id: str, changes: list[ConfigChange]) -> AckStatus | None:
        answer = self._network.receive(
            ConfigCommand(
                network_id="hex", event_id=command_id, command_id=command_id, plan_id="p", stage="canary",
                kind="apply", managed_element=managed_element_of(changes[0].object), changes=changes, time_ms=0,
            )
        )  # fmt: skip
        return answer.status if answer else None

    def value(self, change: ConfigChange) -> float | str | None:
        return self._network.actual.get((change.object, change.attribute))

    def misbehave(self, kind: str, element: str) -> None:
        getattr(self._network, kind).add(element)

    def behave(self) -> None:
        self._network.refuse.clear()
        self._network.lose.clear()


class Reference:
    """The reference live network."""

    def __init__(self) -> None:
        parameters = Parameters.load(None, {"time.step_s": 1.0, "layout.users": 20})
        self._network = ReferenceNetwork(parameters, "reference")
        list(self._network.start(Start(seed=1, start_time_ms=1_768_244_400_000)))
        self.topology = self._network.hello().topology
        self._faults = 0

    def receive(self, command_id: str, changes: list[ConfigChange]) -> AckStatus | None:
        raw = [RawChange(object=c.object, attribute=c.attribute, value=c.value) for c in changes]
        answer = self._network.command(
            Command(id=command_id, managed_element=managed_element_of(changes[0].object), changes=raw)
        )
        if answer is None:
            return None
        status, _, events = answer
        list(events)
        return status

    def value(self, change: ConfigChange) -> float | str | None:
        found = {(v.object, v.attribute): v.value for v in self._network.query([change.object])}
        return found.get((change.object, change.attribute))

    def misbehave(self, kind: str, element: str) -> None:
        self._faults += 1
        fault = Inject(id=f"f{self._faults}", fault=f"{kind}_command", target=element, duration_s=60)
        self._network.inject(fault)

    def behave(self) -> None:
        list(self._network.step())  # the fault lasts one period


@pytest.fixture(params=[Fake, Reference])
def port(request: pytest.FixtureRequest) -> Port:
    make: Callable[[], Port] = request.param
    return make()


def test_a_command_sets_its_values_and_a_repeat_sets_nothing(port: Port) -> None:
    less, more = (power(port.topology.cell_names[0], mw) for mw in (10_000, 5_000))
    assert port.value(less) != 10_000
    assert port.receive("c1", [less]) is AckStatus.APPLIED
    assert port.value(less) == 10_000
    assert port.receive("c1", [more]) is AckStatus.DUPLICATE
    assert port.value(less) == 10_000


def test_all_values_of_a_command_or_none(port: Port) -> None:
    element = managed_element_of(port.topology.cell_names[0])
    cells = [c for c in port.topology.cell_names if managed_element_of(c) == element][:2]
    changes = [power(cells[0], 10_000), lock(cells[1])]
    port.misbehave("refuse", element)
    before = [port.value(c) for c in changes]
    assert port.receive("c1", changes) is AckStatus.REJECTED
    assert [port.value(c) for c in changes] == before
    port.behave()
    assert port.receive("c1", changes) is AckStatus.APPLIED, "a refusal does not use up the id"
    assert [port.value(c) for c in changes] == [10_000, "LOCKED"]


def test_a_lost_command_has_no_effect_and_may_be_sent_again(port: Port) -> None:
    change = power(port.topology.cell_names[0], 10_000)
    port.misbehave("lose", managed_element_of(change.object))
    before = port.value(change)
    assert port.receive("c1", [change]) is None
    assert port.value(change) == before
    port.behave()
    assert port.receive("c1", [change]) is AckStatus.APPLIED


def test_every_lever_that_a_plan_may_touch_has_a_value_to_fall_back_to(port: Port) -> None:
    for cell in port.topology.cell_names:
        assert isinstance(port.value(power(cell)), float | int)
        assert port.value(lock(cell)) == "UNLOCKED"

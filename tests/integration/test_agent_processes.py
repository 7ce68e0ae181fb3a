"""Agents in processes of their own: what crashes, hangs or talks nonsense is told, ended and left out, nothing else."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.agents.panel import Panel
from loops.agents.agent import GROUP
from loops.agents.conduct import Conduct
from loops.exceptions import UnknownAgent
from tests.agent_views import later, view
from tests.installed import install

pytestmark = pytest.mark.integration

AGENTS = """
import os, sys, time
from loops.agents.agent import strategy
from loops.agents.energy_saving import EnergySaving

class _Named:
    name = "x"
    def __init__(self): self.name = type(self).__name__.lower()
    def wanted(self, view):
        return EnergySaving().propose(view)[0].model_copy(update={"agent": self.name})

class Good(_Named):
    def propose(self, view):
        print("I think")
        return [self.wanted(view)]

class Raises(_Named):
    def propose(self, view): raise ZeroDivisionError("nobody is perfect")

class Dies(_Named):
    def propose(self, view): os._exit(7)

class Hangs(_Named):
    def propose(self, view):
        while True: pass

class Unloadable(_Named):
    def __init__(self): raise OSError("my weights are gone")

class Nothing(_Named):
    def propose(self, view): return None

class Words(_Named):
    def propose(self, view): return ["switch it off"]

class Many(_Named):
    def propose(self, view):
        return [self.wanted(view).model_copy(update={"strategy_id": f"s{i}"}) for i in range(5)]

class Twice(_Named):
    def propose(self, view): return [self.wanted(view)] * 2

class Other(_Named):
    def propose(self, view): return [self.wanted(view).model_copy(update={"network_id": "another"})]

class Pretends(_Named):
    def propose(self, view): return [self.wanted(view).model_copy(update={"agent": "person:noc"})]

class Strange(_Named):
    def propose(self, view):
        cell = "ManagedElement=gnb99,GNBDUFunction=1,NRCellDU=1"
        s = self.wanted(view)
        return [s.model_copy(update={"changes": [s.changes[0].model_copy(update={"object": cell})]})]

class Secretive(_Named):
    def propose(self, view): raise RuntimeError(f"I see {sorted(k for k in os.environ if k.startswith('TWINLOOP_'))}")
"""
NAMES = [line.split("(")[0].removeprefix("class ").lower() for line in AGENTS.splitlines() if "(_Named)" in line]
VIEW = view({6: 3.0, 10: 4.0, 16: 5.0}, others=20.0)

Make = Callable[..., Panel]


@pytest.fixture
def panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a panel of named agents, and closes it."""
    install(tmp_path, monkeypatch, {"odd": AGENTS}, {GROUP: {n: f"odd:{n.capitalize()}" for n in NAMES}})
    monkeypatch.setenv("TWINLOOP_DATABASE__PASSWORD", "hush")
    made: list[Panel] = []

    def make(*names: str, deadline_s: float = 20.0, failures: int = 3) -> Panel:
        made.append(Panel(names, deadline_s, most=3, failures=failures, periods=10))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raises", "ZeroDivisionError: nobody is perfect"),
        ("dies", "exit code 7"),
        ("unloadable", "my weights are gone"),
        ("nothing", "answers with a NoneType, not with a list"),
        ("words", "no strategy"),
        ("many", "5 strategies at once; 3 are permitted"),
        ("twice", "the same id"),
        ("other", "has network_id 'another', not 'views'"),
        ("pretends", "has agent 'person:noc', not 'pretends'"),
        ("strange", "gnb99.*which the network does not have"),
        ("secretive", r"I see \[\]"),
    ],
)
def test_what_is_wrong_is_told_and_the_others_are_heard(panel: Make, name: str, why: str) -> None:
    bad, good = panel(name, "good").ask(VIEW)
    assert (bad.agent, bad.strategies) == (name, [])
    assert re.search(why, bad.failure), bad.failure
    assert [s.agent for s in good.strategies] == ["good"]
    assert not good.failure


def test_who_hangs_is_ended_and_asked_again(panel: Make) -> None:
    asked = panel("hangs", "good", deadline_s=0.5)
    before = children()
    asked.start()
    hung = children() - before
    for _ in range(2):
        slow, good = asked.ask(VIEW)
        assert "not answered within 0.5 s" in slow.failure
        assert good.strategies
    alive = children() - before
    assert len(hung) == 2
    assert len(alive) == 1, "only the good one is left"
    assert alive < hung


def test_after_failures_in_a_row_an_agent_rests_and_gets_another_chance(panel: Make) -> None:
    asked = panel("raises", failures=2)
    rests = []
    for period in range(14):
        answers = asked.ask(later(VIEW, period))
        rests.append([a.suspended_periods for a in answers])
    assert rests == [[0], [10], *[[]] * 10, [10], []]


def test_answers_are_those_of_the_agent_itself(panel: Make) -> None:
    (first,) = panel("good").ask(VIEW)
    (again,) = panel("good").ask(VIEW)
    assert first.strategies == again.strategies
    assert first.strategies


@pytest.mark.parametrize(("name", "why"), [("oracle", "no agent 'oracle'; installed: "), ("good:opera", "forms are")])
def test_unknown_agents_are_refused_before_anything_starts(panel: Make, name: str, why: str) -> None:
    with pytest.raises(UnknownAgent, match=why):
        panel(name)


def test_a_success_forgives_what_was_before() -> None:
    conduct = Conduct(failures=2, periods=5)
    assert not conduct.failed("a", 0, 1000)
    conduct.well("a")
    assert not conduct.failed("a", 1000, 1000)
    assert conduct.failed("a", 2000, 1000)
    assert conduct.suspended("a", 7000)
    assert not conduct.suspended("a", 8000)
    assert not conduct.suspended("b", 2000)


def children() -> set[int]:
    """Processes that this one has started and that still run."""
    return {p.pid for p in psutil.Process(os.getpid()).children() if p.status() != psutil.STATUS_ZOMBIE}

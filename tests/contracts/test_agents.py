"""What every agent must keep, whoever wrote it. Runs over all that are installed under `twinloop.agents`."""

from dataclasses import replace
from importlib.metadata import entry_points

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loops.agents.agent import GROUP, Agent, Fate, Form, NetworkView, load_agents
from loops.agents.memory import Memory, Pauses
from loops.exceptions import UnknownAgent
from schemas.names import cell_of
from schemas.ndt import Diagnosis, Layer
from tests.agent_views import CELLS, NETWORK, attempt, later, view
from twin_core.configuration import Configuration
from twin_core.kpis import kpis_of

INSTALLED = sorted({e.name for e in entry_points(group=GROUP)})
# Every agent in every form: the same promises.
NAMES = [f"{name}{form}" for name in INSTALLED for form in ("", ":schedule", ":policy")]
LOADS = st.lists(st.sampled_from([float("nan"), 2.0, 12.0, 35.0, 55.0, 75.0, 97.0]), min_size=21, max_size=21)
# A network in which there is something to do for anybody: idle, even and crowded cells side by side.
MIXED = view({0: 97.0, 1: 20.0, 2: 20.0, 5: 90.0, 6: 3.0, 10: 4.0, 16: 5.0}, others=20.0)


@pytest.fixture(params=NAMES)
def agent(request: pytest.FixtureRequest) -> Agent:
    """Each installed agent."""
    (loaded,) = load_agents([request.param])
    return loaded


def with_loads(loads: list[float]) -> NetworkView:
    """A view with these PRB uses."""
    return view(dict(enumerate(loads)))


@settings(max_examples=40, deadline=None)
@given(loads=LOADS, name=st.sampled_from(NAMES))
def test_proposals_are_valid_whatever_the_load(loads: list[float], name: str) -> None:
    (agent,) = load_agents([name])
    now = with_loads(loads)
    proposals = agent.propose(now)
    assert [p.model_dump() for p in agent.propose(now)] == [p.model_dump() for p in proposals], "not deterministic"
    assert len({p.strategy_id for p in proposals}) == len(proposals)
    for p in proposals:
        assert (p.agent, p.network_id, p.region) == (agent.name, now.network_id, now.region)
        assert (p.revision, p.proposed_at_ms) == (now.revision, now.period_end_ms)
        assert p.objective.kpi in kpis_of(NETWORK)
        before = Configuration.default(NETWORK)
        parts = [p.changes, *(e.changes for e in p.schedule), *(r.changes for r in p.rules)]
        after = [before.with_changes(NETWORK, part) for part in parts if part]
        assert any(before.differences(NETWORK, a) for a in after), "changes nothing"


def test_it_is_known_under_its_own_name(agent: Agent) -> None:
    assert agent.name in INSTALLED


def test_there_is_a_network_in_which_it_proposes_something(agent: Agent) -> None:
    assert agent.propose(MIXED)


def test_what_is_unknown_is_left_alone(agent: Agent) -> None:
    nothing = np.full(len(CELLS), np.nan)
    assert agent.propose(replace(MIXED, kpis={}, forecast={})) == []
    assert agent.propose(replace(MIXED, kpis={"RRU.PrbTotDl": nothing}, forecast={"RRU.PrbTotDl": nothing})) == []


def test_the_same_proposal_in_another_period_has_another_id(agent: Agent) -> None:
    first, second = agent.propose(MIXED)[0], agent.propose(later(MIXED, 1))[0]
    assert first.strategy_id != second.strategy_id


def test_cells_that_a_plan_holds_are_not_touched(agent: Agent) -> None:
    (first, *_) = agent.propose(MIXED)
    held = frozenset(cell_of(c.object) for c in first.all_changes)
    for p in agent.propose(replace(MIXED, locked=held)):
        assert not held & {cell_of(c.object) for c in p.all_changes}


@pytest.mark.parametrize("fate", [Fate.REFUSED, Fate.UNDONE, Fate.UNDECIDED, Fate.OPEN])
def test_what_did_not_work_is_not_repeated_at_once(agent: Agent, fate: Fate) -> None:
    (first, *_) = agent.propose(MIXED)
    soon = later(MIXED, 7, history=(attempt(first, fate),))
    assert all(p.all_changes != first.all_changes for p in agent.propose(soon))


def test_what_was_refused_long_ago_may_be_tried_again(agent: Agent) -> None:
    (first, *_) = agent.propose(MIXED)
    much_later = later(MIXED, 500, history=(attempt(first, Fate.REFUSED),))
    assert {c.object for c in agent.propose(much_later)[0].all_changes} == {c.object for c in first.all_changes}


def test_cells_out_of_service_are_not_relied_on(agent: Agent) -> None:
    down = replace(MIXED, in_service=np.zeros(len(CELLS), bool))
    assert agent.propose(down) == []


def test_the_kind_of_a_proposal_is_the_form_asked_for() -> None:
    for name in INSTALLED:
        for form in Form:
            (agent,) = load_agents([f"{name}:{form}"])
            assert agent.propose(MIXED)[0].kind == form.value


def test_a_form_that_is_none_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(UnknownAgent, match="forms are change, schedule, policy"):
        load_agents(["coverage:opera"])


def test_a_cell_that_a_diagnosis_blames_is_left_out_and_the_others_are_not(agent: Agent) -> None:
    (first, *_) = agent.propose(MIXED)
    cells = sorted({cell_of(c.object) for c in first.all_changes})
    if len(cells) < 2 or first.standing:
        return
    blamed = first.changes[0]
    found = Diagnosis(
        layer=Layer.ALGORITHM, change_id=blamed.change_id, change=f"{blamed.attribute} of {blamed.object}", summary="x"
    )
    soon = later(MIXED, 9, history=(attempt(first, Fate.REFUSED, found),))
    memory = Memory(soon, agent.name, Pauses())
    assert memory.rests([cell_of(blamed.object)])
    assert not memory.rests([c for c in cells if c != cell_of(blamed.object)])
    for p in agent.propose(soon):
        assert cell_of(blamed.object) not in {cell_of(c.object) for c in p.all_changes}


def test_an_agent_nobody_offers_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(UnknownAgent, match=r"no agent 'oracle'; installed: .*energy-saving"):
        load_agents(["oracle"])

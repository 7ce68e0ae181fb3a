"""What the two agents do in networks a person can picture."""

from dataclasses import replace

import numpy as np

from loops.agents.agent import Fate
from loops.agents.energy_saving import EnergySaving
from loops.agents.load_balancing import LoadBalancing
from schemas.names import relation_dn
from schemas.strategies import Direction
from tests.agent_views import CELLS, NETWORK, applied, attempt, later, view

PRB = "RRU.PrbTotDl"


def test_energy_saving_switches_the_idlest_cells_off_whose_neighbours_have_room() -> None:
    (proposal,) = EnergySaving().propose(view({4: 5.0, 13: 3.0}))
    assert [(c.object, c.value) for c in proposal.changes] == [(CELLS[13], "LOCKED"), (CELLS[4], "LOCKED")]
    assert (proposal.objective.kpi, proposal.objective.direction) == ("PEE.AvgPower", Direction.DOWN)


def test_energy_saving_leaves_an_idle_cell_on_whose_neighbours_are_full() -> None:
    around = dict.fromkeys(NETWORK.neighbours[13], 58.0)
    assert EnergySaving().propose(view({**around, 13: 3.0})) == []


def test_energy_saving_does_not_let_neighbours_sleep_together() -> None:
    neighbour = NETWORK.neighbours[13][0]
    (proposal,) = EnergySaving().propose(view({13: 3.0, neighbour: 4.0}))
    assert [c.object for c in proposal.changes] == [CELLS[13]]


def test_energy_saving_wakes_its_own_cell_when_a_neighbour_fills_up() -> None:
    agent = EnergySaving()
    quiet = view({13: 3.0})
    asleep = applied(quiet, agent.propose(quiet)[0])
    assert agent.propose(later(asleep, 30)) == []
    busy = np.full(len(CELLS), 40.0)
    busy[NETWORK.neighbours[13][0]] = 80.0
    (wake,) = agent.propose(later(asleep, 30, kpis={PRB: busy}, forecast={}))
    assert [(c.object, c.value) for c in wake.changes] == [(CELLS[13], "UNLOCKED")]


def test_energy_saving_does_not_wake_a_cell_that_somebody_else_locked() -> None:
    active = np.ones(len(CELLS), bool)
    active[13] = False
    assert EnergySaving().propose(replace(view(others=80.0), active=active)) == []


def test_energy_saving_keeps_most_cells_awake() -> None:
    active = np.ones(len(CELLS), bool)
    active[:6] = False
    assert EnergySaving().propose(replace(view(others=5.0), active=active)) == []


def test_load_balancing_biases_users_towards_the_emptiest_neighbour_and_back_no_more() -> None:
    hot, near = 4, NETWORK.neighbours[4]
    (proposal,) = LoadBalancing().propose(view({hot: 90.0, near[1]: 15.0}))
    assert {(c.object, c.value) for c in proposal.changes} == {
        (relation_dn(CELLS[hot], CELLS[near[1]]), 2.0),
        (relation_dn(CELLS[near[1]], CELLS[hot]), -2.0),
    }


def test_load_balancing_goes_step_by_step_on_the_grid_and_stops_at_its_largest_bias() -> None:
    agent, hot, near = LoadBalancing(), 4, NETWORK.neighbours[4][0]
    now, biases = view({hot: 90.0, near: 10.0}, others=55.0), []
    for _ in range(6):
        (proposal,) = agent.propose(now)
        biases += [float(c.value) for c in proposal.changes if c.object == relation_dn(CELLS[hot], CELLS[near])]
        now = later(applied(now, proposal), 11)
    assert biases == [2.0, 4.0, 6.0]


def test_load_balancing_takes_its_bias_back_when_the_load_is_gone() -> None:
    agent = LoadBalancing()
    crowded = view({4: 90.0, NETWORK.neighbours[4][0]: 10.0}, others=40.0)
    biased = applied(crowded, agent.propose(crowded)[0])
    calm = later(biased, 30, kpis={PRB: np.full(len(CELLS), 20.0)}, forecast={})
    (relax,) = agent.propose(calm)
    assert {c.value for c in relax.changes} == {0.0}


def test_an_agent_has_one_change_under_way_at_a_time() -> None:
    agent = EnergySaving()
    quiet = view({13: 3.0, 1: 4.0})
    (first,) = EnergySaving(most=1).propose(quiet)
    assert agent.propose(later(quiet, 1, history=(attempt(first, Fate.OPEN),))) == []

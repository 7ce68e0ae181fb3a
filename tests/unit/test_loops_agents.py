"""What the agents do in networks a person can picture."""

from dataclasses import replace

import numpy as np
import pytest

from loops.agents.agent import Fate, Form
from loops.agents.coverage import Coverage
from loops.agents.energy_saving import EnergySaving
from loops.agents.load_balancing import LoadBalancing
from loops.agents.slice_assurance import SliceAssurance
from schemas.counters import URLLC
from schemas.names import relation_dn, slice_policy_dn
from schemas.strategies import Direction
from tests.agent_views import CELLS, NETWORK, applied, attempt, later, view

PRB = "RRU.PrbTotDl"


def test_energy_saving_switches_the_idlest_cells_off_whose_neighbours_have_room() -> None:
    (proposal,) = EnergySaving().propose(view({4: 5.0, 13: 3.0}, others=16.0))
    assert [(c.object, c.value) for c in proposal.changes] == [(CELLS[13], "LOCKED"), (CELLS[4], "LOCKED")]
    assert (proposal.objective.kpi, proposal.objective.direction) == ("PEE.AvgPower", Direction.DOWN)


def test_energy_saving_leaves_an_idle_cell_on_whose_neighbours_are_full() -> None:
    around = dict.fromkeys(NETWORK.neighbours[13], 58.0)
    assert EnergySaving(quiet_below=100).propose(view({**around, 13: 3.0})) == []


def test_energy_saving_goes_cell_by_cell_in_a_middling_network_and_rests_in_a_busy_one() -> None:
    (proposal,) = EnergySaving().propose(view({4: 5.0, 13: 3.0}, others=24.0))
    assert [c.object for c in proposal.changes] == [CELLS[13]]
    assert EnergySaving().propose(view({4: 5.0, 13: 3.0}, others=40.0)) == []


def test_energy_saving_does_not_let_neighbours_sleep_together() -> None:
    neighbour = NETWORK.neighbours[13][0]
    (proposal,) = EnergySaving().propose(view({13: 3.0, neighbour: 4.0}, others=16.0))
    assert proposal.changes[0].object == CELLS[13]
    assert CELLS[neighbour] not in {c.object for c in proposal.changes}


def test_energy_saving_wakes_its_own_cell_when_a_neighbour_fills_up() -> None:
    agent = EnergySaving()
    quiet = view({13: 3.0}, others=25.0)
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


def test_load_balancing_hands_users_of_a_full_cell_to_neighbours_with_room() -> None:
    full, (first, second, *rest) = 4, NETWORK.neighbours[4]
    (proposal,) = LoadBalancing().propose(view({full: 95.0, first: 15.0, second: 40.0, **dict.fromkeys(rest, 80.0)}))
    assert [(c.object, c.value) for c in proposal.changes] == [
        (relation_dn(CELLS[full], CELLS[first]), 1.0),
        (relation_dn(CELLS[first], CELLS[full]), -1.0),
        (relation_dn(CELLS[full], CELLS[second]), 1.0),
        (relation_dn(CELLS[second], CELLS[full]), -1.0),
    ]


def test_load_balancing_leaves_cells_alone_that_have_room() -> None:
    assert LoadBalancing().propose(view({4: 80.0}, others=10.0)) == []


def test_load_balancing_goes_step_by_step_on_the_grid_and_stops_at_its_largest_bias() -> None:
    agent, now, biases = LoadBalancing(largest_db=3.0), view({4: 95.0}), []
    while proposals := agent.propose(now):
        biases.append(max(float(c.value) for c in proposals[0].changes))
        now = later(applied(now, proposals[0]), 11)
    assert biases == [1.0, 2.0, 3.0]


def test_load_balancing_takes_its_bias_back_when_the_load_is_gone() -> None:
    agent, crowded = LoadBalancing(), view({4: 95.0})
    biased = applied(crowded, agent.propose(crowded)[0])
    calm = later(biased, 30, kpis={PRB: np.full(len(CELLS), 20.0)}, forecast={})
    (relax,) = agent.propose(calm)
    assert {c.value for c in relax.changes} == {0.0}
    assert {c.object for c in relax.changes} == {s[0] for s in biased.history[0].settings}


def test_an_agent_has_one_change_under_way_at_a_time() -> None:
    agent = EnergySaving()
    quiet = view({13: 3.0, 1: 4.0}, others=16.0)
    (first,) = EnergySaving(most=1).propose(quiet)
    assert agent.propose(later(quiet, 30, history=(attempt(first, Fate.OPEN),))) == []
    assert agent.propose(later(quiet, 7, history=(attempt(first, Fate.REFUSED),))) == []
    assert agent.propose(later(quiet, 8, history=(attempt(first, Fate.REFUSED),))) != []


def test_coverage_tilts_up_where_users_hear_little_and_down_where_neighbours_hear_too_much() -> None:
    (up,) = Coverage().propose(view())
    assert (up.title, up.changes[0].attribute, up.changes[0].value) == ("Tilt gnb7-2 up", "digitalTilt", 50.0)
    (down,) = Coverage(weak_above=0.9).propose(view())
    assert (down.title, down.changes[0].value) == ("Tilt gnb2-1 down", 70.0)


def test_coverage_gives_power_back_before_it_tilts() -> None:
    now = view()
    power = now.tx_power_dbm.copy()
    power[19] -= 3
    (given,) = Coverage().propose(replace(now, tx_power_dbm=power))
    assert given.title == "Give gnb7-2 power back"
    assert float(given.changes[0].value) == pytest.approx(40_000 * 10**-0.2, rel=1e-3)


def test_slice_assurance_guarantees_more_where_packets_wait_and_no_more_than_there_is() -> None:
    busy = view({5: 90.0})
    (more,) = SliceAssurance().propose(busy)
    assert [(c.object, c.attribute, c.value) for c in more.changes] == [
        (slice_policy_dn(CELLS[5], URLLC), "rRMPolicyMinRatio", 15.0)
    ]
    assert (more.objective.kpi, more.objective.direction) == ("DRB.RlcSduDelayDl.2-000001", Direction.DOWN)
    least, most = np.zeros((len(CELLS), 2)), np.full((len(CELLS), 2), 100.0)
    least[5], most[5, 1] = (90.0, 5.0), 12.0
    (small,) = SliceAssurance().propose(replace(busy, min_ratio=least, max_ratio=most))
    assert small.changes[0].value == 10.0, "with the other slice's 90 % that is all"
    least[5, 1] = 10.0
    assert SliceAssurance().propose(replace(busy, min_ratio=least)) == []
    assert SliceAssurance(target=40.0).propose(busy) == []
    assert SliceAssurance().propose(replace(busy, slices=())) == []
    assert SliceAssurance().propose(view({5: 60.0})) == [], "nobody is in the packets' way"


def test_slice_assurance_takes_half_the_step_after_a_refusal() -> None:
    busy = view({5: 90.0})
    (first,) = SliceAssurance().propose(busy)
    (again,) = SliceAssurance().propose(later(busy, 50, history=(attempt(first, Fate.REFUSED),)))
    assert again.changes[0].value == 7.5


def test_after_a_roll_back_the_next_step_is_half_as_large() -> None:
    (first,) = Coverage().propose(view())
    (again,) = Coverage().propose(later(view(), 50, history=(attempt(first, Fate.UNDONE),)))
    assert (first.changes[0].value, again.changes[0].value) == (50.0, 55.0)


def test_a_policy_undoes_what_it_did_when_its_reason_has_gone() -> None:
    (policy,) = LoadBalancing(form=Form.POLICY).propose(view({4: 95.0}))
    comes, goes = policy.rules
    assert (comes.when.above, goes.when.below) == (85.0, 50.0)
    assert [c.object for c in comes.changes] == [c.object for c in goes.changes]
    assert {c.value for c in goes.changes} == {0.0}


def test_a_schedule_begins_at_a_full_quarter_and_ends_some_hours_later() -> None:
    (schedule,) = Coverage(form=Form.SCHEDULE).propose(view(period=100))
    assert [e.at_minute for e in schedule.schedule] == [105, 285]
    assert "every day at 01:45" in schedule.title

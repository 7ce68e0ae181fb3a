"""What schedules and policies in force want, and when they want nothing."""

from dataclasses import replace

import numpy as np
import pytest

from loops.agents.standing import due
from schemas.strategies import Condition, ConfigChange, Direction, Objective, Rule, ScheduleEntry, Strategy
from tests.unit import test_loops_evaluate as small
from twin_core.twin import Twin

PRB = "RRU.PrbTotDl"
MINUTE_MS = 60_000
CELLS = small.CELLS


def off(cell: int, state: str = "LOCKED") -> ConfigChange:
    return ConfigChange(change_id="1", object=CELLS[cell], attribute="administrativeState", value=state)


def standing(**parts: object) -> Strategy:
    return Strategy.model_validate(
        {
            "network_id": "toy",
            "event_id": "p",
            "strategy_id": "p",
            "agent": "person:anna",
            "title": "Nights",
            "objective": Objective(kpi="PEE.AvgPower", direction=Direction.DOWN),
            "proposed_at_ms": 0,
            "revision": 1,
            **parts,
        }
    )


@pytest.fixture
def twin() -> Twin:
    return small.twin()


def schedule(twin: Twin, *minutes_from_now: int) -> Strategy:
    now = twin.period_end_ms // MINUTE_MS
    entries = [ScheduleEntry(at_minute=(now + m) % 1440, changes=[off(i)]) for i, m in enumerate(minutes_from_now)]
    return standing(kind="schedule", schedule=entries)


def policy(below: float = 20, periods: int = 3, cell: int = 0) -> Strategy:
    rule = Rule(when=Condition(kpi=PRB, cells=[CELLS[cell]], below=below, periods=periods), changes=[off(cell)])
    return standing(kind="policy", rules=[rule], rest_periods=5)


def observed(*loads: float) -> dict[str, np.ndarray]:
    return {PRB: np.tile(np.array(loads, dtype=float)[:, None], (1, len(CELLS)))}


def test_an_entry_is_due_when_its_minute_has_come_since(twin: Twin) -> None:
    plan = schedule(twin, -1, 0, 1)
    since = twin.period_end_ms - MINUTE_MS
    child = due(plan, twin, {}, since, None)
    assert child is not None
    assert [c.object for c in child.changes] == [CELLS[1]]
    assert (child.kind, child.parent, child.agent) == ("change", "p", "person:anna")
    assert not child.must_gain
    assert child == due(plan, twin, {}, since, None), "asked again it is the same"


def test_after_an_absence_everything_that_came_is_due_once(twin: Twin) -> None:
    child = due(schedule(twin, -30, -2, 0, 5), twin, {}, twin.period_end_ms - 10 * MINUTE_MS, None)
    assert child is not None
    assert [c.object for c in child.changes] == [CELLS[1], CELLS[2]]
    long_gone = due(schedule(twin, -30, 5), twin, {}, twin.period_end_ms - 5000 * MINUTE_MS, None)
    assert long_gone is not None
    assert len(long_gone.changes) == 2, "a day at most: both times of day came"


def test_a_rule_acts_when_it_has_been_true_long_enough(twin: Twin) -> None:
    assert due(policy(), twin, observed(10, 10), 0, None) is None, "too short"
    assert due(policy(), twin, observed(30, 10, 10), 0, None) is None
    child = due(policy(), twin, observed(30, 10, 10, 10), 0, None)
    assert child is not None
    assert child.changes[0].object == CELLS[0]
    assert "mean RRU.PrbTotDl < 20 for 3 periods" in child.title


def test_unknown_values_make_no_rule_true(twin: Twin) -> None:
    assert due(policy(periods=1), twin, observed(np.nan), 0, None) is None
    assert due(policy(periods=1), twin, {}, 0, None) is None


def test_a_policy_rests_after_it_has_acted(twin: Twin) -> None:
    loads = observed(10, 10, 10)
    assert due(policy(), twin, loads, 0, twin.period_end_ms - 4 * MINUTE_MS) is None
    assert due(policy(), twin, loads, 0, twin.period_end_ms - 5 * MINUTE_MS) is not None


def test_what_is_in_force_already_is_not_asked_for_again(twin: Twin) -> None:
    asleep = replace(twin, configuration=twin.configuration.with_changes(twin.network, [off(0)]))
    assert due(policy(), asleep, observed(10, 10, 10), 0, None) is None

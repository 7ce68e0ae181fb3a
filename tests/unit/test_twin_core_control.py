"""Schedules and policies in roll-outs: they hold the levers, and what they hold is what a fixed configuration gives."""

import pytest
import torch

from schemas.strategies import Condition, ConfigChange, Direction, Objective, Rule, ScheduleEntry, Strategy
from tests.unit import test_loops_evaluate as small
from twin_core.configuration import Configuration
from twin_core.control import Policy, Schedule, control_of, unseen_hours
from twin_core.exceptions import InvalidConfiguration, UnknownObject
from twin_core.kpis import KPIS, PRB, kpi_index
from twin_core.rollout import rollout
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

CELL = small.CELLS[0]
PRB_AT = kpi_index(PRB)


def off(cell: str = CELL, state: str = "LOCKED") -> ConfigChange:
    return ConfigChange(change_id=f"{state}", object=cell, attribute="administrativeState", value=state)


def policy(below: float, periods: int = 1, rest: int = 1, **kind: object) -> Strategy:
    """Switch a cell off while its load is below a threshold, on again when it is above 95."""
    return Strategy(
        network_id="toy",
        event_id="p",
        strategy_id="p",
        agent="person:anna",
        title="policy",
        kind="policy",
        rules=[
            Rule(when=Condition(kpi=PRB, cells=[CELL], below=below, periods=periods), changes=[off()]),
            Rule(when=Condition(kpi=PRB, statistic="max", above=95), changes=[off(state="UNLOCKED")]),
        ],
        rest_periods=rest,
        objective=Objective(kpi="PEE.AvgPower", direction=Direction.DOWN),
        proposed_at_ms=0,
        revision=1,
    )


@pytest.fixture
def twin() -> Twin:
    return small.twin()


def worlds(twin: Twin, horizon: int = 4, count: int = 2) -> Scenarios:
    return Scenarios.nominal(twin.network, count=count, horizon=horizon)


def test_a_change_is_simply_the_configuration_after_it(twin: Twin) -> None:
    assert isinstance(control_of(twin, small.strategy(0)), Configuration)


def test_a_policy_that_never_acts_is_the_present_configuration_to_the_tolerance_of_the_solution(twin: Twin) -> None:
    held = rollout(twin, twin.configuration, worlds(twin))
    ruled = rollout(twin, Policy(twin, policy(below=0.0).rules, 1), worlds(twin))
    assert torch.allclose(ruled.kpis, held.kpis, rtol=2e-3, atol=1e-2, equal_nan=True)


def test_a_policy_acts_on_what_was_and_only_after_so_many_periods(twin: Twin) -> None:
    load = rollout(twin, Policy(twin, policy(below=99.0, periods=2).rules, 1), worlds(twin)).kpis[:, :, PRB_AT, 0]
    assert (load[:, :2] > 0).all(), "true in the first two periods"
    assert (load[:, 2:] == 0).all(), "so it acts in the third, and the cell stays off"


def test_a_policy_rests_between_two_actions(twin: Twin) -> None:
    rules = [
        Rule(when=Condition(kpi=PRB, cells=[CELL], above=0), changes=[off()]),
        Rule(when=Condition(kpi=PRB, cells=[CELL], below=0.001), changes=[off(state="UNLOCKED")]),
    ]
    load = rollout(twin, Policy(twin, rules, 3), worlds(twin, horizon=7, count=1)).kpis[0, :, PRB_AT, 0]
    assert [bool(x > 0) for x in load] == [True, False, False, False, True, True, True]


def test_a_schedule_holds_each_entry_for_its_share_of_the_horizon(twin: Twin) -> None:
    now = twin.period_end_ms // 60_000 % 1440
    entries = [
        ScheduleEntry(at_minute=(now + 70) % 1440, changes=[off(state="UNLOCKED")]),
        ScheduleEntry(at_minute=(now + 10) % 1440, changes=[off()]),
    ]
    schedule = Schedule(twin, entries)
    ahead = schedule.ahead(4)
    assert ahead.tolist() == [11, 12, 71, 72]
    load = rollout(twin, schedule, worlds(twin)).kpis[0, :, PRB_AT, 0]
    assert [bool(x > 0) for x in load] == [False, False, True, True]
    on = rollout(twin, twin.configuration, worlds(twin), ahead=ahead).kpis[0, 2:, PRB_AT, 0]
    assert torch.allclose(load[2:], on, rtol=2e-3)


def test_hours_that_were_never_seen_are_named(twin: Twin) -> None:
    now = twin.period_end_ms // 60_000 % 1440
    entries = [ScheduleEntry(at_minute=m, changes=[off()]) for m in (now, (now + 720) % 1440)]
    strategy = policy(0).model_copy(update={"kind": "schedule", "rules": [], "schedule": entries})
    far = (now + 720) % 1440
    assert unseen_hours(twin, strategy) == [f"{far // 60:02d}:{far % 60:02d}"]


def test_what_the_twin_cannot_place_is_refused_before_anything_is_rolled_out(twin: Twin) -> None:
    stranger = Rule(when=Condition(kpi="DRB.Nothing", below=1), changes=[off()])
    with pytest.raises(UnknownObject, match="predicts no KPI"):
        Policy(twin, [stranger], 1)
    elsewhere = "SubNetwork=1,ManagedElement=mars,GNBDUFunction=1,NRCellDU=1"
    with pytest.raises(UnknownObject, match="mars"):
        Policy(twin, [Rule(when=Condition(kpi=PRB, cells=[elsewhere], below=1), changes=[off()])], 1)
    with pytest.raises((UnknownObject, InvalidConfiguration)):
        Policy(twin, [Rule(when=Condition(kpi=PRB, below=1), changes=[off(elsewhere)])], 1)


def test_a_policy_is_verified_like_a_change_but_need_not_gain_at_once() -> None:
    verdict, reason = small.verdict(policy(below=0.0))
    assert verdict.value == "APPROVED", reason
    assert len(KPIS) == 6

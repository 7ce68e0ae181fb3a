"""A person's strategy file: what it may say, and how it is told what is wrong."""

from pathlib import Path

import pytest

from loops.agents.from_file import load_strategy
from loops.exceptions import BadStrategyFile
from schemas.names import beam_dn, relation_dn, sector_carrier_dn, slice_policy_dn
from schemas.strategies import Strategy
from tests.agent_views import CELLS, NETWORK

GOOD = """\
title: Quiet night
by: anna
objective: {kpi: PEE.AvgPower, direction: down, min_gain: 0.01}
changes:
  - {cell: gnb2-1, attribute: administrativeState, value: LOCKED}
  - {cell: gnb2-2, attribute: configuredMaxTxPower, value: 20000}
  - {cell: gnb2-2, attribute: digitalTilt, value: 80}
  - {cell: gnb2-2, towards: gnb2-3, attribute: cellIndividualOffset, value: -2}
  - {cell: gnb2-2, slice: 2-000001, attribute: rRMPolicyMinRatio, value: 15}
guards:
  - {kpi: DRB.UEThpDl, scope: network, direction: up, relative: 0.02}
"""


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "strategy.yaml"
    path.write_text(text, encoding="utf-8")
    return load_strategy(path, NETWORK.topology, proposed_at_ms=60_000, revision=1)


def test_short_names_become_the_objects_that_carry_the_attributes(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD, encoding="utf-8")
    strategy = load_strategy(path, NETWORK.topology, proposed_at_ms=60_000, revision=1)
    assert strategy.agent == "person:anna"
    assert [c.object for c in strategy.changes] == [
        CELLS[3],
        sector_carrier_dn(CELLS[4]),
        beam_dn(CELLS[4]),
        relation_dn(CELLS[4], CELLS[5]),
        slice_policy_dn(CELLS[4], "2-000001"),
    ]
    assert strategy == load_strategy(path, NETWORK.topology, proposed_at_ms=60_000, revision=1)
    assert strategy.strategy_id != load_strategy(path, NETWORK.topology, proposed_at_ms=120_000).strategy_id


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("title: Quiet night\n", "", r"line 1, title: Field required"),
        ("direction: down", "direction: sideways", r"line 3, objective.direction: .*'up' or 'down'"),
        ("value: LOCKED", "value: OFF", r"line 5, changes.0.value"),
        ("cell: gnb2-1", "cell: gnb99-1", r"line 5, changes.0.cell: network views has no cell gnb99-1; it has gnb1-1"),
        ("value: -2", "value: -7", r"line 8, changes.3.*nearest is -6"),
        ("value: 20000", "value: 1000000000", r"line 6, changes.1.*must lie in"),
        (", towards: gnb2-3", "", r"line 8, changes.3: `towards` names the neighbour"),
        (", slice: 2-000001", "", r"line 9, changes.4: `slice` names the slice"),
        ("slice: 2-000001", "slice: 7-000001", r"line 9, changes.4.slice: .*no slice 7-000001; it has 1-000001, 2-0"),
        ("relative: 0.02", "relativ: 0.02", r"line 11, guards.0.relativ"),
        ("by: anna", "by: [anna", r"is not YAML: .*line 3"),
        (GOOD, "- a list", r"line 1, file: "),
        (GOOD, "", r"line 1, file: "),
    ],
)
def test_a_mistake_is_told_with_line_and_field(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(BadStrategyFile, match=f"(?s){told}"):
        load(tmp_path, GOOD.replace(old, new))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("gnb2-1", "gnb98-1").replace("gnb2-3", "gnb99-1")
    with pytest.raises(BadStrategyFile) as error:
        load(tmp_path, text)
    assert "gnb98-1" in str(error.value)
    assert "gnb99-1" in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadStrategyFile, match="No such file"):
        load_strategy(tmp_path / "none.yaml", NETWORK.topology)


HEAD = """\
title: Nights
by: anna
objective: {kpi: PEE.AvgPower, direction: down}
"""
SCHEDULE = """\
schedule:
  - {at: "01:30", changes: [{cell: gnb2-1, attribute: administrativeState, value: LOCKED}]}
  - {at: "5:00", changes: [{cell: gnb2-1, attribute: administrativeState, value: UNLOCKED}]}
"""
RULES = """\
rules:
  - when: {kpi: RRU.PrbTotDl, cells: [gnb2-1, gnb2/2], below: 10, periods: 5}
    changes: [{cell: gnb2-1, attribute: administrativeState, value: LOCKED}]
rest_periods: 10
"""


def test_a_schedule_names_times_of_day(tmp_path: Path) -> None:
    strategy = load(tmp_path, HEAD + SCHEDULE)
    assert isinstance(strategy, Strategy)
    assert (strategy.kind, strategy.standing) == ("schedule", True)
    assert [e.at_minute for e in strategy.schedule] == [90, 300]
    assert [c.change_id for c in strategy.all_changes] == ["1.1", "2.1"]


def test_a_policy_has_rules_with_conditions_on_cells(tmp_path: Path) -> None:
    strategy = load(tmp_path, HEAD + RULES)
    assert isinstance(strategy, Strategy)
    (rule,) = strategy.rules
    assert (strategy.kind, strategy.rest_periods) == ("policy", 10)
    assert rule.when.cells == [CELLS[3], CELLS[4]]
    assert (rule.when.below, rule.when.periods) == (10, 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD, "write one of changes, schedule and rules; found none"),
        (HEAD + SCHEDULE + RULES, "found schedule, rules"),
        (HEAD + SCHEDULE.replace("01:30", "25:00"), r"line 5, schedule.0.at"),
        (HEAD + SCHEDULE.replace("gnb2-1", "gnb9-1", 1), r"line 5, schedule.0.changes.0.cell: .*no cell gnb9-1"),
        (HEAD + RULES.replace("gnb2/2", "gnb9-9"), r"line 5, rules.0.when.cells.1: .*no cell gnb9-9"),
        (HEAD + RULES.replace("below: 10", "below: 10, above: 20"), r"line 5, rules.0.when: .*one threshold"),
    ],
)
def test_what_is_wrong_with_a_standing_strategy_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadStrategyFile, match=told):
        load(tmp_path, text)

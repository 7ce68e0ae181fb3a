"""Guards: which change for the worse is harm, and which is not."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loops.exceptions import BadGuards
from loops.inner.guards import exceeded, first_breaches, in_force, label, load_guards, unjudgeable
from schemas.counters import S_NSSAIS
from schemas.strategies import Direction, Guard
from twin_core.flow.slices import kpis_of as slice_kpis
from twin_core.kpis import KPIS

UP, DOWN = Direction.UP, Direction.DOWN
FLOOR = Guard(kpi="DRB.UEThpDl", direction=UP, absolute=5000, relative=0.3)
CEILING = Guard(kpi="RRU.PrbTotDl", direction=DOWN, absolute=90)
LOSS = Guard(kpi="DRB.UEThpDl", scope="network", direction=UP, relative=0.05)
CELLS = ("a", "b")
POSITIVE = st.floats(0.1, 1e5)


def harmed(guard: Guard, baseline: float, candidate: float) -> bool:
    return bool(exceeded(guard, np.array([baseline]), np.array([candidate]))[0])


def worlds(**cells: list[float]) -> np.ndarray:
    """[1, M, C + 1] with the given KPIs of a, b and the network; 20 users everywhere."""
    values = np.full((1, len(KPIS), 3), 50.0)
    values[0, KPIS.index("RRC.ConnMean")] = 20
    values[0, KPIS.index("DRB.UEThpDl")] = 30e3
    for name, row in cells.items():
        values[0, KPIS.index({"prb": "RRU.PrbTotDl", "thp": "DRB.UEThpDl", "users": "RRC.ConnMean"}[name])] = row
    return values


def breaches(guards: list[Guard], candidate: np.ndarray, exempt: tuple[bool, bool] = (False, False)) -> list[str]:
    return first_breaches(guards, KPIS, CELLS, worlds(), candidate, np.array(exempt))


@given(baseline=POSITIVE, candidate=POSITIVE, guard=st.sampled_from([FLOOR, CEILING, LOSS]))
def test_what_does_not_get_worse_is_never_harm(baseline: float, candidate: float, guard: Guard) -> None:
    better = candidate >= baseline if guard.direction is UP else candidate <= baseline
    assert not (better and harmed(guard, baseline, candidate))


@given(baseline=POSITIVE, candidate=POSITIVE, further=POSITIVE, guard=st.sampled_from([FLOOR, CEILING, LOSS]))
def test_what_gets_worse_still_is_no_less_harm(baseline: float, candidate: float, further: float, guard: Guard) -> None:
    worse = candidate - further if guard.direction is UP else candidate + further
    assert harmed(guard, baseline, worse) or not harmed(guard, baseline, candidate)


def test_a_ceiling_that_was_exceeded_before_is_not_this_changes_doing() -> None:
    assert harmed(CEILING, 80, 91)
    assert not harmed(CEILING, 92, 95)


def test_a_guard_with_both_limits_needs_both_and_protects_those_who_are_badly_off_already() -> None:
    assert not harmed(FLOOR, 50_000, 20_000), "far above what users notice"
    assert not harmed(FLOOR, 5_500, 4_900), "a small loss"
    assert harmed(FLOOR, 3_000, 1_000)


def test_unknown_values_exceed_nothing() -> None:
    assert not harmed(FLOOR, float("nan"), 1)
    assert not harmed(FLOOR, 9_000, float("nan"))


def test_a_breach_names_guard_and_cell() -> None:
    assert breaches([CEILING], worlds(prb=[60, 95, 70])) == ["cell RRU.PrbTotDl <= 90 @ b"]
    assert breaches([LOSS], worlds(thp=[30e3, 30e3, 20e3])) == ["network DRB.UEThpDl -5 %"]
    assert breaches([CEILING, LOSS], worlds()) == [""]


def test_cells_that_are_switched_off_and_cells_without_users_are_not_judged() -> None:
    empty = worlds(thp=[30e3, 1e3, 30e3], users=[20, 0.4, 20])
    assert breaches([FLOOR], empty) == [""]
    assert breaches([FLOOR], worlds(thp=[30e3, 1e3, 30e3])) == [f"{label(FLOOR)} @ b"]
    assert breaches([FLOOR], worlds(thp=[30e3, 1e3, 30e3]), exempt=(False, True)) == [""]


def test_defaults_cannot_be_removed_and_are_not_judged_twice() -> None:
    defaults = load_guards()
    assert in_force([LOSS], defaults) == [*defaults, LOSS]
    assert in_force(defaults[:1], defaults) == defaults
    assert len({label(g) for g in defaults}) == len(defaults)
    assert {g.kpi for g in defaults} <= {*KPIS, *slice_kpis(S_NSSAIS)}
    assert unjudgeable(defaults, KPIS) == [], "a slice that nobody carries cannot be hurt"


def test_a_bad_guards_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "guards.yaml"
    path.write_text("- {kpi: RRU.PrbTotDl, direction: down}")
    with pytest.raises(BadGuards, match="absolute or a relative limit"):
        load_guards(path)
    path.write_text("- {kpi: [")
    with pytest.raises(BadGuards, match="not YAML"):
        load_guards(path)
    with pytest.raises(BadGuards, match="cannot read"):
        load_guards(tmp_path / "none.yaml")

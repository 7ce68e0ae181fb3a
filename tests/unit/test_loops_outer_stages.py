"""States, neighbours, stages and commands: what a plan is made of."""

from pathlib import Path

import pytest

from loops.outer.commands import commands_for
from loops.outer.exceptions import IllegalTransition, NotApproved, UnknownCell
from loops.outer.neighbours import neighbour_graph
from loops.outer.plan import Plan, plan_from
from loops.outer.stages import clusters, stages_of
from loops.outer.states import EDGES, check, mermaid, successors
from schemas.names import cell_dn
from schemas.ndt import Verdict
from schemas.plans import TERMINAL, PlanState
from tests.outer_world import (
    CELLS,
    GRAPH,
    FakeNetwork,
    bias,
    distant_cells,
    end,
    hexagonal,
    lock,
    managed_element_of,
    plan_for,
    power,
    report,
    strategy,
)


def test_every_state_can_be_reached_and_every_open_one_can_end() -> None:
    reached: set[PlanState] = set()
    frontier: list[PlanState | None] = [None]
    while frontier:
        for state in successors(frontier.pop()):
            if state not in reached:
                reached.add(state)
                frontier.append(state)
    assert reached == set(PlanState)
    assert {s for s in PlanState if not successors(s)} == TERMINAL - {PlanState.COMPLETED}, "which a person may undo"


def test_what_the_table_does_not_say_is_illegal() -> None:
    allowed = {(e.source, e.target) for e in EDGES}
    for source in (None, *PlanState):
        for target in PlanState:
            if (source, target) not in allowed:
                with pytest.raises(IllegalTransition, match=f"{source} does not lead to {target}"):
                    check(source, target)


def test_the_diagram_shows_every_transition() -> None:
    assert mermaid().count("-->") == len(EDGES) + len(TERMINAL)


@pytest.mark.parametrize(("rings", "cells"), [(1, 21), (2, 57)])
def test_every_cell_has_a_few_neighbours_and_leaves_controls(rings: int, cells: int) -> None:
    graph = neighbour_graph(hexagonal(rings))
    assert len(graph.cells) == cells
    assert (graph.adjacent == graph.adjacent.T).all()
    assert not graph.adjacent.diagonal().any()
    degree = graph.adjacent.sum(axis=1)
    assert degree.min() >= 2
    assert degree.max() <= 8
    # The other two sectors of a site are neighbours.
    assert graph.adjacent[0, 1]
    assert graph.adjacent[0, 2]


def test_sites_that_stand_alone_have_no_neighbours_elsewhere() -> None:
    far = hexagonal(0)
    graph = neighbour_graph(far)
    assert graph.area([far.cells[0].cell]) == set(far.cell_names)
    assert neighbour_graph(hexagonal(1)).ring(CELLS) == frozenset()


def test_unknown_cells_are_named() -> None:
    with pytest.raises(UnknownCell, match="gnb99"):
        GRAPH.ring([cell_dn("SubNetwork=1,ManagedElement=gnb99", 1)])
    with pytest.raises(UnknownCell, match="gnb99"):
        stages_of([power(cell_dn("SubNetwork=1,ManagedElement=gnb99", 1))], GRAPH)


def test_biases_that_answer_each_other_go_together() -> None:
    a, b = CELLS[0], CELLS[1]
    c, d = distant_cells(3)[1:]
    found = clusters([bias(a, b, 3), power(c), bias(b, a, -3), power(d)], GRAPH)
    assert [len(f) for f in found] == [2, 1, 1]


def test_a_cell_that_is_switched_off_goes_with_the_neighbours_that_make_up_for_it() -> None:
    off = CELLS[0]
    near = sorted(GRAPH.ring([off]))[0]
    far = distant_cells(2)[1]
    stages = stages_of([power(near, 40_000), lock(off), power(far)], GRAPH)
    assert [s.name for s in stages] == ["canary", "full"]
    assert set(stages[0].cells) == {off, near}
    assert [c.attribute for c in stages[0].changes] == ["configuredMaxTxPower", "administrativeState"]


def test_one_cluster_makes_one_stage() -> None:
    assert [s.name for s in stages_of([power(CELLS[0])], GRAPH)] == ["canary"]


def test_a_push_is_one_command_a_managed_element_under_ids_that_never_change() -> None:
    network = FakeNetwork()
    cells = [c for c in CELLS if managed_element_of(c) in {managed_element_of(CELLS[0]), managed_element_of(CELLS[3])}]
    plan = plan_for([power(c) for c in cells], network)
    first = commands_for(plan, "apply", [power(c) for c in cells], end(1))
    again = commands_for(Plan.model_validate_json(plan.model_dump_json()), "apply", [power(c) for c in cells], end(9))
    assert [len(c.changes) for c in first] == [3, 3]
    assert [c.command_id for c in first] == [c.command_id for c in again]
    back = commands_for(plan, "rollback", [power(c) for c in cells], end(1))
    assert not {c.command_id for c in first} & {c.command_id for c in back}


def test_only_an_approved_strategy_becomes_a_plan() -> None:
    proposed = strategy([power(CELLS[0])])
    for verdict in (Verdict.REJECTED, Verdict.INCONCLUSIVE):
        with pytest.raises(NotApproved, match=verdict):
            plan_from(proposed, report(proposed, verdict=verdict), (), GRAPH, {}, end(0))
    with pytest.raises(NotApproved):
        plan_from(proposed, report(strategy([power(CELLS[1])], "s-2")), (), GRAPH, {}, end(0))


def test_a_plan_survives_json() -> None:
    plan = plan_for([power(CELLS[0])], FakeNetwork())
    assert Plan.model_validate_json(plan.model_dump_json()).model_dump_json() == plan.model_dump_json()


def test_the_page_on_the_outer_loop_shows_the_table_as_it_is() -> None:
    page = Path(__file__).parents[2] / "docs" / "outer_loop.md"
    assert f"```mermaid\n{mermaid()}\n```" in page.read_text(encoding="utf-8")

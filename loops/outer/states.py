"""The states of a plan and where each may lead. One table; the docs' diagram is drawn from it."""

import sys
from typing import NamedTuple

from loops.outer.exceptions import IllegalTransition
from schemas.plans import TERMINAL, PlanState

S = PlanState


class Edge(NamedTuple):
    """One allowed transition and what makes it happen."""

    source: PlanState | None
    target: PlanState
    when: str


EDGES: tuple[Edge, ...] = (
    Edge(None, S.PENDING, "verdict approved, rule suffices"),
    Edge(None, S.AWAITING, "verdict approved, risk or blast radius asks for a person"),
    Edge(S.AWAITING, S.PENDING, "a person approves"),
    Edge(S.AWAITING, S.CANCELLED, "a person rejects, or the verdict expired"),
    Edge(S.PENDING, S.PUSHING, "turn has come, verdict still valid, gate open, fallback stored"),
    Edge(S.PENDING, S.CANCELLED, "verdict expired, the area was changed since, or a person says so"),
    Edge(S.PENDING, S.STANDING, "schedule or policy comes into force"),
    Edge(S.STANDING, S.COMPLETED, "its time is over"),
    Edge(S.STANDING, S.CANCELLED, "a change it brought forth was rolled back, or a person says so"),
    Edge(S.PUSHING, S.HOLDING, "all commands of the stage in force"),
    Edge(S.PUSHING, S.ROLLING_BACK, "refused or lost too often, alarm, other hands, waited too long, a person"),
    Edge(S.HOLDING, S.PUSHING, "promoted to the next stage"),
    Edge(S.HOLDING, S.COMPLETED, "last stage promoted"),
    Edge(S.HOLDING, S.ROLLING_BACK, "harm, alarm, other hands, no data for too long, a person"),
    Edge(S.COMPLETED, S.ROLLING_BACK, "a person orders it"),
    Edge(S.ROLLING_BACK, S.ROLLED_BACK, "the network reports the fallback"),
    Edge(S.ROLLING_BACK, S.FAILED, "the network refuses, or other hands hold an attribute"),
)
_REASONS = {(e.source, e.target): e.when for e in EDGES}


def check(source: PlanState | None, target: PlanState) -> None:
    """Do nothing if the table leads from source to target.

    Raises
    ------
    IllegalTransition
        If it does not.

    Examples
    --------
    >>> check(PlanState.HOLDING, PlanState.COMPLETED)
    >>> check(PlanState.PENDING, PlanState.COMPLETED)
    Traceback (most recent call last):
    ...
    loops.outer.exceptions.IllegalTransition: PENDING does not lead to COMPLETED but to PUSHING, CANCELLED, STANDING
    """
    if (source, target) not in _REASONS:
        ways = ", ".join(successors(source)) or "nowhere, it is final"
        raise IllegalTransition(f"{source} does not lead to {target} but to {ways}")


def successors(source: PlanState | None) -> tuple[PlanState, ...]:
    """The states to which a state may lead.

    >>> [s.value for s in successors(PlanState.ROLLING_BACK)]
    ['ROLLED_BACK', 'FAILED']
    """
    return tuple(e.target for e in EDGES if e.source == source)


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    lines += [f"    {e.source or '[*]'} --> {e.target}: {e.when}" for e in EDGES]
    lines += [f"    {s} --> [*]" for s in PlanState if s in TERMINAL]
    return "\n".join(lines)


if __name__ == "__main__":  # for the page docs/outer_loop.md, which a test compares with this
    sys.stdout.write(mermaid() + "\n")

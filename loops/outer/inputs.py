"""What the outer loop sees of a period, and what it answers."""

from dataclasses import dataclass, field
from typing import Any

from loops.outer.history import KpiHistory
from loops.outer.judgement import Judgement
from loops.outer.plan import Plan, Values
from schemas.alerts import Alert
from schemas.ndt import Diagnosis
from schemas.plans import ConfigCommand, Outcome, PlanTransition


@dataclass(frozen=True)
class Inputs:
    """State of the network and its twin at the end of a period.

    Parameters
    ----------
    period_end_ms, granularity_ms
        The period just ended.
    gate_open
        Whether the twin's measured fidelity lets the outer loop act.
    load_pct
        PRB use of the network, %; NaN if it is not known.
    history
        KPIs reported up to this period.
    actual
        Configuration that the network has reported; empty if it is not known as of this period.
    out_of_service
        Cells that an alarm says are out of service.
    busy
        Cells that other plans lock.
    hurt
        Standing strategies of which a change was rolled back.
    """

    period_end_ms: int
    granularity_ms: int
    gate_open: bool
    load_pct: float
    history: KpiHistory
    actual: Values
    out_of_service: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    hurt: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Note:
    """An entry for the audit trail."""

    action: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What becomes of a plan in a period, with everything that follows from it.

    Parameters
    ----------
    commands
        To send, or to send again.
    diagnosis
        Why it is rolled back, where that begins and no person has ordered it.
    """

    plan: Plan
    transitions: tuple[PlanTransition, ...] = ()
    commands: tuple[ConfigCommand, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    alerts: tuple[Alert, ...] = ()
    notes: tuple[Note, ...] = ()
    judgement: Judgement | None = None
    diagnosis: Diagnosis | None = None

"""Plans and everything that hangs on them: transitions, commands, outcomes, alerts, audit, and their outbox rows.

One step of a plan is written by `record` in the caller's transaction. Rows are upserts under ids derived from the plan,
so that a step that is redone after a crash writes the same rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from infra.storage import outbox
from infra.storage.alerts import save_alert
from infra.storage.database import Connection
from infra.storage.exceptions import StorageError
from infra.storage.rows import find, find_one, insert_once, upsert
from loops.outer.inputs import Note, Step
from loops.outer.plan import Plan
from schemas.ndt import NdtReport
from schemas.plans import TERMINAL, PlanState
from schemas.strategies import Guard, Strategy
from schemas.topics import CONFIG_COMMANDS, OUTCOMES, PLANS

_OPEN = "NOT (state = ANY(%s))"
_FINAL = [s.value for s in TERMINAL]


class UnknownPlan(StorageError, LookupError):
    """There is no plan of that id."""

    def __init__(self, network_id: str, plan_id: str) -> None:
        super().__init__(f"network {network_id} has no plan {plan_id}", "see `twinloop plans list`")


class Approved(NamedTuple):
    """A verdict that approves and has no plan yet, with the guards it was judged by (None where no job tells)."""

    strategy: Strategy
    report: NdtReport
    guards: list[Guard] | None


def record(connection: Connection, role: str, step: Step, time_ms: int) -> None:
    """Write a step: the plan as it is now, and what happened to it.

    Parameters
    ----------
    role
        Whose outbox publishes it.
    time_ms
        Event time.
    """
    plan = step.plan
    save_plan(connection, plan, time_ms)
    for transition in step.transitions:
        row = transition.model_dump(mode="json", exclude={"event_id", "strategy_id", "job_id", "time_ms"})
        upsert(connection, "plan_transitions", {**row, "at_ms": transition.time_ms})
        outbox.enqueue(connection, role, PLANS.name, PLANS.key_of(transition), transition, transition.event_id)
    attempts = {p.command.command_id: p.attempts for p in plan.commands}
    for command in step.commands:
        # The command's own id never changes; each time it is sent is an event of its own for the outbox.
        sending = f"{command.command_id}#{attempts[command.command_id]}"
        outbox.enqueue(connection, role, CONFIG_COMMANDS.name, CONFIG_COMMANDS.key_of(command), command, sending)
    for outcome in step.outcomes:
        row = outcome.model_dump(exclude={"event_id", "controls", "time_ms"})
        upsert(connection, "outcomes", {**row, "at_ms": outcome.time_ms})
        outbox.enqueue(connection, role, OUTCOMES.name, OUTCOMES.key_of(outcome), outcome, outcome.event_id)
    if step.diagnosis:
        row = {
            "network_id": plan.network_id, "subject": plan.plan_id, "strategy_id": plan.strategy.strategy_id,
            "layer": step.diagnosis.layer.value, "body": step.diagnosis, "period_end_ms": time_ms,
        }  # fmt: skip
        insert_once(connection, "diagnoses", row)
    for told in step.alerts:
        save_alert(connection, role, told, time_ms)
    for note in _notes(step):
        write_audit(connection, plan.network_id, time_ms, role, note.action, plan.plan_id, note.detail)


def save_plan(connection: Connection, plan: Plan, time_ms: int) -> None:
    """Write a plan and its commands."""
    upsert(
        connection,
        "plans",
        {
            "network_id": plan.network_id,
            "plan_id": plan.plan_id,
            "strategy_id": plan.strategy.strategy_id,
            "job_id": plan.job_id,
            "state": plan.state,
            "stage": plan.stage_name,
            "body": plan,
            "fallback": [v.model_dump(mode="json") for v in plan.fallback],
            "updated_ms": time_ms,
        },
    )
    for pushed in plan.commands:
        row = {
            "network_id": plan.network_id,
            "command_id": pushed.command.command_id,
            "plan_id": plan.plan_id,
            "stage": pushed.command.stage,
            "body": pushed.command,
            "state": pushed.status,
            "ack": pushed.model_dump(mode="json", include={"status", "attempts", "answered_ms", "reason"}),
        }
        upsert(connection, "commands", row)


def write_audit(
    connection: Connection,
    network_id: str,
    at_ms: int,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
) -> None:
    """Add an entry to the audit trail."""
    connection.execute(
        "INSERT INTO audit (network_id, at_ms, actor, action, subject, detail) VALUES (%s, %s, %s, %s, %s, %s)",
        (network_id, at_ms, actor, action, subject, Jsonb(dict(detail))),
    )


def open_plans(connection: Connection, network_id: str) -> list[Plan]:
    """Plans that have not ended."""
    rows = connection.execute(
        f"SELECT body FROM plans WHERE network_id = %s AND {_OPEN} ORDER BY plan_id",  # noqa: S608 - a constant
        (network_id, _FINAL),
    )
    return [Plan.model_validate(row[0]) for row in rows]


def load_plan(connection: Connection, network_id: str, plan_id: str) -> Plan:
    """A plan.

    Raises
    ------
    UnknownPlan
        If there is none of that id.
    """
    row = find_one(connection, "plans", {"network_id": network_id, "plan_id": plan_id})
    if row is None:
        raise UnknownPlan(network_id, plan_id)
    return Plan.model_validate(row["body"])


def all_plans(connection: Connection, network_id: str, states: Iterable[str] = ()) -> list[Plan]:
    """All plans, or those in these states, newest first."""
    key: dict[str, Any] = {"network_id": network_id}
    if wanted := list(states):
        key["state"] = wanted
    rows = find(connection, "plans", key, order_by=("-updated_ms", "plan_id"))
    return [Plan.model_validate(row["body"]) for row in rows]


def standing_plans(connection: Connection, network_id: str, region: str) -> list[Plan]:
    """Schedules and policies of a region that are in force and not paused."""
    found = all_plans(connection, network_id, [PlanState.STANDING.value])
    here = [p for p in found if p.strategy.region == region and not p.paused_by]
    return sorted(here, key=lambda p: p.plan_id)


def hurt_parents(connection: Connection, network_id: str) -> frozenset[str]:
    """Standing strategies of which a change was rolled back or failed."""
    rows = connection.execute(
        "SELECT DISTINCT body->'strategy'->>'parent' FROM plans WHERE network_id = %s AND state = ANY(%s) "
        "AND coalesce(body->'strategy'->>'parent', '') <> ''",
        (network_id, [PlanState.ROLLING_BACK.value, PlanState.ROLLED_BACK.value, PlanState.FAILED.value]),
    )
    return frozenset(str(row[0]) for row in rows)


def approved_without_plan(connection: Connection, network_id: str, until_ms: int) -> list[Approved]:
    """Verdicts up to a time that approve and have no plan yet, oldest first."""
    rows = connection.execute(
        "SELECT s.body, v.body, j.body->'guards' FROM verdicts v JOIN strategies s USING (network_id, strategy_id) "
        "LEFT JOIN jobs j USING (network_id, job_id) "
        "WHERE v.network_id = %s AND v.verdict = 'APPROVED' AND v.period_end_ms <= %s "
        "AND NOT EXISTS (SELECT FROM plans p WHERE p.network_id = v.network_id AND p.job_id = v.job_id) "
        "ORDER BY v.period_end_ms, v.job_id",
        (network_id, until_ms),
    )
    return [
        Approved(
            Strategy.model_validate(strategy),
            NdtReport.model_validate(report),
            None if guards is None else [Guard.model_validate(g) for g in guards],
        )
        for strategy, report, guards in rows
    ]


def _notes(step: Step) -> list[Note]:
    notes = list(step.notes)
    judgement = step.judgement
    if judgement is not None:
        detail = {
            "decision": judgement.decision.value,
            "reason": judgement.reason,
            "periods": judgement.periods,
            "comparisons": [e.text() for e in judgement.evidence],
            "not_watched": list(judgement.not_watched),
        }
        notes.append(Note("judged", detail))
    notes += [
        Note("moved", {"from": t.from_state, "to": t.to_state, "stage": t.stage, "reason": t.reason})
        for t in step.transitions
    ]
    notes += [Note("sent", {"command": c.command_id, "changes": len(c.changes)}) for c in step.commands]
    return notes

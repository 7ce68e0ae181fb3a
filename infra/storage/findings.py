"""Conflicts and diagnoses: what the loops found out beside verdicts."""

from collections.abc import Sequence

from infra.storage.alerts import save_alert
from infra.storage.database import Connection
from infra.storage.plans import write_audit
from infra.storage.rows import find, insert_once
from loops.alerts.events import Kind, alert
from schemas.ndt import Conflict, Diagnosis


def save_conflict(
    connection: Connection, role: str, network_id: str, region: str, conflict: Conflict, period_end_ms: int
) -> bool:
    """Write a conflict, with its audit record and alert; False if it had been written before."""
    row = {
        "network_id": network_id,
        "conflict_id": conflict.conflict_id,
        "region": region,
        "kind": conflict.kind.value,
        "resolution": conflict.resolution,
        "body": conflict,
        "period_end_ms": period_end_ms,
    }
    if not insert_once(connection, "conflicts", row):
        return False
    detail = conflict.model_dump(mode="json", exclude={"conflict_id"})
    write_audit(connection, network_id, period_end_ms, role, "conflict", conflict.conflict_id, detail)
    summary = f"{conflict.kind.value} conflict, resolved by {conflict.resolution}: {conflict.detail}"
    data = {"first": conflict.first, "second": conflict.second, "kept": ", ".join(conflict.kept)}
    told = alert(Kind.CONFLICT_FOUND, network_id, conflict.conflict_id, period_end_ms, summary, data)
    save_alert(connection, role, told, period_end_ms)
    return True


def save_diagnosis(
    connection: Connection, network_id: str, subject: str, strategy_id: str, diagnosis: Diagnosis, period_end_ms: int
) -> bool:
    """Write a diagnosis of a job or a plan; False if it had been written before."""
    row = {
        "network_id": network_id,
        "subject": subject,
        "strategy_id": strategy_id,
        "layer": diagnosis.layer.value,
        "body": diagnosis,
        "period_end_ms": period_end_ms,
    }
    return insert_once(connection, "diagnoses", row)


def conflicts_of(connection: Connection, network_id: str, strategy_id: str) -> list[Conflict]:
    """Conflicts that a strategy had a part in, in order of time."""
    rows = connection.execute(
        "SELECT body FROM conflicts WHERE network_id = %(n)s "
        "AND (body->>'first' = %(id)s OR body->>'second' = %(id)s) ORDER BY period_end_ms, conflict_id",
        {"n": network_id, "id": strategy_id},
    )
    return [Conflict.model_validate(row[0]) for row in rows]


def diagnoses_of(connection: Connection, network_id: str, subjects: Sequence[str]) -> dict[str, Diagnosis]:
    """Diagnoses by job or plan."""
    rows = find(connection, "diagnoses", {"network_id": network_id, "subject": list(subjects)}) if subjects else []
    return {row["subject"]: Diagnosis.model_validate(row["body"]) for row in rows}

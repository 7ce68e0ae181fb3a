"""Learned models: versions with their lineage, what is decided about them, and the state of what learns.

A decision is written with its event, alert and audit record in one transaction. Which version the twin predicts with
stands in its revisions (`model_versions`); here stands what was decided.
"""

import math
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from infra.storage import outbox
from infra.storage.alerts import save_alert
from infra.storage.database import Connection
from infra.storage.exceptions import StorageError
from infra.storage.plans import write_audit
from infra.storage.rows import find, find_one, update, upsert
from loops.alerts.events import Kind, alert
from loops.learning.track import Decision
from processors.promotions import text_of
from schemas.models import ModelEvent
from schemas.topics import MODELS

IN_FORCE, FORMER = "promoted", "former"
_TOLD = {"promoted": Kind.MODEL_PROMOTED, "rolled_back": Kind.MODEL_ROLLED_BACK}


class UnknownModel(StorageError, LookupError):
    """There is no model, or no version of it, of that name."""

    def __init__(self, network_id: str, what: str) -> None:
        super().__init__(f"network {network_id} has no {what}", "see `twinloop models list`")


class ModelRow(NamedTuple):
    """A version of a model.

    `state` is challenger, promoted (in force), former (replaced), rolled_back or refused; scores are one minus the mean
    loss over the periods on which champion and challenger were both judged, NaN where they were not.
    """

    region: str
    model: str
    version: str
    parent: str
    state: str
    at_ms: int
    champion_score: float
    challenger_score: float
    periods: int
    reason: str
    actor: str
    parameters: bytes


def record_decision(
    connection: Connection,
    role: str,
    network_id: str,
    region: str,
    decision: Decision,
    time_ms: int,
    actor: str,
    order: str = "",
) -> None:
    """Write a decision about a model.

    Parameters
    ----------
    role
        Whose outbox publishes the event.
    time_ms
        Event time.
    actor
        Who decided: a role, or a person.
    order
        Tells a person's orders of one period apart; a role's decisions follow from the period.
    """
    key = {"network_id": network_id, "region": region, "model": decision.model}
    if decision.action == "rolled_back":
        update(connection, "models", {**key, "version": decision.version}, {"state": "rolled_back", "at_ms": time_ms})
        if decision.parent:
            update(connection, "models", {**key, "version": decision.parent}, {"state": IN_FORCE, "at_ms": time_ms})
    else:
        if decision.action == "promoted":
            update(connection, "models", {**key, "state": IN_FORCE}, {"state": FORMER})
        body = {
            "champion_score": _number(decision.champion_score),
            "challenger_score": _number(decision.challenger_score),
            "periods": decision.periods,
            "reason": decision.reason,
            "actor": actor,
        }
        row = {
            **key, "version": decision.version, "parent": decision.parent, "state": decision.action,
            "body": Jsonb(body), "at_ms": time_ms, "parameters": decision.parameters,
        }  # fmt: skip
        upsert(connection, "models", row)
    event = ModelEvent(
        network_id=network_id,
        event_id=f"{region}/{decision.model}/{decision.version}/{decision.action}/{time_ms}{order}",
        region=region,
        model=decision.model,
        version=decision.version,
        parent=decision.parent,
        action=decision.action,
        champion_score=decision.champion_score,
        challenger_score=decision.challenger_score,
        parameters=text_of(decision.parameters),
        reason=decision.reason,
        time_ms=time_ms,
    )
    outbox.enqueue(connection, role, MODELS.name, MODELS.key_of(event), event, event.event_id)
    detail = {"version": decision.version, "parent": decision.parent, "reason": decision.reason, "region": region}
    write_audit(connection, network_id, time_ms, actor, f"model {decision.action}", decision.model, detail)
    if kind := _TOLD.get(decision.action):
        summary = f"model {decision.model} {decision.version} {decision.action.replace('_', ' ')}: {decision.reason}"
        told = alert(kind, network_id, f"{region}/{decision.model}", time_ms, summary, {"version": decision.version})
        save_alert(connection, role, told, time_ms)


def all_models(connection: Connection, network_id: str, model: str | None = None) -> list[ModelRow]:
    """Versions, newest decision first."""
    key: dict[str, Any] = {"network_id": network_id}
    if model is not None:
        key["model"] = model
    rows = find(connection, "models", key, order_by=("-at_ms", "region", "model", "version"))
    return [_row(row) for row in rows]


def load_version(connection: Connection, network_id: str, region: str, model: str, version: str) -> ModelRow:
    """One version.

    Raises
    ------
    UnknownModel
        If there is none.
    """
    key = {"network_id": network_id, "region": region, "model": model, "version": version}
    row = find_one(connection, "models", key)
    if row is None:
        raise UnknownModel(network_id, f"version {version} of a model {model} in region {region}")
    return _row(row)


def in_force(connection: Connection, network_id: str, region: str, model: str) -> ModelRow | None:
    """The version that was promoted last and not rolled back; None if there is none."""
    key = {"network_id": network_id, "region": region, "model": model, "state": IN_FORCE}
    rows = find(connection, "models", key, order_by=("-at_ms",), limit=1)
    return _row(rows[0]) if rows else None


def save_learner(
    connection: Connection, network_id: str, region: str, learner: str, payload: bytes, period_end_ms: int
) -> None:
    """Write the state of what learns, with the period up to which it has learned."""
    key = {"network_id": network_id, "region": region, "learner": learner}
    upsert(connection, "learners", {**key, "payload": payload, "period_end_ms": period_end_ms})


def load_learner(connection: Connection, network_id: str, region: str, learner: str) -> bytes | None:
    """The state of what learns; None if it never learned."""
    row = find_one(connection, "learners", {"network_id": network_id, "region": region, "learner": learner})
    return None if row is None else bytes(row["payload"])


def _row(row: dict[str, Any]) -> ModelRow:
    body = row["body"]
    return ModelRow(
        region=row["region"], model=row["model"], version=row["version"], parent=row["parent"], state=row["state"],
        at_ms=row["at_ms"], periods=int(body["periods"]), reason=body["reason"], actor=body["actor"],
        champion_score=_nan(body["champion_score"]), challenger_score=_nan(body["challenger_score"]),
        parameters=bytes(row["parameters"]),
    )  # fmt: skip


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)

"""What is worth telling, and the CloudEvents 1.0 form in which it is told."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from schemas.alerts import Alert

_FNV_OFFSET, _FNV_PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF


class Kind(StrEnum):
    """CloudEvents types of twinloop."""

    CHANGE_VERIFIED = "io.twinloop.change.verified"
    APPROVAL_NEEDED = "io.twinloop.approval.needed"
    STAGE_PROMOTED = "io.twinloop.stage.promoted"
    PLAN_COMPLETED = "io.twinloop.plan.completed"
    PLAN_ROLLED_BACK = "io.twinloop.plan.rolledback"
    PLAN_FAILED = "io.twinloop.plan.failed"
    PLAN_CANCELLED = "io.twinloop.plan.cancelled"
    CONFIGURATION_CONFLICT = "io.twinloop.configuration.conflict"
    CONFLICT_FOUND = "io.twinloop.conflict.found"
    MODEL_PROMOTED = "io.twinloop.model.promoted"
    MODEL_ROLLED_BACK = "io.twinloop.model.rolledback"
    DRIFT = "io.twinloop.drift"
    AGENT_SUSPENDED = "io.twinloop.agent.suspended"
    GATE_CLOSED = "io.twinloop.fidelity.gateclosed"
    GATE_OPENED = "io.twinloop.fidelity.gateopened"
    DEAD_LETTER_BURST = "io.twinloop.deadletters.burst"


SEVERITY: Mapping[Kind, str] = {
    Kind.CHANGE_VERIFIED: "info",
    Kind.APPROVAL_NEEDED: "warning",
    Kind.STAGE_PROMOTED: "info",
    Kind.PLAN_COMPLETED: "info",
    Kind.PLAN_ROLLED_BACK: "warning",
    Kind.PLAN_FAILED: "critical",
    Kind.PLAN_CANCELLED: "info",
    Kind.CONFIGURATION_CONFLICT: "critical",
    Kind.CONFLICT_FOUND: "warning",
    Kind.MODEL_PROMOTED: "info",
    Kind.MODEL_ROLLED_BACK: "warning",
    Kind.DRIFT: "warning",
    Kind.AGENT_SUSPENDED: "warning",
    Kind.GATE_CLOSED: "warning",
    Kind.GATE_OPENED: "info",
    Kind.DEAD_LETTER_BURST: "warning",
}


def alert(
    kind: Kind,
    network_id: str,
    subject: str,
    time_ms: int,
    summary: str,
    data: Mapping[str, str] | None = None,
) -> Alert:
    """An alert. Its id follows from kind, subject and event time, so that a redone period says nothing twice.

    Parameters
    ----------
    subject
        What it is about: a plan, a region.
    time_ms
        Event time.
    data
        Particulars.

    Examples
    --------
    >>> a = alert(Kind.PLAN_COMPLETED, "demo", "plan-1", 1_700_000_040_000, "done")
    >>> a.time, a.labels["alertname"], a.labels["severity"]
    ('2023-11-14T22:14:00.000Z', 'PlanCompleted', 'info')
    """
    labels = labels_of(kind, network_id, subject)
    return Alert(
        network_id=network_id,
        event_id=f"{kind.removeprefix('io.twinloop.')}/{subject}/{time_ms}",
        source=f"/twinloop/network/{network_id}",
        type=kind.value,
        subject=subject,
        time=datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        fingerprint=fingerprint(labels),
        labels=labels,
        annotations={"summary": summary},
        data=dict(data or {}),
    )


def labels_of(kind: Kind, network_id: str, subject: str) -> dict[str, str]:
    """What names a condition."""
    return {
        "alertname": "".join(word.capitalize() for word in kind.name.split("_")),
        "network": network_id,
        "severity": SEVERITY[kind],
        "subject": subject,
    }


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of a label set: FNV-1a, 64 bit, over names and values in order of name.

    The same condition keeps its fingerprint however often it is told.

    Examples
    --------
    >>> fingerprint({})
    'cbf29ce484222325'
    >>> fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"}) != fingerprint({"a": "12", "b": ""})
    True
    """
    value = _FNV_OFFSET
    for name in sorted(labels):
        for byte in (*name.encode(), 0xFF, *labels[name].encode(), 0xFF):
            value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return f"{value:016x}"


def cloud_event(told: Alert) -> dict[str, Any]:
    """An alert in the structured JSON form of CloudEvents 1.0."""
    return {
        "specversion": told.specversion,
        "id": told.event_id,
        "source": told.source,
        "type": told.type,
        "subject": told.subject,
        "time": told.time,
        "datacontenttype": "application/json",
        "networkid": told.network_id,
        "fingerprint": told.fingerprint,
        "data": {"labels": told.labels, "annotations": told.annotations, **told.data},
    }

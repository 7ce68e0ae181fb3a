"""Putting the demo's report together from what the database keeps."""

import math
from collections.abc import Mapping
from typing import Any

from infra.demo.counting import TopicCounts
from infra.demo.plan import DemoPlan
from infra.demo.report import (
    AlertsPart,
    ConflictPart,
    ConflictsPart,
    DemoReport,
    DiagnosisPart,
    Invariant,
    ModelsPart,
    NetworkPart,
    OutcomePart,
    PlansPart,
    StrategiesPart,
    TwinPart,
    VerdictPart,
)
from infra.storage.database import Connection
from schemas.topics import MODELS
from schemas.twin import TwinUpdate

_VERDICTS = """
SELECT v.strategy_id, s.body, v.period_end_ms, v.verdict, v.body FROM verdicts v
JOIN strategies s USING (network_id, strategy_id) WHERE v.network_id = %s ORDER BY v.period_end_ms, v.strategy_id
"""
_OUTCOMES = """
SELECT o.plan_id, p.body->'strategy'->>'title', o.kpi = p.body->'strategy'->'objective'->>'kpi',
       o.stage, o.kpi, o.cell, o.predicted, o.low, o.high, o.observed
FROM outcomes o JOIN plans p USING (network_id, plan_id) WHERE o.network_id = %s
ORDER BY o.at_ms, o.plan_id, o.stage, o.kpi, o.cell
"""
_CONFLICTS = """
SELECT c.body, coalesce(a.body->>'title', c.body->>'first'), coalesce(b.body->>'title', c.body->>'second')
FROM conflicts c
LEFT JOIN strategies a ON a.network_id = c.network_id AND a.strategy_id = c.body->>'first'
LEFT JOIN strategies b ON b.network_id = c.network_id AND b.strategy_id = c.body->>'second'
WHERE c.network_id = %s ORDER BY c.period_end_ms, c.conflict_id
"""
_DIAGNOSES = """
SELECT d.strategy_id, coalesce(s.body->>'title', d.strategy_id), d.body FROM diagnoses d
LEFT JOIN strategies s USING (network_id, strategy_id) WHERE d.network_id = %s ORDER BY d.period_end_ms, d.subject
"""
_MODEL_EVENTS = """
SELECT payload->>'action', count(*) FROM outbox WHERE network_id = %s AND topic = %s GROUP BY 1
"""


def build_report(
    connection: Connection,
    plan: DemoPlan,
    network_id: str,
    network_name: str,
    update: TwinUpdate,
    topics: TopicCounts,
    invariants: list[Invariant],
    restarts: Mapping[str, int],
    duration_s: float,
) -> DemoReport:
    """The report of a demo; see the fields of `DemoReport`."""
    row = connection.execute(
        "SELECT parameters_hash, jsonb_array_length(topology->'cells'), granularity_s FROM networks "
        "WHERE network_id = %s",
        (network_id,),
    ).fetchone()
    assert row is not None, "the bridge wrote it before the first period"
    verdicts = _verdicts(connection, network_id, plan, 1000 * int(row[2]))
    outcomes = _outcomes(connection, network_id)
    conflicting = _conflicts(connection, network_id)
    parts = DemoReport(
        seed=plan.seed,
        duration_s=round(duration_s, 1),
        periods=plan.periods,
        network=NetworkPart(name=network_name, hash=row[0], cells=row[1]),
        events=update.counts,
        twin=TwinPart(
            revision=update.revision,
            state_hash=update.state_hash,
            gate_open=update.gate_open,
            fidelity={f.kpi: f.score for f in update.fidelity},
        ),
        strategies=_strategies(connection, network_id, verdicts),
        plans=_plans(connection, network_id),
        alerts=AlertsPart(sent=topics.alerts),
        conflicts=ConflictsPart(found=len(conflicting), resolved=sum(c.resolution != "open" for c in conflicting)),
        models=_models(connection, network_id),
        verdicts=verdicts,
        conflicting=conflicting,
        diagnoses=_diagnoses(connection, network_id),
        outcomes=outcomes,
        restarts={name: n for name, n in restarts.items() if n},
        not_occurred=[],
        invariants=invariants,
    )
    return parts.model_copy(update={"not_occurred": _not_occurred(parts)})


def _not_occurred(report: DemoReport) -> list[str]:
    """What the demo can show and this run did not bring."""
    shown = {
        "a strategy verified, pushed and completed, with outcomes": report.plans.completed > 0 and report.outcomes,
        "a strategy rejected": report.strategies.rejected > 0,
        "a roll-back": report.plans.rolled_back > 0,
        "a dead letter": report.events.dead_lettered > 0,
        "a re-injected dead letter": report.events.reinjected > 0,
        "an alert": report.alerts.sent > 0,
        "a conflict found and resolved": report.conflicts.resolved > 0,
        "a model promoted": report.models.promotions > 0,
        "a diagnosis": bool(report.diagnoses),
        "a change that a schedule or policy brought forth": report.strategies.standing > 0,
        "a change that a person approved": report.plans.approved_by_person > 0,
    }
    return [what for what, it_did in shown.items() if not it_did]


def _verdicts(connection: Connection, network_id: str, plan: DemoPlan, period_ms: int) -> list[VerdictPart]:
    return [
        VerdictPart(
            strategy=strategy,
            title=body["title"],
            agent=body["agent"],
            period=(at - plan.start_ms) // period_ms,
            verdict=verdict,
            p_harm=_number(report["p_harm"]),
            p_harm_high=_number(report["p_harm_high"]),
            reason=report["reason"],
        )
        for strategy, body, at, verdict, report in connection.execute(_VERDICTS, (network_id,)).fetchall()
    ]


def _outcomes(connection: Connection, network_id: str) -> list[OutcomePart]:
    return [
        OutcomePart(
            plan=plan_id, title=title, aimed=aimed, stage=stage, kpi=kpi, cell=cell,
            predicted=_number(predicted), low=_number(low), high=_number(high), observed=_number(observed),
        )
        for plan_id, title, aimed, stage, kpi, cell, predicted, low, high, observed in connection.execute(
            _OUTCOMES, (network_id,)
        ).fetchall()
    ]  # fmt: skip


def _strategies(connection: Connection, network_id: str, verdicts: list[VerdictPart]) -> StrategiesPart:
    row = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE coalesce(body->>'parent', '') <> '') FROM strategies "
        "WHERE network_id = %s",
        (network_id,),
    ).fetchone()
    proposed, standing = row or (0, 0)
    count = {v: sum(x.verdict == v for x in verdicts) for v in ("APPROVED", "REJECTED", "INCONCLUSIVE")}
    return StrategiesPart(
        proposed=proposed,
        approved=count["APPROVED"],
        rejected=count["REJECTED"],
        inconclusive=count["INCONCLUSIVE"],
        standing=standing,
    )


def _plans(connection: Connection, network_id: str) -> PlansPart:
    states: dict[str, int] = dict(
        connection.execute(
            "SELECT state, count(*) FROM plans WHERE network_id = %s GROUP BY state", (network_id,)
        ).fetchall()
    )
    approved = connection.execute(
        "SELECT count(DISTINCT plan_id) FROM orders WHERE network_id = %s AND action = 'approve' "
        "AND done_ms IS NOT NULL",
        (network_id,),
    ).fetchone()
    return PlansPart(
        completed=states.pop("COMPLETED", 0),
        rolled_back=states.pop("ROLLED_BACK", 0),
        failed=states.pop("FAILED", 0),
        cancelled=states.pop("CANCELLED", 0),
        open=sum(states.values()),
        approved_by_person=approved[0] if approved else 0,
    )


def _conflicts(connection: Connection, network_id: str) -> list[ConflictPart]:
    return [
        ConflictPart(
            kind=body["kind"],
            first=first,
            second=second,
            kpi=body["kpi"],
            cell=body["cell"],
            resolution=body["resolution"],
            detail=body["detail"],
        )
        for body, first, second in connection.execute(_CONFLICTS, (network_id,)).fetchall()
    ]


def _models(connection: Connection, network_id: str) -> ModelsPart:
    events: dict[str, int] = dict(connection.execute(_MODEL_EVENTS, (network_id, MODELS.name)).fetchall())
    return ModelsPart(
        updates=events.get("challenger", 0),
        promotions=events.get("promoted", 0),
        refused=events.get("refused", 0),
        rolled_back=events.get("rolled_back", 0),
    )


def _diagnoses(connection: Connection, network_id: str) -> list[DiagnosisPart]:
    return [
        DiagnosisPart(
            strategy=strategy,
            title=title,
            layer=body["layer"],
            kpi=body["kpi"],
            cell=body["cell"],
            change=body["change"],
            summary=body["summary"],
        )
        for strategy, title, body in connection.execute(_DIAGNOSES, (network_id,)).fetchall()
    ]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)

"""Strategies, the jobs that verify them, and their verdicts, with their outbox rows.

All rows are upserts under ids derived from their content, so that a period that is done again writes the same rows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from infra.storage import outbox
from infra.storage.database import Connection
from infra.storage.plans import write_audit
from infra.storage.rows import find, find_one, insert_once, update, upsert
from loops.agents.agent import Attempt, Fate
from loops.inner.sharding import Job
from schemas.ndt import Diagnosis, NdtReport, NdtShardResult, Verdict
from schemas.plans import TERMINAL, PlanState
from schemas.strategies import Strategy
from schemas.topics import NDT_REPORTS

VERIFYING = "VERIFYING"
# Agents look back no further: with two agents and a proposal a period each, more than a day.
_REMEMBERED = 3000


def take_in(connection: Connection, actor: str, strategy: Strategy, period_end_ms: int) -> bool:
    """Write a strategy that is to be verified in a period; False if it had been taken in before."""
    row = {
        "network_id": strategy.network_id,
        "strategy_id": strategy.strategy_id,
        "region": strategy.region,
        "agent": strategy.agent,
        "body": strategy,
        "state": VERIFYING,
        "revision": strategy.revision,
        "period_end_ms": period_end_ms,
    }
    if not insert_once(connection, "strategies", row):
        return False
    detail = {"agent": strategy.agent, "title": strategy.title, "changes": len(strategy.changes)}
    write_audit(connection, strategy.network_id, period_end_ms, actor, "taken in", strategy.strategy_id, detail)
    return True


def last_child(connection: Connection, network_id: str, parent: str) -> int | None:
    """When a standing strategy last brought a change forth, None if it never has."""
    row = connection.execute(
        "SELECT max(period_end_ms) FROM strategies WHERE network_id = %s AND body->>'parent' = %s",
        (network_id, parent),
    ).fetchone()
    return row[0] if row else None


def open_job(connection: Connection, job: Job, period_end_ms: int) -> None:
    """Write a job that is running: until it is closed, the snapshot of its revision is kept."""
    s = job.strategy
    upsert(
        connection,
        "jobs",
        {
            "network_id": s.network_id,
            "job_id": job.job_id,
            "strategy_id": s.strategy_id,
            "region": s.region,
            "revision": job.revision,
            "body": {
                "draws": job.draws,
                "design": job.design.model_dump(mode="json"),
                "guards": [g.model_dump(mode="json") for g in job.guards],
                "shards": len(job.shards),
            },
            "state": "RUNNING",
            "period_end_ms": period_end_ms,
        },
    )


def close_job(
    connection: Connection,
    actor: str,
    report: NdtReport,
    results: Iterable[NdtShardResult],
    counts: Mapping[str, int],
    period_end_ms: int,
) -> bool:
    """Write a verdict with what it rests on; False if it had been written before.

    Parameters
    ----------
    results
        The shard results it was decided on; their arrays stay out, being as large as they are quickly derived again.
    counts
        What happened to the results. They depend on who was slow or killed, so they go into the audit, not the verdict.
    """
    key = {"network_id": report.network_id, "job_id": report.job_id}
    row = {
        **key,
        "strategy_id": report.strategy_id,
        "body": report,
        "verdict": report.verdict,
        "period_end_ms": period_end_ms,
    }
    new = insert_once(connection, "verdicts", row)
    update(connection, "jobs", key, {"state": "COMPLETED"})
    update(
        connection,
        "strategies",
        {"network_id": report.network_id, "strategy_id": report.strategy_id},
        {"state": report.verdict.value},
    )
    for result in results:
        body = result.model_dump(mode="json", exclude={"baseline", "candidate", "network_id", "event_id"})
        upsert(connection, "job_results", {**key, "shard_index": result.shard_index, "body": body})
    if new:
        outbox.enqueue(connection, actor, NDT_REPORTS.name, NDT_REPORTS.key_of(report), report, report.event_id)
        detail = {"verdict": report.verdict.value, "reason": report.reason, "results": dict(counts)}
        write_audit(connection, report.network_id, period_end_ms, actor, "verdict", report.job_id, detail)
    return new


def verifying(connection: Connection, network_id: str, region: str) -> list[Strategy]:
    """Strategies that were taken in and have no verdict yet, in the order of their ids."""
    key = {"network_id": network_id, "region": region, "state": VERIFYING}
    return [Strategy.model_validate(r["body"]) for r in find(connection, "strategies", key, order_by=("strategy_id",))]


def cancel_other_jobs(connection: Connection, network_id: str, region: str) -> None:
    """Cancel jobs left open although every strategy has its verdict: a process with other settings made them."""
    update(
        connection,
        "jobs",
        {"network_id": network_id, "region": region, "state": "RUNNING"},
        {"state": "CANCELLED"},
    )


def find_verdict(connection: Connection, network_id: str, job_id: str) -> NdtReport | None:
    """The verdict of a job, None if it has none yet."""
    row = find_one(connection, "verdicts", {"network_id": network_id, "job_id": job_id})
    return NdtReport.model_validate(row["body"]) if row else None


def verdict_of(connection: Connection, network_id: str, strategy_id: str) -> NdtReport | None:
    """The newest verdict on a strategy, None if it has none yet."""
    rows = find(
        connection,
        "verdicts",
        {"network_id": network_id, "strategy_id": strategy_id},
        order_by=("period_end_ms", "job_id"),
    )
    return NdtReport.model_validate(rows[-1]["body"]) if rows else None


def attempts(connection: Connection, network_id: str, region: str, before_ms: int) -> list[Attempt]:
    """Strategies taken in before a time and what came of them, oldest first: what agents remember."""
    rows = connection.execute(
        "SELECT s.body, s.period_end_ms, v.verdict, (v.body->>'valid_until_ms')::bigint, p.state, "
        "coalesce(dp.body, dv.body) "
        "FROM strategies s "
        "LEFT JOIN LATERAL (SELECT * FROM verdicts v WHERE v.network_id = s.network_id "
        "AND v.strategy_id = s.strategy_id ORDER BY v.period_end_ms DESC, v.job_id LIMIT 1) v ON true "
        "LEFT JOIN plans p ON p.network_id = s.network_id AND p.job_id = v.job_id "
        "LEFT JOIN diagnoses dv ON dv.network_id = s.network_id AND dv.subject = v.job_id "
        "LEFT JOIN diagnoses dp ON dp.network_id = s.network_id AND dp.subject = p.plan_id "
        "WHERE s.network_id = %s AND s.region = %s AND s.period_end_ms < %s "
        "ORDER BY s.period_end_ms DESC, s.strategy_id DESC LIMIT %s",
        (network_id, region, before_ms, _REMEMBERED),
    ).fetchall()
    return [_attempt(*row, now_ms=before_ms) for row in reversed(rows)]


def locked_cells(connection: Connection, network_id: str) -> frozenset[str]:
    """Cells in the areas of plans that have not ended."""
    final = [s.value for s in TERMINAL]
    rows = connection.execute(
        "SELECT DISTINCT jsonb_array_elements_text(body->'area') FROM plans "
        "WHERE network_id = %s AND NOT (state = ANY(%s))",
        (network_id, final),
    )
    return frozenset(row[0] for row in rows)


_FATES = {
    PlanState.COMPLETED: Fate.DONE,
    PlanState.STANDING: Fate.DONE,
    PlanState.ROLLED_BACK: Fate.UNDONE,
    PlanState.FAILED: Fate.UNDONE,
    PlanState.CANCELLED: Fate.UNDECIDED,
}


def _attempt(
    body: Any,
    period_end_ms: int,
    verdict: str | None,
    valid_until_ms: int | None,
    plan: str | None,
    diagnosis: Any,
    *,
    now_ms: int,
) -> Attempt:
    strategy = Strategy.model_validate(body)
    return Attempt(
        strategy_id=strategy.strategy_id,
        agent=strategy.agent,
        settings=frozenset((c.object, c.attribute, c.value) for c in strategy.all_changes),
        period_end_ms=period_end_ms,
        fate=_fate(verdict, valid_until_ms, plan, now_ms),
        standing=strategy.standing,
        diagnosis=Diagnosis.model_validate(diagnosis) if diagnosis else None,
    )


def _fate(verdict: str | None, valid_until_ms: int | None, plan: str | None, now_ms: int) -> Fate:
    if plan is not None:
        return _FATES.get(PlanState(plan), Fate.OPEN)
    match verdict:
        case Verdict.REJECTED:
            return Fate.REFUSED
        case Verdict.APPROVED if valid_until_ms is not None and valid_until_ms >= now_ms:
            return Fate.OPEN  # its plan is about to be made
    return Fate.UNDECIDED

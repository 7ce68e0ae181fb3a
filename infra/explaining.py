"""The whole story of a change under any of its ids: proposal, verification, roll-out, outcomes, in one record."""

from typing import Any

from psycopg.rows import dict_row

from infra.exceptions import InfraError
from infra.storage.database import Connection
from infra.storage.exceptions import UnknownRevision
from infra.storage.findings import conflicts_of, diagnoses_of
from infra.storage.revisions import load_revision
from infra.storage.rows import find, find_one
from loops.outer.plan import Plan, PushedCommand
from schemas.alerts import Alert
from schemas.base import EpochMs, Number, Record
from schemas.ndt import Conflict, Diagnosis, NdtReport, ScenarioOutcome
from schemas.plans import PlanState
from schemas.strategies import Strategy
from schemas.telemetry import AttributeValue
from schemas.twin import TwinUpdate


class UnknownId(InfraError, LookupError):
    """Nothing in the database has that id."""

    def __init__(self, network_id: str, wanted: str) -> None:
        super().__init__(
            f"network {network_id} has no strategy, job, plan or command {wanted!r}",
            "see `twinloop plans list`, or name its network with TWINLOOP_NETWORK_ID",
        )


class Transition(Record):
    """A plan went from one state to the next."""

    seq: int
    from_state: PlanState | None
    to_state: PlanState
    stage: str
    at_ms: EpochMs
    reason: str


class OutcomeRow(Record):
    """Predicted beside observed."""

    stage: str
    kpi: str
    cell: str
    predicted: Number
    low: Number
    high: Number
    observed: Number

    @property
    def inside(self) -> bool:
        """Whether the observation lies in the predicted interval."""
        return self.low <= self.observed <= self.high


class PlanChapter(Record):
    """What became of an approved strategy in the network."""

    plan_id: str
    state: PlanState
    stages: dict[str, list[str]]  # stage -> cells it changes
    cause: str
    diagnosis: Diagnosis | None  # why it was rolled back
    fallback: list[AttributeValue]
    transitions: list[Transition]
    commands: list[PushedCommand]
    outcomes: list[OutcomeRow]


class JobChapter(Record):
    """One verification, and the plan that followed from it."""

    job_id: str
    state: str
    revision: int | None
    shards: int
    compute_s: float
    workers: list[str]
    report: NdtReport | None
    plan: PlanChapter | None


class AuditEntry(Record):
    """A line of the audit trail."""

    at_ms: int
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


class Story(Record):
    """Everything about one strategy."""

    network_id: str
    asked: str
    strategy_id: str
    strategy: Strategy | None
    state: str
    proposed_on: TwinUpdate | None
    verified_on: list[TwinUpdate]
    jobs: list[JobChapter]
    conflicts: list[Conflict]
    alerts: list[Alert]
    audit: list[AuditEntry]

    @property
    def scenarios(self) -> list[ScenarioOutcome]:
        """Of all its verifications."""
        return [s for job in self.jobs if job.report for s in job.report.scenarios]


def explain(connection: Connection, network_id: str, wanted: str) -> Story:
    """The story behind the id of a strategy, job, plan or command.

    Raises
    ------
    UnknownId
        If there is nothing of that id.
    """
    strategy_id = _strategy_of(connection, network_id, wanted)
    row = find_one(connection, "strategies", {"network_id": network_id, "strategy_id": strategy_id})
    strategy = Strategy.model_validate(row["body"]) if row else None
    jobs = _jobs(connection, network_id, strategy_id)
    ids = [strategy_id, *(j.job_id for j in jobs), *(j.plan.plan_id for j in jobs if j.plan)]
    region = strategy.region if strategy else "1"
    verified = sorted({r for j in jobs if j.report for r in j.report.revisions.values()})
    return Story(
        network_id=network_id,
        asked=wanted,
        strategy_id=strategy_id,
        strategy=strategy,
        state=str(row["state"]) if row else "",
        proposed_on=_revision(connection, network_id, region, strategy.revision) if strategy else None,
        verified_on=[u for r in verified if (u := _revision(connection, network_id, region, r)) is not None],
        jobs=jobs,
        conflicts=conflicts_of(connection, network_id, strategy_id),
        alerts=_alerts(connection, network_id, ids),
        audit=_audit(connection, network_id, ids),
    )


def _strategy_of(connection: Connection, network_id: str, wanted: str) -> str:
    found = connection.execute(
        "SELECT strategy_id FROM strategies WHERE network_id = %(n)s AND strategy_id = %(id)s "
        "UNION SELECT strategy_id FROM jobs WHERE network_id = %(n)s AND job_id = %(id)s "
        "UNION SELECT strategy_id FROM verdicts WHERE network_id = %(n)s AND job_id = %(id)s "
        "UNION SELECT strategy_id FROM plans WHERE network_id = %(n)s AND plan_id = %(id)s "
        "UNION SELECT p.strategy_id FROM commands c JOIN plans p USING (network_id, plan_id) "
        "WHERE c.network_id = %(n)s AND c.command_id = %(id)s",
        {"n": network_id, "id": wanted},
    ).fetchone()
    if found is None:
        raise UnknownId(network_id, wanted)
    return str(found[0])


def _jobs(connection: Connection, network_id: str, strategy_id: str) -> list[JobChapter]:
    """Verifications in order of time; a job that only a verdict or a plan tells of counts as well."""
    key = {"network_id": network_id, "strategy_id": strategy_id}
    jobs = {r["job_id"]: r for r in find(connection, "jobs", key)}
    verdicts = {r["job_id"]: r for r in find(connection, "verdicts", key)}
    plans = {r["job_id"]: r for r in find(connection, "plans", key)}
    times = {
        job: (jobs.get(job) or verdicts.get(job) or {}).get("period_end_ms", 0) for job in {*jobs, *verdicts, *plans}
    }
    chapters = []
    for job_id in sorted(times, key=lambda job: (times[job], job)):
        shards, compute_s, workers = _effort(connection, network_id, job_id)
        verdict, plan, job = verdicts.get(job_id), plans.get(job_id), jobs.get(job_id)
        report = NdtReport.model_validate(verdict["body"]) if verdict else None
        chapters.append(
            JobChapter(
                job_id=job_id,
                state=job["state"] if job else "",
                revision=job["revision"] if job else next(iter(report.revisions.values()), None) if report else None,
                shards=shards,
                compute_s=compute_s,
                workers=workers,
                report=report,
                plan=_plan(connection, Plan.model_validate(plan["body"])) if plan else None,
            )
        )
    return chapters


def _effort(connection: Connection, network_id: str, job_id: str) -> tuple[int, float, list[str]]:
    """Shards computed, seconds they took, and who computed them."""
    row = connection.execute(
        "SELECT count(*), COALESCE(sum((body->>'compute_s')::float8), 0), "
        "COALESCE(array_agg(DISTINCT body->>'worker') FILTER (WHERE body->>'worker' IS NOT NULL), '{}') "
        "FROM job_results WHERE network_id = %s AND job_id = %s",
        (network_id, job_id),
    ).fetchone()
    return (int(row[0]), float(row[1]), sorted(row[2])) if row else (0, 0.0, [])


def _plan(connection: Connection, plan: Plan) -> PlanChapter:
    key = {"network_id": plan.network_id, "plan_id": plan.plan_id}
    transitions = find(connection, "plan_transitions", key, order_by=("seq",))
    outcomes = find(connection, "outcomes", key, order_by=("stage", "kpi", "cell"))
    assert plan.state is not None
    return PlanChapter(
        plan_id=plan.plan_id,
        state=plan.state,
        stages={s.name: list(s.cells) for s in plan.stages},
        cause=plan.cause,
        diagnosis=diagnoses_of(connection, plan.network_id, [plan.plan_id]).get(plan.plan_id),
        fallback=list(plan.fallback),
        transitions=[Transition.model_validate({k: r[k] for k in Transition.model_fields}) for r in transitions],
        commands=list(plan.commands),
        outcomes=[OutcomeRow.model_validate({k: r[k] for k in OutcomeRow.model_fields}) for r in outcomes],
    )


def _revision(connection: Connection, network_id: str, region: str, revision: int) -> TwinUpdate | None:
    try:
        return load_revision(connection, network_id, region, revision)
    except UnknownRevision:
        return None


def _alerts(connection: Connection, network_id: str, subjects: list[str]) -> list[Alert]:
    rows = connection.execute(
        "SELECT body FROM alerts WHERE network_id = %s AND body->>'subject' = ANY(%s) ORDER BY at_ms, alert_id",
        (network_id, subjects),
    )
    return [Alert.model_validate(row[0]) for row in rows]


def _audit(connection: Connection, network_id: str, subjects: list[str]) -> list[AuditEntry]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT at_ms, actor, action, subject, detail FROM audit WHERE network_id = %s AND subject = ANY(%s) "
            "ORDER BY id",
            (network_id, subjects),
        )
        return [AuditEntry.model_validate(row) for row in cursor]

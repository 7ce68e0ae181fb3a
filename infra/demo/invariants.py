"""What must hold at the end of a demo whatever the seed, the faults and who was killed."""

from math import isclose, isnan

from infra.demo.counting import TopicCounts
from infra.demo.report import Invariant
from infra.storage.database import Connection
from infra.storage.plans import all_plans
from loops.outer.plan import Plan
from schemas.plans import PlanState
from schemas.twin import EventCounts, TwinUpdate
from twin_core.exceptions import TwinError
from twin_core.settings import FidelitySettings
from twin_core.twin import Twin

_UNVERIFIED = """
SELECT c.command_id FROM commands c LEFT JOIN plans p USING (network_id, plan_id)
LEFT JOIN verdicts v ON v.network_id = p.network_id AND v.job_id = p.job_id
WHERE c.network_id = %s AND v.verdict IS DISTINCT FROM 'APPROVED'
"""
_GATE_CLOSED = """
SELECT c.command_id FROM commands c JOIN revisions r
  ON r.network_id = c.network_id AND r.period_end_ms = (c.body->>'time_ms')::bigint
WHERE c.network_id = %s AND c.body->>'kind' = 'apply' AND NOT r.gate_open
"""
_NO_FALLBACK = """
SELECT DISTINCT p.plan_id FROM plans p JOIN commands c USING (network_id, plan_id)
WHERE p.network_id = %s AND jsonb_array_length(p.fallback) = 0
"""
_NO_AUDIT = """
SELECT c.command_id FROM commands c WHERE c.network_id = %s
  AND NOT EXISTS (SELECT FROM audit a WHERE a.network_id = c.network_id AND a.subject = c.plan_id)
"""
_GATE = "SELECT count(*) FILTER (WHERE gate_open), count(*) FROM revisions WHERE network_id = %s"


def check(
    connection: Connection, network_id: str, update: TwinUpdate, twin: Twin, topics: TopicCounts
) -> list[Invariant]:
    """All invariants, each with what was seen."""
    counts = update.counts
    gate = connection.execute(_GATE, (network_id,)).fetchone()
    opened, revisions = gate or (0, 0)
    plans = all_plans(connection, network_id)
    return [
        Invariant(name="every event has one fate", holds=_balanced(counts), detail=_sum(counts)),
        Invariant(
            name="an independent consumer counts the same",
            holds=(topics.ingested, topics.late, topics.dead_lettered, topics.reinjected)
            == (counts.ingested, counts.late, counts.dead_lettered, counts.reinjected),
            detail=f"{topics.ingested} ingested, {topics.late} late, {topics.dead_lettered} dead-lettered, "
            f"{topics.reinjected} re-injected",
        ),
        _none("no command without an approving verdict", connection, _UNVERIFIED, network_id),
        _none("no change pushed while the fidelity gate was closed", connection, _GATE_CLOSED, network_id),
        _none("the fallback was stored before any push", connection, _NO_FALLBACK, network_id),
        _none("every command has its audit record", connection, _NO_AUDIT, network_id),
        _trusted(update, opened, revisions),
        _as_planned(plans, twin),
        Invariant(
            name="no plan failed",
            holds=not any(p.state is PlanState.FAILED for p in plans),
            detail=f"{len(plans)} plans",
        ),
    ]


def _balanced(c: EventCounts) -> bool:
    return c.ingested == c.applied + c.duplicate + c.late + c.dead_lettered + c.in_flight


def _sum(c: EventCounts) -> str:
    return (
        f"{c.ingested} = {c.applied} applied + {c.duplicate} duplicate + {c.late} late + "
        f"{c.dead_lettered} dead-lettered + {c.in_flight} in flight"
    )


def _none(name: str, connection: Connection, query: str, network_id: str) -> Invariant:
    found = [str(row[0]) for row in connection.execute(query, (network_id,)).fetchall()]
    return Invariant(name=name, holds=not found, detail=", ".join(found[:5]))


def _trusted(update: TwinUpdate, opened: int, revisions: int) -> Invariant:
    """A calibrated twin passes its gate, where the network reports what is gated and there was time to warm up."""
    unheard = [f.kpi for f in update.fidelity if isnan(f.score) and f.gate >= 0]
    detail = f"open in {opened} of {revisions} periods"
    if unheard and not opened:
        detail += f"; not reported: {', '.join(unheard)}"
    return Invariant(
        name="the twin passed its fidelity gate",
        holds=opened > 0 or bool(unheard) or revisions <= 2 * FidelitySettings().warm_up,
        detail=detail,
    )


def _as_planned(plans: list[Plan], twin: Twin) -> Invariant:
    """The network's last reported configuration is what the last plan of each attribute left behind."""
    wanted: dict[tuple[str, str], float | str] = {}
    for plan in sorted(plans, key=lambda p: (p.held_ms or p.first_push_ms or 0, p.plan_id)):
        foreign = {(v.object, v.attribute) for v in plan.left_alone}
        if plan.state is PlanState.COMPLETED:
            values = {(c.object, c.attribute): c.value for c in plan.strategy.changes}
        elif plan.state is PlanState.ROLLED_BACK:
            values = {(v.object, v.attribute): v.value for v in plan.fallback}
        else:
            values = {}
            for change in plan.strategy.changes:
                wanted.pop((change.object, change.attribute), None)  # under way: either value is right
        wanted |= {at: value for at, value in values.items() if at not in foreign}
    wrong = []
    for (dn, attribute), value in wanted.items():
        try:
            actual = twin.configuration.value_of(twin.network, dn, attribute)
        except TwinError as error:
            wrong.append(f"{dn} {attribute}: {error}")
            continue
        same = (
            actual == value
            if isinstance(value, str) or isinstance(actual, str)
            else isclose(actual, value, rel_tol=1e-4)
        )
        if not same:
            wrong.append(f"{dn} {attribute} is {actual}, not {value}")
    return Invariant(
        name="the network is as its finished plans left it", holds=not wrong,
        detail="; ".join(wrong[:3]) or f"{len(wanted)} attributes",
    )  # fmt: skip

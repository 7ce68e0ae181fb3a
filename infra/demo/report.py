"""The demo's report: what happened, as numbers that a program or a person may read."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from infra.demo.counting import TopicCounts
from infra.demo.plan import DemoPlan
from infra.storage.database import Connection
from schemas.base import Number
from schemas.twin import EventCounts, TwinUpdate


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class NetworkPart(_Part):
    """Which network it was."""

    name: str
    hash: str = Field(description="Of its parameters")
    cells: int


class TwinPart(_Part):
    """How the twin ended."""

    revision: int
    state_hash: str
    gate_open: bool
    fidelity: dict[str, Number]


class StrategiesPart(_Part):
    """Strategies by verdict."""

    proposed: int
    approved: int
    rejected: int
    inconclusive: int


class PlansPart(_Part):
    """Plans by how they ended."""

    completed: int
    rolled_back: int
    failed: int
    cancelled: int
    open: int


class AlertsPart(_Part):
    """Alerts on the topic."""

    sent: int


class VerdictPart(_Part):
    """One verdict."""

    strategy: str
    title: str
    agent: str
    period: int
    verdict: str
    p_harm: Number
    p_harm_high: Number
    reason: str


class OutcomePart(_Part):
    """Predicted against observed."""

    plan: str
    stage: str
    kpi: str
    cell: str
    predicted: Number
    low: Number
    high: Number
    observed: Number


class Invariant(_Part):
    """Something that must hold whatever the seed."""

    name: str
    holds: bool
    detail: str = ""


class DemoReport(_Part):
    """``report.json``."""

    seed: int
    duration_s: float
    periods: int
    network: NetworkPart
    events: EventCounts
    twin: TwinPart
    strategies: StrategiesPart
    plans: PlansPart
    alerts: AlertsPart
    verdicts: list[VerdictPart]
    outcomes: list[OutcomePart]
    restarts: dict[str, int] = Field(description="Role processes that were started again after a signal killed them")
    not_occurred: list[str] = Field(description="What the demo can show and this seed did not bring")
    invariants: list[Invariant]

    @property
    def sound(self) -> bool:
        """Whether every invariant holds."""
        return all(i.holds for i in self.invariants)


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
    """Put the report together from the database; see the fields of `DemoReport`."""
    row = connection.execute(
        "SELECT parameters_hash, jsonb_array_length(topology->'cells'), granularity_s FROM networks "
        "WHERE network_id = %s",
        (network_id,),
    ).fetchone()
    assert row is not None, "the bridge wrote it before the first period"
    period_ms = 1000 * int(row[2])
    verdicts = [
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
        for strategy, body, at, verdict, report in connection.execute(
            "SELECT v.strategy_id, s.body, v.period_end_ms, v.verdict, v.body FROM verdicts v "
            "JOIN strategies s USING (network_id, strategy_id) WHERE v.network_id = %s "
            "ORDER BY v.period_end_ms, v.strategy_id",
            (network_id,),
        ).fetchall()
    ]
    outcomes = [
        OutcomePart(
            plan=plan_id, stage=stage, kpi=kpi, cell=cell, predicted=_number(predicted), low=_number(low),
            high=_number(high), observed=_number(observed),
        )
        for plan_id, stage, kpi, cell, predicted, low, high, observed in connection.execute(
            "SELECT plan_id, stage, kpi, cell, predicted, low, high, observed FROM outcomes WHERE network_id = %s "
            "ORDER BY at_ms, plan_id, stage, kpi, cell",
            (network_id,),
        ).fetchall()
    ]  # fmt: skip
    states: dict[str, int] = dict(
        connection.execute(
            "SELECT state, count(*) FROM plans WHERE network_id = %s GROUP BY state", (network_id,)
        ).fetchall()
    )
    proposed = connection.execute("SELECT count(*) FROM strategies WHERE network_id = %s", (network_id,)).fetchone()
    ended = {s: states.pop(s, 0) for s in ("COMPLETED", "ROLLED_BACK", "FAILED", "CANCELLED")}
    count = {v: sum(x.verdict == v for x in verdicts) for v in ("APPROVED", "REJECTED", "INCONCLUSIVE")}
    shown = {
        "a strategy verified, pushed and completed, with outcomes": ended["COMPLETED"] > 0 and bool(outcomes),
        "a strategy rejected": count["REJECTED"] > 0,
        "a roll-back": ended["ROLLED_BACK"] > 0,
        "a dead letter": update.counts.dead_lettered > 0,
        "a re-injected dead letter": update.counts.reinjected > 0,
        "an alert": topics.alerts > 0,
    }
    return DemoReport(
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
        strategies=StrategiesPart(
            proposed=proposed[0] if proposed else 0,
            approved=count["APPROVED"],
            rejected=count["REJECTED"],
            inconclusive=count["INCONCLUSIVE"],
        ),
        plans=PlansPart(
            completed=ended["COMPLETED"],
            rolled_back=ended["ROLLED_BACK"],
            failed=ended["FAILED"],
            cancelled=ended["CANCELLED"],
            open=sum(states.values()),
        ),
        alerts=AlertsPart(sent=topics.alerts),
        verdicts=verdicts,
        outcomes=outcomes,
        restarts={name: n for name, n in restarts.items() if n},
        not_occurred=[what for what, it_did in shown.items() if not it_did],
        invariants=invariants,
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)

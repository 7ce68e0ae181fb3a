"""The inner loop and its workers on PostgreSQL, with topics in memory."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from infra.agents.panel import Panel
from infra.exceptions import InfraError, SettingsError
from infra.proposing import await_verdict, propose
from infra.roles import inner, worker
from infra.roles.base import Context
from infra.roles.inner import InnerRole
from infra.roles.worker import WorkerRole
from infra.storage.database import connect
from loops.agents.agent import GROUP
from loops.exceptions import BadStrategyFile
from loops.inner.sharding import Job
from loops.inner.trust import basis_of
from loops.inner.verify import verify_here
from schemas.ndt import NdtReport, NdtShardResult, Verdict
from schemas.topics import NDT_JOBS, NDT_JOBS_URGENT, NDT_REPORTS, NDT_RESULTS, STRATEGIES
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.testing import wait_until
from tests.inner_runs import DESIGN, PERIOD_MS, Rig, inner_settings, schedule, switch_off
from tests.installed import install
from tests.twin_runs import context_for, events_on, messages_on, running, wait_for

pytestmark = pytest.mark.integration
SERDE = Serde(LocalIds())
NETWORK = "toy"
LOCKSTEP = {"roles": ("twin", "inner")}
ALL_BUT_ONE = [f"gnb{s}-{k}" for s in (1, 2, 3) for k in (1, 2, 3)][:-1]


class Died(BaseException):
    """The process is gone: nothing in it may catch this."""


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def make(transport: MemoryTransport, database_url: str) -> Callable[..., Context]:
    def context(path: Path | None = None, lockstep: bool = True, after_step: Any = None, **inner: Any) -> Context:
        settings = {"inner": inner_settings(path, **inner), "lockstep": LOCKSTEP if lockstep else {}}
        return context_for(transport, SERDE, database_url, NETWORK, after_step, **settings)

    return context


def inner_role(context: Context) -> InnerRole:
    return inner.build(context)


def run_until(context: Context, period: int, *more: WorkerRole) -> None:
    """Run the inner loop and one worker until the inner loop has finished a period."""
    with running(inner_role(context), worker.build(context), *more):
        wait_for(context.database_url, period * PERIOD_MS, "inner", NETWORK)


def told(report: NdtReport) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(report.model_dump_json())
    return document


def test_harm_is_rejected_and_an_idle_cell_may_sleep(make: Callable[..., Context], tmp_path: Path) -> None:
    path = schedule(tmp_path, p4_harm=switch_off(ALL_BUT_ONE), p5_sleep=switch_off(["gnb1-1"]))
    rig = Rig(make(path))
    rig.step(1, 2, 3, 4, 5)
    run_until(rig.context, 5)
    verdicts = {rig.strategies()[r.strategy_id][0].title: r for r in rig.reports()}
    assert verdicts[f"Switch off {', '.join(ALL_BUT_ONE)}"].verdict is Verdict.REJECTED
    assert verdicts["Switch off gnb1-1"].verdict is not Verdict.REJECTED
    assert {r.revisions["1"] for r in rig.reports()} == {4, 5}
    assert set(rig.column("jobs.state")) == {"COMPLETED"}
    assert {state for _, state in rig.strategies().values()} == {r.verdict.value for r in rig.reports()}


def test_workers_give_the_same_verdict_as_this_process(make: Callable[..., Context], tmp_path: Path) -> None:
    rig = Rig(make(schedule(tmp_path, p4_sleep=switch_off(["gnb1-1"]))))
    rig.step(1, 2, 3, 4)
    run_until(rig.context, 4, worker.build(rig.context))
    (report,) = rig.reports()
    strategy = rig.strategies()[report.strategy_id][0]
    twin = rig.twin(4)
    here = verify_here(
        Job(strategy, 4, DESIGN, 9, rig.context.settings.inner.seed), basis_of(twin, twin.period_end_ms), twin
    )
    differ = {"predictions"}  # their widths rest on the residuals in the database
    assert json.loads(report.model_dump_json(exclude=differ)) == json.loads(here.model_dump_json(exclude=differ))
    assert all(p.low is not None for p in report.predictions if p.cell == "")


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_period_that_is_broken_off_after_any_step_gets_the_same_rows(
    make: Callable[..., Context], transport: MemoryTransport, tmp_path: Path, step: int
) -> None:
    path = schedule(tmp_path, p4_harm=switch_off(ALL_BUT_ONE), p4_sleep=switch_off(["gnb1-1"]))
    rig = Rig(make(path, agents=("energy-saving",)))
    rig.step(1, 2, 3, 4)

    def die(role: str, reached: int, period_end_ms: int) -> None:
        if (role, reached, period_end_ms) == ("inner", step, 4 * PERIOD_MS):
            raise Died

    broken = inner_role(replace(rig.context, after_step=die))
    with running(worker.build(rig.context)):
        victim = threading.Thread(target=lambda: swallow(lambda: broken.run(threading.Event())))
        victim.start()
        victim.join(60)
        assert not victim.is_alive()
    with running(inner_role(rig.context), worker.build(rig.context)):
        wait_for(rig.context.database_url, 4 * PERIOD_MS, "inner", NETWORK)
        wait_until(lambda: None not in rig.column("outbox.published_at"), 20, "reports are published")
    after = [told(r) for r in rig.reports()]
    assert len(rig.column("jobs.job_id")) == len(rig.column("strategies.strategy_id")) == len(after)
    assert len(rig.column("audit.id")) == 2 * len(after)  # taken in, and verdict, once each
    published = {e.event_id for e in events_on(transport, SERDE, NDT_REPORTS, NETWORK)}
    assert published == {f"{r['job_id']}/report" for r in after}

    calm = Rig(make(path, agents=("energy-saving",)))
    with connect(calm.context.database_url) as connection:
        for table in ("strategies", "jobs", "job_results", "verdicts", "progress", "outbox", "audit", "snapshots"):
            connection.execute(f"DELETE FROM {table}")  # a name of ours
    calm.step(1, 2, 3, 4)
    run_until(calm.context, 4)
    assert [told(r) for r in calm.reports()] == after


def swallow(work: Callable[[], None]) -> None:
    """Let a thread die as a process would."""
    try:
        work()
    except Died:
        return


def test_in_lock_step_every_revision_is_worked_on_and_beside_a_live_network_the_newest(
    make: Callable[..., Context], tmp_path: Path
) -> None:
    path = schedule(tmp_path, p4_a=switch_off(["gnb1-1"]), p5_b=switch_off(["gnb2-1"]))
    rig = Rig(make(path, lockstep=False))
    rig.step(1, 2, 3, 4, 5)
    run_until(rig.context, 5)
    assert [r.revisions["1"] for r in rig.reports()] == [5, 5], "what fell due in between is verified on the newest"


def test_strategies_from_outside_are_verified_once(
    make: Callable[..., Context], transport: MemoryTransport, tmp_path: Path
) -> None:
    rig = Rig(make(schedule(tmp_path, p4_x=switch_off(["gnb1-1"]))))
    context = rig.context
    context.transport.ensure_topics([STRATEGIES])
    producer = transport.producer("someone")
    rig.step(1, 2, 3, 4)
    run_until(context, 4)
    (ours, _) = next(iter(rig.strategies().values()))
    theirs = ours.model_copy(update={"strategy_id": "theirs", "event_id": "theirs", "agent": "someone", "priority": 9})
    foreign = theirs.model_copy(update={"region": "2", "strategy_id": "elsewhere"})
    for strategy in (theirs, theirs, foreign):
        producer.send(STRATEGIES.name, STRATEGIES.key_of(strategy), SERDE.encode(STRATEGIES, strategy))
    producer.send(STRATEGIES.name, f"{NETWORK}|bad", b"poison")
    producer.flush(10)
    rig.step(5)
    run_until(context, 5)
    assert set(rig.strategies()) == {ours.strategy_id, "theirs"}
    assert [r.strategy_id for r in rig.reports() if r.revisions["1"] == 5] == ["theirs"]
    assert messages_on(transport, NDT_JOBS_URGENT), "its priority makes it urgent"
    assert messages_on(transport, NDT_JOBS)


HANDED_IN = """
title: Switch a cell off for the night
by: ada
objective: {kpi: PEE.AvgPower, direction: down}
changes:
  - {cell: gnb1-1, attribute: administrativeState, value: LOCKED}
"""


def test_a_file_that_a_person_proposes_goes_the_way_of_every_strategy(
    make: Callable[..., Context], tmp_path: Path
) -> None:
    rig = Rig(make())
    (tmp_path / "night.yaml").write_text(HANDED_IN)
    rig.step(1, 2, 3, 4)
    run_until(rig.context, 4)
    strategy = propose(rig.context, tmp_path / "night.yaml", "person:bob")
    assert await_verdict(rig.context, strategy, 0) is None
    rig.step(5)
    run_until(rig.context, 5)
    verified = await_verdict(rig.context, strategy, 0)
    assert verified is not None
    assert (verified.report.strategy_id, verified.strategy.agent) == (strategy.strategy_id, "person:ada")
    assert verified.guards
    assert "handed in" in rig.column("audit.action")
    (tmp_path / "bad.yaml").write_text(HANDED_IN.replace("gnb1-1", "gnb77-1"))
    with pytest.raises(BadStrategyFile, match="gnb77-1"):
        propose(rig.context, tmp_path / "bad.yaml", "person:bob")


def test_a_strategy_for_levers_that_the_network_lacks_is_refused_at_once_and_costs_no_verdict(
    make: Callable[..., Context], transport: MemoryTransport, tmp_path: Path
) -> None:
    shape = HANDED_IN.replace("administrativeState, value: LOCKED", "coverageShape, value: 4")
    rig = Rig(make(schedule(tmp_path, p4_shape=shape)))
    with connect(rig.context.database_url) as connection:
        connection.execute('UPDATE networks SET levers = \'["digitalTilt", "administrativeState"]\'')
    rig.step(1, 2, 3, 4)
    run_until(rig.context, 4)
    assert rig.reports() == []
    assert rig.column("audit.action") == ["left out"]
    (tmp_path / "shape.yaml").write_text(shape)
    with pytest.raises(InfraError, match=r"has no lever coverageShape.*\n.*twinloop verify"):
        propose(rig.context, tmp_path / "shape.yaml", "person:bob")
    assert events_on(transport, SERDE, STRATEGIES, NETWORK) == []


BROKEN = """
class Broken:
    name = "broken"

    def propose(self, view):
        raise ZeroDivisionError("nobody is perfect")
"""


def test_an_agent_that_fails_stops_nothing_and_is_on_record(
    make: Callable[..., Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package").mkdir()
    install(tmp_path / "package", monkeypatch, {"broken": BROKEN}, {GROUP: {"broken": "broken:Broken"}})
    rig = Rig(make(schedule(tmp_path, p4_x=switch_off(["gnb1-1"]))))
    rig.step(1, 2, 3, 4)
    panel = Panel(["broken"], deadline_s=20, most=8, failures=1)
    with running(InnerRole(rig.context, panel), worker.build(rig.context)):
        wait_for(rig.context.database_url, 4 * PERIOD_MS, "inner", NETWORK)
    assert len(rig.reports()) == 1
    assert {"agent failed", "agent suspended"} <= set(rig.column("audit.action"))
    assert any("AgentSuspended" in str(body) for body in rig.column("alerts.body"))


def test_without_workers_the_verdict_is_inconclusive_not_a_pass(make: Callable[..., Context], tmp_path: Path) -> None:
    rig = Rig(make(schedule(tmp_path, p4_x=switch_off(["gnb1-1"])), job_deadline_s=0.5))
    rig.step(1, 2, 3, 4)
    with running(inner_role(rig.context)):
        wait_for(rig.context.database_url, 4 * PERIOD_MS, "inner", NETWORK)
    (report,) = rig.reports()
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "run more workers" in report.reason


def test_a_worker_answers_with_an_error_what_it_cannot_compute_and_goes_on(
    make: Callable[..., Context], transport: MemoryTransport, tmp_path: Path
) -> None:
    rig = Rig(make(schedule(tmp_path, p4_x=switch_off(["gnb1-1"]))))
    rig.step(1, 2, 3, 4)
    run_until(rig.context, 4)
    strategy = next(iter(rig.strategies().values()))[0]
    gone = Job(strategy, 77, DESIGN, 9).shards[0]
    before = len(messages_on(transport, NDT_RESULTS))
    producer = transport.producer("someone")
    producer.send(NDT_JOBS.name, NDT_JOBS.key_of(gone), b"poison")
    producer.send(NDT_JOBS.name, NDT_JOBS.key_of(gone), SERDE.encode(NDT_JOBS, gone))
    producer.flush(10)
    with structlog.testing.capture_logs() as logs, running(worker.build(rig.context)):
        wait_until(lambda: len(messages_on(transport, NDT_RESULTS)) > before, 20, "an answer")
    (answer,) = [
        e
        for e in events_on(transport, SERDE, NDT_RESULTS, NETWORK)
        if isinstance(e, NdtShardResult) and e.job_id == gone.job_id
    ]
    assert "snapshot of revision 77" in answer.error
    assert any(entry["event"] == "a shard cannot be read" for entry in logs)


def test_mistakes_in_the_schedule_show_at_the_start(make: Callable[..., Context], tmp_path: Path) -> None:
    rig = Rig(make(schedule(tmp_path, p4_x=switch_off(["gnb77-1"]))))
    rig.step(1)
    with pytest.raises(SettingsError, match="no cell gnb77-1"):
        inner_role(rig.context).run(threading.Event())


def test_an_agent_nobody_offers_is_told_at_the_start(make: Callable[..., Context]) -> None:
    with pytest.raises(SettingsError, match="no agent 'oracle'"):
        inner_role(make(agents=("oracle",)))

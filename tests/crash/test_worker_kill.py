"""Workers and an inner loop that are killed with SIGKILL, on real Kafka, registry and PostgreSQL.

Whoever dies, and whenever: the verdicts are those of a run in one process that nobody disturbed, and each shard counts
once.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.services import LocalServices
from infra.roles import inner
from infra.roles.base import Context
from infra.roles.inner_sight import sight_of
from infra.roles.worker import GROUP
from infra.settings import Settings
from infra.storage.database import connect
from infra.verifying import count_workers, verify
from loops.inner import sharding
from loops.inner.conflicts import area_of
from loops.inner.coordinator import Patience, Verification
from loops.inner.deliberation import deliberate
from loops.inner.design import Design
from loops.inner.sharding import Job
from loops.inner.verify import Inquiry, LocalWorkers, drive
from schemas.ndt import NdtReport, NdtShardResult, Verdict
from schemas.registry import connect as connect_registry
from schemas.registry import register
from schemas.strategies import Strategy
from schemas.topics import NDT_JOBS, NDT_RESULTS
from streams.kafka import KafkaTransport
from streams.testing import wait_until
from tests.crash.dying import Death, TwinProcess
from tests.inner_runs import PERIOD_MS, Rig, inner_settings, schedule, switch_off
from tests.twin_runs import events_on, messages_on, running, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]

# Enough scenarios for a dozen shards a job, so that a worker dies in the midst of one.
DESIGN = Design(alpha=0.3, confidence=0.9, looks=(4, 12, 24), horizon_periods=2)
SECONDS_PER_SHARD = 0.1
PERIOD = 4


@pytest.fixture
def settings(
    services: LocalServices, database_url: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setattr(sharding, "SHARD_SECONDS", SECONDS_PER_SHARD)
    register(connect_registry(services.endpoints.registry_url))
    path = schedule(tmp_path, p4_sleep=switch_off(["gnb1-1"]), p4_doubtful=switch_off(["gnb1-2", "gnb2-1", "gnb3-3"]))
    return {
        "network_id": unique,
        "kafka": {"bootstrap_servers": services.endpoints.bootstrap_servers},
        "registry": {"url": services.endpoints.registry_url},
        "database": {"url": database_url},
        "inner": inner_settings(path, design=DESIGN, shard_deadline_s=15.0),
        "lockstep": {"roles": ("twin", "inner")},
    }


@pytest.fixture
def rig(settings: dict[str, Any]) -> Iterator[Rig]:
    context = Context.of(Settings(**settings))
    transport = KafkaTransport(settings["kafka"]["bootstrap_servers"])
    made = Rig(replace(context, transport=transport))
    made.step(*range(1, PERIOD + 1))
    yield made
    transport.close()


def undisturbed(rig: Rig) -> list[NdtReport]:
    """The verdicts of this process alone, in order of strategy."""
    twin = rig.twin(PERIOD)
    with connect(rig.context.database_url) as connection:
        sight = sight_of(connection, twin, "1", twin.period_end_ms)
    workers, cells, seed = LocalWorkers({twin.revision: twin}), twin.network.cells, rig.context.settings.inner.seed
    patience = Patience(deadline_s=float("inf"), attempts=1)

    def verification(strategy: Strategy) -> Verification:
        return Verification(Job(strategy, twin.revision, DESIGN, len(cells), seed), sight.basis(strategy), patience)

    def run(inquiries: Sequence[Inquiry]) -> bool:
        return drive(inquiries, workers, workers, lambda: False)

    done = [verification(s) for s, _ in rig.strategies().values()]
    assert run(done)
    assert deliberate(done, (), area_of(cells, twin.network.neighbours), verification, run, patience)
    return sorted((v.report for v in done if v.report), key=lambda r: r.strategy_id)


def check(rig: Rig) -> None:
    """Verdicts as if nothing had happened; each shard of each job counted once."""
    found = rig.reports()
    assert len(found) == 2
    assert [json.loads(r.model_dump_json()) for r in found] == [
        json.loads(r.model_dump_json()) for r in undisturbed(rig)
    ]
    with connect(rig.context.database_url) as connection:
        for report in found:
            shards, scenarios = connection.execute(
                "SELECT count(*), sum(jsonb_array_length(body->'breached')) FROM job_results "
                "WHERE network_id = %s AND job_id = %s",
                (report.network_id, report.job_id),
            ).fetchone() or (0, 0)
            assert scenarios == sum(s.scenarios for s in report.scenarios)
            assert shards > 1
    assert rig.column("audit.action") == ["taken in", "taken in", "verdict", "verdict"]


def answers(rig: Rig) -> int:
    """Results that workers have given for the rig's network."""
    transport, network = rig.context.transport, rig.context.network_id
    transport.ensure_topics([NDT_RESULTS, NDT_JOBS])
    return sum((m.key or b"").startswith(f"{network}|".encode()) for m in messages_on(transport, NDT_RESULTS))


def test_a_worker_killed_in_the_midst_of_a_job_changes_no_verdict_and_no_count(
    rig: Rig, settings: dict[str, Any]
) -> None:
    moment = random.Random(4)  # which result it dies after
    with TwinProcess(settings, role="worker") as victim, TwinProcess(settings, role="worker"):
        wait_until(lambda: count_workers(rig.context) == 2, 60, "both workers are in the group")
        with running(inner.build(rig.context)):
            wait_until(lambda: answers(rig) >= moment.randint(2, 6), 60, "the job is under way")
            victim.kill()
            wait_for(rig.context.database_url, PERIOD * PERIOD_MS, "inner", rig.context.network_id)
        check(rig)


@pytest.mark.parametrize("step", [2, 3, 4], ids=["before computing", "before answering", "before committing"])
def test_a_worker_killed_after_a_step_leaves_the_shard_to_the_next(
    rig: Rig, settings: dict[str, Any], step: int
) -> None:
    with running(inner.build(rig.context)):
        with TwinProcess(settings, Death(step, 0), role="worker") as victim:
            victim.await_death()
        with TwinProcess(settings, role="worker"):
            wait_for(rig.context.database_url, PERIOD * PERIOD_MS, "inner", rig.context.network_id)
    check(rig)
    if step == 4:
        results = [
            (e.job_id, e.shard_index)
            for e in events_on(rig.context.transport, rig.context.serde, NDT_RESULTS, rig.context.network_id)
            if isinstance(e, NdtShardResult)
        ]
        assert len(results) > len(set(results)), "it had answered, and the next answered once more"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_inner_loop_killed_after_a_step_decides_as_if_it_had_not_been(
    rig: Rig, settings: dict[str, Any], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # another process cuts shards as the settings say; so must this one
    with TwinProcess(settings, role="worker"):
        with TwinProcess(settings, Death(step, PERIOD * PERIOD_MS), role="inner") as victim:
            victim.await_death()
        with TwinProcess(settings, role="inner"):
            wait_for(rig.context.database_url, PERIOD * PERIOD_MS, "inner", rig.context.network_id)
    found = [json.loads(r.model_dump_json()) for r in rig.reports()]
    assert found == [json.loads(r.model_dump_json()) for r in undisturbed(rig)]
    assert rig.column("audit.action") == ["taken in", "taken in", "verdict", "verdict"]


def test_a_person_gets_the_same_verdict_from_workers_and_from_this_process(
    rig: Rig, settings: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(switch_off(["gnb1-1"]), encoding="utf-8")
    here = verify(rig.context, path)
    assert here.where == "this process"
    with TwinProcess(settings, role="worker"):
        wait_until(lambda: count_workers(rig.context) == 1, 60, f"a worker is in {GROUP}")
        there = verify(rig.context, path)
    assert there.where == "1 worker"
    assert json.loads(there.report.model_dump_json()) == json.loads(here.report.model_dump_json())
    assert there.report.verdict is not Verdict.INCONCLUSIVE
    assert rig.reports() == [], "nothing is written"

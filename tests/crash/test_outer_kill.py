"""An outer loop that is killed with SIGKILL, on real Kafka, registry and PostgreSQL: the rows of docs/outer_loop.md.

Whenever it dies, the next process ends the roll-out as if nothing had happened, and the network hears of each change
once.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from infra.local.services import LocalServices
from infra.roles.base import Context
from infra.settings import Settings
from infra.storage.exceptions import ProgressTimeout
from loops.outer.plan import Plan
from schemas.plans import PlanState
from schemas.registry import connect as connect_registry
from schemas.registry import register
from schemas.topics import ALERTS
from streams.kafka import KafkaTransport
from tests.crash.dying import Death, TwinProcess
from tests.outer_runs import Rig
from tests.outer_world import FakeNetwork, distant_cells, end, hexagonal, power

pytestmark = [pytest.mark.integration, pytest.mark.crash]

FIRST, SECOND = distant_cells(2)
CALM = ["PENDING", "PUSHING", "HOLDING", "PUSHING", "HOLDING", "COMPLETED"]
FED = 10
PUSH, PROMOTION = end(FED + 1), end(FED + 5)  # hold of 3 periods after one to settle


@pytest.fixture
def settings(services: LocalServices, database_url: str, unique: str) -> dict[str, Any]:
    register(connect_registry(services.endpoints.registry_url))
    return {
        "network_id": unique,
        "kafka": {"bootstrap_servers": services.endpoints.bootstrap_servers},
        "registry": {"url": services.endpoints.registry_url},
        "database": {"url": database_url},
        "outer": {"policy": {"hold_periods": 3, "before_periods": 8, "longest_hold": 8}, "ack_deadline_s": 5},
    }


@pytest.fixture
def rig(settings: dict[str, Any]) -> Iterator[Rig]:
    context = Context.of(Settings(**settings))
    transport = KafkaTransport(settings["kafka"]["bootstrap_servers"])
    made = Rig(replace(context, transport=transport), FakeNetwork(hexagonal(network_id=settings["network_id"])))
    made.step(FED)
    yield made
    made.close()
    transport.close()


def check(rig: Rig, plan: Plan) -> None:
    assert plan.state is PlanState.COMPLETED, plan.reason
    assert rig.count("plan_transitions") == len(CALM)
    assert rig.count("commands") == len(rig.network.applied) == len(set(rig.network.applied)) == 2
    assert rig.network.actual[power(SECOND).object, "configuredMaxTxPower"] == 20_000
    told = {a.event_id for a in rig.events(ALERTS)}
    assert len(told) == rig.count("alerts") == 3


@pytest.mark.parametrize(
    ("step", "period"), [(1, PUSH), (2, PUSH), (3, PUSH), (1, PROMOTION), (2, PROMOTION)],
    ids=["committed", "published", "answered", "promotion committed", "promotion published"],
)  # fmt: skip
def test_killed_after_step(step: int, period: int, rig: Rig, settings: dict[str, Any]) -> None:
    """The table of docs/outer_loop.md, row by row."""
    with TwinProcess(settings, Death(step, period), role="outer") as first:
        rig.follow(60)
        rig.propose([power(FIRST), power(SECOND)])
        while rig.step() < period:
            rig.follow()
        if step == 3:
            with suppress(ProgressTimeout):  # the network answers, and then nobody reports the period
                rig.follow(3)
        first.await_death()
    with TwinProcess(settings, role="outer") as second:
        rig.follow(60)
        plan = rig.finish()
        assert second.stop() == 0
    check(rig, plan)


def test_killed_again_and_again_at_any_moment(rig: Rig, settings: dict[str, Any]) -> None:
    rig.propose([power(FIRST), power(SECOND)])
    done = threading.Event()
    killer = threading.Thread(target=_kill_repeatedly, args=(rig, settings, done))
    killer.start()
    try:
        plan = rig.run(lambda plans: bool(plans) and plans[0].done, follow_s=90)[0]
    finally:
        done.set()
        killer.join(60)
    check(rig, plan)


def _kill_repeatedly(rig: Rig, settings: dict[str, Any], done: threading.Event) -> None:
    """Kill the loop five times, each time a moment after it has written something; the sixth lives."""
    for life in range(6):
        seen = rig.progress_of("outer"), rig.count("audit")
        with TwinProcess(settings, role="outer") as process:
            while not done.wait(0.05):
                if life < 5 and (rig.progress_of("outer"), rig.count("audit")) != seen:
                    done.wait(random.uniform(0.0, 0.3))
                    process.kill()
                    break
            if done.is_set():
                return

"""The learn role beside the twin role, on PostgreSQL with topics in memory: promotions reach the twin, and stay."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.exceptions import InfraError
from infra.model_orders import ModelRefused, promote_file, promote_version, roll_back
from infra.replaying import verify_replay
from infra.roles.base import Context
from infra.roles.learn import LearnRole
from infra.roles.twin import TwinRole, state_name
from infra.storage.database import connect
from infra.storage.models import UnknownModel, all_models, load_learner
from infra.storage.revisions import PostgresSnapshotStore
from loops.learning.arrays import unpack
from processors.twin_sync import twin_of
from schemas.topics import MODELS
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.telemetry import NETWORK, Feeder, period_end, topology
from tests.twin_runs import context_for, events_on, logged, running, tell_topology, wait_for
from tests.unit.test_twin_core_models import growing, missing
from twin_core.learned.models import dump, to_json

pytestmark = pytest.mark.integration
SERDE = Serde(LocalIds())
LAST = 34
# Hasty and easily convinced, so that something is decided in a minute of testing.
HASTY = {"warm_up": 2, "rest": 1, "block": 4, "looks": (2,), "alpha": 0.45}


class Died(BaseException):
    """The process is gone: nothing in it may catch this."""


@pytest.fixture
def context(database_url: str) -> Iterator[Callable[..., Context]]:
    transport = MemoryTransport()
    tell_topology(database_url, topology())
    feed = Feeder(transport, SERDE)
    for period in range(1, LAST + 1):
        feed.period(period)
    yield lambda **more: replace(context_for(transport, SERDE, database_url, learn=HASTY), **more)
    transport.close()


def decided(database_url: str) -> list[tuple[object, ...]]:
    """Everything that learning has written, but for the learner itself."""
    with connect(database_url) as connection:
        rows = [row._replace(champion_score=0.0, challenger_score=0.0) for row in all_models(connection, NETWORK)]
        audit = connection.execute("SELECT at_ms, action, subject FROM audit ORDER BY id").fetchall()
        alerts = connection.execute("SELECT alert_id FROM alerts ORDER BY alert_id").fetchall()
        events = connection.execute("SELECT event_id FROM outbox WHERE role = 'learn' ORDER BY id").fetchall()
    return [*rows, *audit, *alerts, *events]


def learner(database_url: str) -> bytes:
    with connect(database_url) as connection:
        state = load_learner(connection, NETWORK, "1", "learn")
    assert state is not None
    return state


def learn_until(context: Context, database_url: str, period: int) -> None:
    with running(LearnRole(context)):
        wait_for(database_url, period_end(period), role="learn")


def hash_of(context: Context, database_url: str, revision: int) -> str:
    with connect(database_url) as connection:
        payload = PostgresSnapshotStore(lambda: connection).load(state_name(context), revision).payload
    return twin_of(payload).state_hash()


def test_what_proves_better_is_promoted_and_the_twin_predicts_with_it(
    context: Callable[..., Context], database_url: str
) -> None:
    """The tiny network's traffic is drawn anew each period: who leans on the mean of the last minutes does better."""
    with running(TwinRole(context())):
        wait_for(database_url, period_end(LAST))
    learn_until(context(), database_url, LAST)
    with connect(database_url) as connection:
        rows = {(row.model, row.state) for row in all_models(connection, NETWORK)}
    assert ("demand-forecast", "promoted") in rows
    told = events_on(context().transport, SERDE, MODELS)
    assert {e.event_id for e in told} == {i for (i,) in _events(database_url)}

    feed = Feeder(context().transport, SERDE)
    feed.period(LAST + 1)
    feed.period(LAST + 2)
    with running(TwinRole(context())):
        wait_for(database_url, period_end(LAST + 2))
    versions = [row.model_versions.get("demand-forecast") for row in logged(database_url)]
    assert versions[LAST - 1] is None
    assert versions[LAST] == versions[LAST + 1]
    assert versions[LAST] is not None
    assert all(r.matches for r in verify_replay(context()))


def _events(database_url: str) -> list[tuple[str]]:
    with connect(database_url) as connection:
        return connection.execute("SELECT event_id FROM outbox WHERE topic = 'models'").fetchall()


def test_a_learner_that_breaks_off_after_any_step_learns_the_same(
    context: Callable[..., Context], database_url: str
) -> None:
    last = 20
    with running(TwinRole(context())):
        wait_for(database_url, period_end(LAST))
    for step in range(1, 6):

        def die(_role: str, done: int, end_ms: int, step: int = step) -> None:
            if (done, end_ms) == (step, period_end(11 + step)):
                raise Died

        with pytest.raises(Died):
            LearnRole(context(after_step=die)).run(threading.Event())
    learn_until(context(), database_url, last + 5)
    broken, state = decided(database_url), learner(database_url)
    assert broken
    with connect(database_url) as connection:
        for table in ("models", "learners", "audit", "alerts", "outbox"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("DELETE FROM progress WHERE role = 'learn'")
    stop = threading.Event()

    def until(_role: str, done: int, end_ms: int) -> None:
        if done == 5 and end_ms >= _learned(state):
            stop.set()

    LearnRole(context(after_step=until)).run(stop)
    assert learner(database_url) == state
    assert decided(database_url) == broken


def _learned(state: bytes) -> int:
    return int(unpack(state)[0]["period_end_ms"])


def test_a_person_promotes_a_file_and_rolls_back(
    context: Callable[..., Context], database_url: str, tmp_path: Path
) -> None:
    here = context()
    with pytest.raises(InfraError, match="no revision yet"):
        _promote(here, tmp_path, dump(missing(0.1)))
    with running(TwinRole(here)):
        wait_for(database_url, period_end(LAST))
    first = _promote(here, tmp_path, dump(missing(0.1)))
    second = _promote(here, tmp_path, json.dumps(to_json(missing(0.2))).encode())
    feed = Feeder(here.transport, SERDE)
    feed.period(LAST + 1)
    with running(TwinRole(here)):
        wait_for(database_url, period_end(LAST + 1))
    assert logged(database_url)[-1].model_versions["kpi-residual"] == second

    assert roll_back(here, "kpi-residual", "person:anna", "looks odd").parent == first
    feed.period(LAST + 2)
    with running(TwinRole(here)):
        wait_for(database_url, period_end(LAST + 2))
    assert logged(database_url)[-1].model_versions["kpi-residual"] == first
    assert roll_back(here, "kpi-residual", "person:anna", "").parent == ""
    assert promote_version(here, "kpi-residual", second, "person:anna", "again").version == second
    feed.period(LAST + 3)
    with running(TwinRole(here)):
        wait_for(database_url, period_end(LAST + 3))
    assert logged(database_url)[-1].model_versions["kpi-residual"] == second
    assert all(r.matches for r in verify_replay(here, LAST))
    with connect(database_url) as connection:
        said = connection.execute("SELECT actor, action, detail->>'reason' FROM audit ORDER BY id").fetchall()
    assert said[2] == ("person:anna", "model rolled_back", "looks odd")
    assert len(said) == 5


def _promote(context: Context, folder: Path, data: bytes) -> str:
    path = folder / "model"
    path.write_bytes(data)
    return promote_file(context, "kpi-residual", path, "person:anna", "by hand").version


def test_a_file_with_nan_is_refused_recorded_and_changes_nothing(
    context: Callable[..., Context], database_url: str, tmp_path: Path
) -> None:
    here = context()
    with running(TwinRole(here)):
        wait_for(database_url, period_end(LAST))
    before = hash_of(here, database_url, LAST)
    text = json.dumps(to_json(missing(0.1))).replace("0.1", "NaN", 1)
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelRefused, match="constant holds NaN"):
        promote_file(here, "kpi-residual", path, "person:eve", "")
    path.write_bytes(dump(growing(0.1)))
    with pytest.raises(ModelRefused, match="kpi-residual has the parameters"):
        promote_file(here, "kpi-residual", path, "person:eve", "")
    with pytest.raises(ModelRefused, match="No such file"):
        promote_file(here, "kpi-residual", tmp_path / "none", "person:eve", "")
    with pytest.raises(UnknownModel, match="has no version r1"):
        promote_version(here, "kpi-residual", "r1", "person:eve", "")
    with pytest.raises(ModelRefused, match="no version of kpi-residual is in force"):
        roll_back(here, "kpi-residual", "person:eve", "")
    with connect(database_url) as connection:
        assert [row.state for row in all_models(connection, NETWORK)] == ["refused", "refused"]
    Feeder(here.transport, SERDE).period(LAST + 1)
    with running(TwinRole(here)):
        wait_for(database_url, period_end(LAST + 1))
    assert "kpi-residual" not in logged(database_url)[-1].model_versions
    assert hash_of(here, database_url, LAST) == before

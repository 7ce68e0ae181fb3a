"""The twin and features roles on PostgreSQL, with topics in memory."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import structlog

from infra.roles.base import Context
from infra.roles.features import FeaturesRole
from infra.roles.twin import TwinRole, group_of, state_name
from infra.storage.database import connect
from infra.storage.revisions import PostgresSnapshotStore
from infra.storage.timeseries import read_features, read_kpis
from processors.twin_sync import twin_of
from schemas.exceptions import RegistryUnavailable
from schemas.telemetry import Severity
from schemas.topics import ANOMALIES, FEATURES, TELEMETRY, TWIN_UPDATES
from streams.frontier import from_records
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.testing import wait_until
from tests.telemetry import CELLS, ELEMENTS, FM, NETWORK, PM, Feeder, alarm, period_end, pm, telemetry, topology
from tests.twin_runs import (
    calm_run,
    check_equals,
    context_for,
    ids_on,
    logged,
    messages_on,
    running,
    tell_topology,
    wait_for,
)

pytestmark = pytest.mark.integration
SERDE = Serde(LocalIds())


class Died(BaseException):
    """The process is gone: nothing in it may catch this."""


@pytest.fixture
def transport() -> MemoryTransport:
    transport = MemoryTransport()
    feed = Feeder(transport, SERDE)
    for period in range(1, 6):
        events = telemetry(period)
        if period == 2:
            feed.send_bytes(PM, f"{NETWORK}|{ELEMENTS[0]}", b"poison")
            events += [events[0], (FM, alarm(2, 0, 1, Severity.CRITICAL))]
        if period == 3:
            events += [(PM, pm(2, 0)), (PM, pm(4, 1))]
        feed.period(period, events)
    return transport


@pytest.fixture
def context(transport: MemoryTransport, database_url: str) -> Callable[..., Context]:
    tell_topology(database_url, topology())
    return lambda **settings: context_for(transport, SERDE, database_url, **settings)


def test_revisions_are_those_of_a_calm_run(
    transport: MemoryTransport, database_url: str, context: Callable[..., Context]
) -> None:
    calm = calm_run(transport, SERDE)
    assert (calm.counts.late, calm.counts.dead_lettered, calm.counts.duplicate) == (1, 1, 2)
    role = context()
    with running(TwinRole(role)):
        wait_for(database_url, period_end(5))
        ids = {f"1/{r}" for r in range(1, 6)}
        wait_until(lambda: ids_on(transport, SERDE, TWIN_UPDATES) == ids, 20, "updates are published")
    check_equals(transport, SERDE, database_url, calm)
    rows = logged(database_url)
    assert [r.period_end_ms for r in rows] == [period_end(p) for p in range(1, 6)]
    with connect(database_url) as connection:
        store = PostgresSnapshotStore(lambda: connection)
        assert store.revisions(state_name(role)) == [1, 2, 3, 4, 5]
        assert twin_of(store.load(state_name(role), 3).payload).state_hash() == calm.hashes[3]
    committed = transport.consumer("look", group_of(role)).committed(from_records(rows[-1].frontier))
    assert committed == from_records(rows[-1].frontier)


def test_observed_kpis_stand_beside_what_was_predicted(database_url: str, context: Callable[..., Context]) -> None:
    with running(TwinRole(context())):
        wait_for(database_url, period_end(2))
    with connect(database_url) as connection:
        rows = read_kpis(connection, NETWORK, until_ms=period_end(2))
    at = {(end, dn, kpi): (seen, said) for end, dn, kpi, seen, said in rows}
    seen, said = at[period_end(2), CELLS[1], "RRU.PrbTotDl"]
    assert seen == pm(2, 0).cells[1].values[0]
    assert said is not None
    seen, said = at[period_end(2), ELEMENTS[1], "PEE.AvgPower"]
    assert seen == 700
    assert said is not None
    assert said > 0


def test_between_snapshots_revisions_are_derived_again_and_checked(
    transport: MemoryTransport, database_url: str, context: Callable[..., Context]
) -> None:
    calm = calm_run(transport, SERDE)
    sparse = context(twin={"snapshot_every": 3})
    with running(TwinRole(sparse)):
        wait_for(database_url, period_end(5))
    with connect(database_url) as connection:
        assert PostgresSnapshotStore(lambda: connection).revisions(state_name(sparse)) == [3]
    committed = transport.consumer("look", group_of(sparse)).committed(
        transport.end_offsets([t.name for t in TELEMETRY])
    )
    assert committed.items() <= from_records(logged(database_url)[2].frontier).items(), "never beyond the snapshot"

    with connect(database_url) as connection:  # what was logged of revision 5 is not what the events say
        connection.execute("UPDATE revisions SET state_hash = 'other' WHERE revision = 5")
    Feeder(transport, SERDE).period(6)
    with structlog.testing.capture_logs() as logs, running(TwinRole(sparse)):
        wait_for(database_url, period_end(6))
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(e["revision"], e["logged"], e["derived"]) for e in errors] == [(5, "other", calm.hashes[5])]
    check_equals(transport, SERDE, database_url, calm_run(transport, SERDE))


def test_a_second_twin_stands_by_and_takes_over(
    transport: MemoryTransport, database_url: str, context: Callable[..., Context]
) -> None:
    followed: list[int] = []
    first = TwinRole(context())
    second = TwinRole(replace(context(), after_step=lambda _role, _step, end: followed.append(end)))
    with running(first):
        wait_for(database_url, period_end(5))
        with running(second):
            Feeder(transport, SERDE).period(6)
            wait_for(database_url, period_end(6))
            assert not followed
    with running(second):
        Feeder(transport, SERDE).period(7)
        wait_for(database_url, period_end(7))
    assert set(followed) == {period_end(7)}
    check_equals(transport, SERDE, database_url, calm_run(transport, SERDE))


@pytest.mark.parametrize("step", range(1, 8))
def test_a_twin_that_breaks_off_after_a_step_changes_nothing(
    step: int, transport: MemoryTransport, database_url: str, context: Callable[..., Context]
) -> None:
    def die(_role: str, done: int, end_ms: int) -> None:
        if done == step and end_ms == period_end(3):
            raise Died

    role = TwinRole(replace(context(), after_step=die))
    with pytest.raises(Died):
        role.run(threading.Event())
    with running(TwinRole(context())):
        wait_for(database_url, period_end(5))
    check_equals(transport, SERDE, database_url, calm_run(transport, SERDE))


def test_a_registry_that_is_away_makes_no_dead_letters(
    transport: MemoryTransport, database_url: str, context: Callable[..., Context]
) -> None:
    class Away(LocalIds):
        """Answers from the third question on."""

        asked = 0

        def schema_of(self, schema_id: int) -> str:
            self.asked += 1
            if self.asked < 3:
                raise RegistryUnavailable("the registry does not answer; start it")
            return super().schema_of(schema_id)

    ids = Away()
    with running(TwinRole(replace(context(), serde=Serde(ids)))):
        wait_for(database_url, period_end(5))
    assert ids.asked >= 3
    check_equals(transport, SERDE, database_url, calm_run(transport, SERDE))


def test_features_of_every_window_reach_topic_and_table_once(
    transport: MemoryTransport, database_url: str, context: Callable[..., Context]
) -> None:
    def die(_role: str, done: int, end_ms: int) -> None:
        if done == 4 and end_ms == period_end(4):
            raise Died

    windows = {"window_periods": 2, "slide_periods": 1, "allowed_lateness_periods": 1}
    with pytest.raises(Died):
        FeaturesRole(replace(context(features=windows), after_step=die)).run(threading.Event())
    with running(FeaturesRole(context(features=windows))):
        wait_for(database_url, period_end(5), role="features")
    # The window that ends with period 5 still waits for stragglers.
    expected = {f"{cell}/{period_end(p - 2)}/{period_end(p)}" for cell in CELLS for p in range(1, 5)}
    assert ids_on(transport, SERDE, FEATURES) == expected
    assert len(messages_on(transport, FEATURES)) > len(expected), "the broken-off period was produced twice"
    with connect(database_url) as connection:
        rows = read_features(connection, NETWORK, names=["RRU.PrbTotDl.mean"], cells=[CELLS[0]])
    mean = (pm(3, 0).cells[0].values[0] + pm(4, 0).cells[0].values[0]) / 2
    assert [end for end, *_ in rows] == [period_end(p) for p in range(1, 5)]
    assert rows[-1][3] == pytest.approx(mean)
    assert ids_on(transport, SERDE, ANOMALIES) == {f"{cell}/{period_end(p)}" for cell in CELLS for p in range(1, 5)}
    with connect(database_url) as connection:
        scores = connection.execute("SELECT count(*), max(score) FROM anomalies").fetchone()
    assert scores == (4 * len(CELLS), 0.0), "nothing stands out before it is known what is usual"

"""Revisions and snapshots: found again by number and by time, kept as long as somebody needs them."""

import math

import pytest

from infra.storage.database import Connection
from infra.storage.exceptions import UnknownRevision
from infra.storage.revisions import (
    PostgresSnapshotStore,
    latest_revision,
    load_revision,
    load_snapshot,
    prune_snapshots,
    revisions_between,
    save_revision,
    save_snapshot,
    snapshot_before,
)
from infra.storage.rows import insert_once, update
from schemas.telemetry import PartitionOffset
from schemas.twin import EventCounts, KpiFidelity, TwinUpdate
from streams.exceptions import NoUsableSnapshot
from streams.snapshots import Snapshot

pytestmark = pytest.mark.integration
PERIOD_MS = 60_000


def _update(revision: int, *, region: str = "1", state_hash: str = "h") -> TwinUpdate:
    return TwinUpdate(
        network_id="net",
        event_id=f"{region}-{revision}",
        region=region,
        revision=revision,
        period_end_ms=revision * PERIOD_MS,
        frontier=[PartitionOffset(topic="telemetry.pm", partition=0, offset=10 * revision)],
        state_hash=state_hash,
        model_versions={"field": "3"},
        fidelity=[KpiFidelity(kpi="RRU.PrbTotDl", score=0.75, gate=0.5)],
        gate_open=True,
        counts=EventCounts(ingested=7, applied=4, duplicate=1, late=1, dead_lettered=1, in_flight=0),
    )


def _fill(connection: Connection, *revisions: int) -> None:
    for revision in revisions:
        save_revision(connection, _update(revision))
        save_snapshot(connection, "net", "1", revision, bytes([revision]) * 4)


def _kept(connection: Connection) -> list[int]:
    return PostgresSnapshotStore(lambda: connection).revisions("net|1")


def test_a_revision_comes_back_as_it_was(connection: Connection) -> None:
    save_revision(connection, _update(3))
    assert load_revision(connection, "net", "1", 3) == _update(3)


def test_a_score_that_is_missing_comes_back_missing(connection: Connection) -> None:
    fidelity = [KpiFidelity(kpi="RRU.PrbTotDl", score=math.nan, gate=0.5)]
    save_revision(connection, _update(3).model_copy(update={"fidelity": fidelity}))
    assert math.isnan(load_revision(connection, "net", "1", 3).fidelity[0].score)


def test_a_revision_written_again_is_replaced(connection: Connection) -> None:
    save_revision(connection, _update(3, state_hash="first"))
    save_revision(connection, _update(3, state_hash="second"))
    assert load_revision(connection, "net", "1", 3).state_hash == "second"


def test_an_unknown_revision_says_so(connection: Connection) -> None:
    with pytest.raises(UnknownRevision, match="region 1 of network net has no revision 8"):
        load_revision(connection, "net", "1", 8)
    with pytest.raises(LookupError, match="snapshot of revision 8"):
        load_snapshot(connection, "net", "1", 8)


def test_the_latest_revision_of_a_time_and_of_all(connection: Connection) -> None:
    assert latest_revision(connection, "net", "1") is None
    _fill(connection, 1, 2, 3)
    save_revision(connection, _update(9, region="2"))
    assert latest_revision(connection, "net", "1") == _update(3)
    assert latest_revision(connection, "net", "1", until_ms=2 * PERIOD_MS) == _update(2)
    assert latest_revision(connection, "net", "1", until_ms=3 * PERIOD_MS - 1) == _update(2)
    assert latest_revision(connection, "net", "1", until_ms=PERIOD_MS - 1) is None
    assert revisions_between(connection, "net", "1", 2, 3) == [_update(2), _update(3)]


def test_the_snapshot_to_start_from(connection: Connection) -> None:
    assert snapshot_before(connection, "net", "1") is None
    _fill(connection, 2, 4)
    save_revision(connection, _update(5))
    assert snapshot_before(connection, "net", "1") == (4, b"\4\4\4\4")
    assert snapshot_before(connection, "net", "1", revision=3) == (2, b"\2\2\2\2")
    assert snapshot_before(connection, "net", "1", until_ms=5 * PERIOD_MS) == (4, b"\4\4\4\4")
    assert snapshot_before(connection, "net", "1", until_ms=4 * PERIOD_MS - 1) == (2, b"\2\2\2\2")
    assert snapshot_before(connection, "net", "1", revision=1) is None


def test_pruning_keeps_the_newest_and_what_open_jobs_fork(connection: Connection) -> None:
    _fill(connection, 1, 2, 3, 4, 5, 6)
    job = {"network_id": "net", "region": "1", "strategy_id": "s", "body": {}, "period_end_ms": 0}
    insert_once(connection, "jobs", {**job, "job_id": "open", "revision": 2, "state": "RUNNING"})
    insert_once(connection, "jobs", {**job, "job_id": "done", "revision": 3, "state": "COMPLETED"})
    insert_once(connection, "jobs", {**job, "job_id": "elsewhere", "region": "2", "revision": 1, "state": "QUEUED"})
    assert prune_snapshots(connection, "net", "1", keep=2) == 3
    assert _kept(connection) == [2, 5, 6]
    update(connection, "jobs", {"network_id": "net", "job_id": "open"}, {"state": "COMPLETED"})
    assert prune_snapshots(connection, "net", "1", keep=2) == 1
    assert _kept(connection) == [5, 6]
    assert prune_snapshots(connection, "net", "1", keep=10) == 0


def test_pruning_keeps_what_a_twin_began_with(connection: Connection) -> None:
    _fill(connection, 1, 2, 3)
    save_snapshot(connection, "net", "1", 0, b"began with")
    assert prune_snapshots(connection, "net", "1", keep=2) == 1
    assert _kept(connection) == [0, 2, 3]


def test_fewer_than_two_snapshots_are_not_enough(connection: Connection) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        prune_snapshots(connection, "net", "1", keep=1)


def test_the_store_keeps_frontier_and_bytes_and_passes_over_a_damaged_one(connection: Connection) -> None:
    store = PostgresSnapshotStore(lambda: connection)
    assert store.latest("net|twin") is None
    first, second = (Snapshot(r, {("telemetry.pm", 0): r}, b"state" * r) for r in (1, 2))
    for snapshot in (first, second):
        store.save("net|twin", snapshot)
    assert store.latest("net|twin") == second
    assert store.load("net|twin", 1) == first
    with pytest.raises(KeyError):
        store.load("net|twin", 3)
    damage = "UPDATE snapshots SET payload = set_byte(payload, length(payload) - 1, 0) WHERE revision = %s"
    connection.execute(damage, (2,))
    assert store.latest("net|twin") == first
    connection.execute(damage, (1,))
    with pytest.raises(NoUsableSnapshot):
        store.latest("net|twin")

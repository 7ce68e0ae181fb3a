"""The twin role with a map of path gains: read once, kept with the twin, needed no more."""

from pathlib import Path

import numpy as np
import pytest
import structlog

from infra.exceptions import SettingsError
from infra.replaying import twin_at, verify_replay
from infra.roles.base import Context
from infra.roles.inner_sight import revision_to_fork
from infra.roles.twin import TwinRole, state_name
from infra.storage.database import connect
from infra.storage.revisions import PostgresSnapshotStore
from infra.surveys import survey_for
from processors.twin_sync import TwinSync
from schemas.names import short_name
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.telemetry import CELLS, NETWORK, Feeder, period_end, topology
from tests.twin_runs import calm_run, context_for, logged, running, tell_topology, wait_for

pytestmark = pytest.mark.integration
SERDE = Serde(LocalIds())
PERIODS = 4


@pytest.fixture
def transport() -> MemoryTransport:
    transport = MemoryTransport()
    feed = Feeder(transport, SERDE)
    for period in range(1, PERIODS + 1):
        feed.period(period)
    return transport


@pytest.fixture
def gains(tmp_path: Path) -> Path:
    """An even 100 dB everywhere, towards the first three cells."""
    axis, names = np.arange(-1000.0, 1600.0, 100.0), [short_name(cell) for cell in CELLS[:3]]
    np.savez(tmp_path / "gains.npz", x_m=axis, y_m=axis, cells=names, gain_db=np.full((3, len(axis), len(axis)), -100))
    return tmp_path / "gains.npz"


def revisions(context: Context) -> list[int]:
    with connect(context.database_url) as connection:
        return PostgresSnapshotStore(lambda: connection).revisions(state_name(context))


def test_a_surveyed_twin_lives_restarts_and_replays_without_its_file(
    transport: MemoryTransport, database_url: str, gains: Path
) -> None:
    tell_topology(database_url, topology())
    sparse = context_for(transport, SERDE, database_url, twin={"gains": gains, "snapshot_every": 3})
    with running(TwinRole(sparse)):
        wait_for(database_url, period_end(PERIODS))
    assert revisions(sparse) == [0, 3]
    gains.unlink()

    twin = twin_at(sparse, 2).twin  # derived from the twin that had seen nothing yet
    assert twin.network.survey_db is not None
    assert np.unique(twin.network.survey_db[:, :3]).tolist() == [100.0]
    assert bool(twin.network.survey_db[:, 3:].isnan().all())
    assert [(r.revision, r.matches) for r in verify_replay(sparse)] == [(r, True) for r in range(1, PERIODS + 1)]
    assert logged(database_url)[0].state_hash != calm_run(transport, SERDE).hashes[1], "it makes a difference"

    Feeder(transport, SERDE).period(PERIODS + 1)
    with structlog.testing.capture_logs() as logs, running(TwinRole(sparse)):
        wait_for(database_url, period_end(PERIODS + 1))
    assert not [entry for entry in logs if entry["log_level"] in ("warning", "error")]
    assert all(r.matches for r in verify_replay(sparse))
    with connect(database_url) as connection:
        assert revision_to_fork(connection, NETWORK, "1", 2) == 2, "nobody forks a twin that has seen nothing"
        assert revision_to_fork(connection, NETWORK, "1", 5) == 3


def test_a_twin_that_has_begun_says_that_it_takes_no_map(
    transport: MemoryTransport, database_url: str, gains: Path
) -> None:
    tell_topology(database_url, topology())
    with running(TwinRole(context_for(transport, SERDE, database_url))):
        wait_for(database_url, period_end(PERIODS))
    Feeder(transport, SERDE).period(PERIODS + 1)
    late = context_for(transport, SERDE, database_url, twin={"gains": gains})
    with structlog.testing.capture_logs() as logs, running(TwinRole(late)):
        wait_for(database_url, period_end(PERIODS + 1))
    assert [entry["files"] for entry in logs if entry["log_level"] == "warning"] == [[str(gains)]]
    assert {r.revision: r.state_hash for r in logged(database_url)} == calm_run(transport, SERDE).hashes


def test_a_map_that_cannot_be_used_begins_no_twin(transport: MemoryTransport, database_url: str, gains: Path) -> None:
    tell_topology(database_url, topology())
    gains.write_bytes(b"no archive")
    context = context_for(transport, SERDE, database_url, twin={"gains": gains})
    with pytest.raises(SettingsError, match=r"(?s)gains\.npz.*TWINLOOP_TWIN__GAINS"):
        survey_for(context.settings.twin, TwinSync(topology(), SERDE))
    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(AssertionError, match="a role failed"),
        running(TwinRole(context)) as stop,
    ):
        stop.wait(60)
    assert "TWINLOOP_TWIN__GAINS" in next(entry["error"] for entry in logs if entry["event"] == "role failed")
    assert (revisions(context), logged(database_url)) == ([], [])

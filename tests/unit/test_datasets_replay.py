"""Recordings from disk to report, through the in-memory transport: the whole path on small recordings."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from infra.datasets import cicv5g, cicv5g_field, replay_dataset, tractor, tractor_forecast
from infra.datasets.exceptions import EmptyDataset, ReplayIncomplete
from infra.datasets.recording import Period
from infra.datasets.report import DatasetReport, show
from infra.datasets.stream import stream
from processors.twin_sync import Revision
from schemas.topics import DLQ, FEATURES, PERIODS, TELEMETRY
from streams.exceptions import DeliveryFailed
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.recordings import T0, busy_rows, drive_rows, ue_rows, write

DAY_MS = 86_400_000


Told = list[tuple[str, int, int]]


def replay(
    name: str, path: Path, out: Path, transport: MemoryTransport | None = None, **more: Any
) -> tuple[DatasetReport, MemoryTransport]:
    transport = transport or MemoryTransport()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tractor_forecast, "WARM_UP", 10)
        return replay_dataset(name, path, transport, Serde(LocalIds()), out, **more), transport


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replays")


@pytest.fixture(scope="module")
def cells(folder: Path) -> Path:
    """Two trials of 30 s of one cell, with a bin that no cell could grant."""
    frame = pd.concat([busy_rows(30, "Trial1", T0, 1), busy_rows(30, "Trial3", T0 + 3 * DAY_MS, 2)])
    frame = frame.reset_index(drop=True)
    frame.loc[100, "sum_granted_prbs"] = 14_000
    return write(frame, folder / "cells.parquet")


@pytest.fixture(scope="module")
def of_cells(cells: Path, folder: Path) -> tuple[DatasetReport, MemoryTransport, Told]:
    """A replay of them."""
    told: Told = []
    return *replay("tractor", cells, folder / "cells", progress=lambda *p: told.append(p)), told


@pytest.fixture(scope="module")
def drives(folder: Path) -> Path:
    """Three drives on two days, of which the second is 3 dB stronger."""
    first = drive_rows(run="a", seconds=30, hold_s=2.5)
    second = drive_rows(run="b", first=T0 + DAY_MS, seconds=30, hold_s=2.5, offset_db=3.0)
    third = drive_rows(run="c", first=T0 + DAY_MS + 600_000, seconds=15, hold_s=2.5, offset_db=3.0)
    return write(pd.concat([first, second, third]), folder / "drives.parquet")


@pytest.fixture(scope="module")
def of_drives(drives: Path, folder: Path) -> DatasetReport:
    """A replay of them."""
    return replay("cicv5g", drives, folder / "drives")[0]


def test_a_replay_of_cells_writes_what_its_report_names(
    of_cells: tuple[DatasetReport, MemoryTransport, Told],
) -> None:
    report, transport, told = of_cells
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["periods"] == 60
    assert (document["events"]["ingested"], document["events"]["applied"]) == (60, 60)
    assert document["twin"]["revision"] == 60
    assert document["traps"]["bins above 12500 granted PRB (suspect)"] == 1
    assert document["facts"]["suspect cell periods"] == 1
    assert document["facts"]["forecasts above a physical limit"] == 0
    assert {told[0][0], told[-1][0]} == {"stream", "forecast"}
    assert told[-1][1] == told[-1][2]
    rows = pd.read_parquet(report.files["predictions"])
    assert set(rows["horizon_s"]) == {1, 8}
    assert set(rows["scheme"]) == {"forward-chaining", "held-out trial"}
    assert Path(report.files["plot"]).read_bytes().startswith(b"\x89PNG")
    assert sum(transport.end_offsets([FEATURES.name]).values()) == document["twin"]["feature_windows"]
    assert sum(transport.end_offsets([PERIODS.name]).values()) == 60


def test_the_suspect_period_is_neither_forecast_from_nor_scored(
    of_cells: tuple[DatasetReport, MemoryTransport, Told],
) -> None:
    rows = pd.read_parquet(of_cells[0].files["predictions"])
    suspect_ms = T0 + 26_000  # row 100, the first bin of second 26
    assert suspect_ms not in set(rows["origin_ms"])
    assert suspect_ms not in set(rows["origin_ms"] + 1000 * rows["horizon_s"])


def test_scores_are_those_of_the_predictions_on_disk(
    of_cells: tuple[DatasetReport, MemoryTransport, Told],
) -> None:
    report = of_cells[0]
    rows = pd.read_parquet(report.files["predictions"])
    for s in report.tables[0].scores:
        name, step, _ = s.what.split(", ")
        scheme, scope = s.scope.split(", ")
        mine = rows[(rows["kpi"] == name) & (rows["horizon_s"] == (1 if step.startswith("one") else 8))]
        mine = mine[(mine["scheme"] == scheme) & (mine["busy"] | (scope == "all"))]
        assert s.n == len(mine)
        assert s.rmse.ours == pytest.approx(np.sqrt(((mine["mean"] - mine["observed"]) ** 2).mean()))
        assert s.rmse.peer == pytest.approx(np.sqrt(((mine["persistence"] - mine["observed"]) ** 2).mean()))
        assert s.mae.ours == pytest.approx((mine["median"] - mine["observed"]).abs().mean())


def test_a_replay_over_topics_in_use_sees_itself_alone(cells: Path) -> None:
    recording, transport = tractor.read(cells, limit=12), MemoryTransport()
    seen = [tractor_forecast.Series() for _ in range(2)]
    first, second = (stream(recording, transport, Serde(LocalIds()), s.take) for s in seen)
    assert second.counts == first.counts
    assert second.counts.applied == 12
    np.testing.assert_array_equal(np.stack(seen[1].values), np.stack(seen[0].values))
    assert sum(transport.end_offsets([PERIODS.name]).values()) == 24


def test_the_same_recording_gives_the_same_state(cells: Path) -> None:
    recording = tractor.read(cells, limit=12)
    hashes = {stream(recording, MemoryTransport(), Serde(LocalIds()), _ignore).state_hash for _ in range(2)}
    assert len(hashes) == 1


def test_the_twin_sees_what_the_recording_says(cells: Path) -> None:
    recording = tractor.read(cells)
    seen = tractor_forecast.Series()
    streamed = stream(recording, MemoryTransport(), Serde(LocalIds()), seen.take)
    direct = tractor_forecast.Series.of(recording)
    assert seen.end_ms == direct.end_ms
    np.testing.assert_array_equal(np.stack(seen.values), np.stack(direct.values))
    np.testing.assert_array_equal(np.stack(seen.context), np.stack(direct.context))
    assert streamed.feature_windows == 2 * (30 // 8 + 1) - 1


def test_a_replay_of_drives_scores_each_day_from_the_others(drives: Path, of_drives: DatasetReport) -> None:
    report = of_drives
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["events"]["ingested"] == document["events"]["applied"] == document["periods"]
    rows = pd.read_parquet(report.files["predictions"])
    assert len(rows) == len(pd.read_parquet(drives))
    assert set(rows["day"]) == {0, 1}
    # The days differ by 3 dB, which ten seconds of a drive reveal.
    after = rows[(rows["drive"] == 1) & ~rows["adapting"]]
    assert abs((after["refresh"] - after["rsrp_dbm"]).mean()) > abs(
        (after["refresh_adapted"] - after["rsrp_dbm"]).mean()
    )
    assert Path(report.files["plot"]).read_bytes().startswith(b"\x89PNG")
    measured = document["facts"]["measurements among them"]
    assert measured == 11 + 11 + 5  # the first value of a drive is none of its own
    assert len(pd.read_parquet(report.files["same-run predictions"])) == measured


def test_no_prediction_of_a_day_rests_on_its_own_values(drives: Path, of_drives: DatasetReport, tmp_path: Path) -> None:
    changed = pd.read_parquet(drives)
    second = changed["run"].isin(["b", "c"])
    changed.loc[second, "rsrp_dbm"] -= 20.0
    recording = cicv5g.read(write(changed, tmp_path / "changed.parquet"))
    after = cicv5g_field.held_out_by_day(cicv5g_field.FieldData.of(recording)).query("day == 1")
    before = pd.read_parquet(of_drives.files["predictions"]).query("day == 1")
    assert (after["rsrp_dbm"].to_numpy() == before["rsrp_dbm"].to_numpy() - 20).all()
    for name in ("published", "knn_refresh", "track", "refresh"):
        np.testing.assert_array_equal(before[name], after[name])


def test_the_report_can_be_read_by_a_person(
    of_cells: tuple[DatasetReport, MemoryTransport, Told],
) -> None:
    out = io.StringIO()
    show(of_cells[0], Console(file=out, width=200))
    text = out.getvalue()
    assert "persistence" in text
    assert "eight steps (8 s)" in text
    assert "Busy: the cell's PRB use" in text


def test_too_little_to_score_is_an_error_with_a_remedy(cells: Path, drives: Path, tmp_path: Path) -> None:
    with pytest.raises(EmptyDataset, match="--limit"):
        replay("tractor", write(ue_rows(bins=4), tmp_path / "short.parquet"), tmp_path / "out")
    with pytest.raises(EmptyDataset, match="two days"):
        replay("cicv5g", drives, tmp_path / "out", limit=3)
    assert not (tmp_path / "out").exists()


class _Refusing(MemoryTransport):
    """Refuses a barrier, as a broker in trouble does."""

    def ensure_topics(self, topics: Any) -> None:
        super().ensure_topics(topics)
        self.refuse(PERIODS.name, 1)


def test_a_refused_barrier_ends_the_replay(cells: Path) -> None:
    with pytest.raises(DeliveryFailed, match="not acknowledged"):
        stream(tractor.read(cells, limit=3), _Refusing(), Serde(LocalIds()), _ignore)


class _Altered:
    """A recording whose periods are changed on their way."""

    def __init__(self, recording: tractor.TractorRecording, change: Callable[[Period], Iterable[Period]]) -> None:
        self.topology, self.traps, self._recording, self._change = (
            recording.topology,
            recording.traps,
            recording,
            change,
        )

    def __len__(self) -> int:
        return len(self._recording)

    def periods(self) -> Iterator[Period]:
        for period in self._recording.periods():
            yield from self._change(period)


def test_a_period_that_does_not_come_back_is_an_error_not_a_gap(cells: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.datasets.stream._READ_S", 0.1)
    stuttering = _Altered(tractor.read(cells, limit=2), lambda period: (period, period))
    with pytest.raises(ReplayIncomplete, match=r"of 4 periods sent only 2 came back"):
        stream(stuttering, MemoryTransport(), Serde(LocalIds()), _ignore)


def test_what_governance_refuses_reaches_the_dead_letters(cells: Path) -> None:
    def spoil(period: Period) -> Iterable[Period]:
        ((topic, event),) = period.events
        yield Period(period.end_ms, ((topic, event.model_copy(update={"layout": "unheard-of"})),))

    transport = MemoryTransport()
    streamed = stream(_Altered(tractor.read(cells, limit=3), spoil), transport, Serde(LocalIds()), _ignore)
    assert (streamed.counts.ingested, streamed.counts.dead_lettered) == (3, 3)
    assert sum(transport.end_offsets([DLQ.name]).values()) == 3
    assert sum(transport.end_offsets([t.name for t in TELEMETRY]).values()) == 3


def _ignore(revision: Revision) -> None:
    """Nothing to do with it."""

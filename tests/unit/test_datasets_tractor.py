"""TRACTOR rows become PM reports; what cannot be true is marked, and nothing is lost silently."""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from infra.datasets import tractor
from schemas.telemetry import PmReport
from tests.recordings import BIN_MS, T0, ue_rows, write


def read(frame: pd.DataFrame, tmp_path: Path, limit: int | None = None) -> tractor.TractorRecording:
    return tractor.read(write(frame, tmp_path / "rows.parquet"), limit=limit)


def trap(recording: tractor.TractorRecording, begins: str) -> int:
    (n,) = (n for name, n in recording.traps.items() if name.startswith(begins))
    return n


def test_two_users_for_a_second_make_the_counters_of_their_cell(tmp_path: Path) -> None:
    recording = read(ue_rows(bins=4, ues=2), tmp_path)
    ((end, ((topic, event),)),) = list(recording.periods())
    report = cast(PmReport, event)
    assert (topic.name, end, report.period_end_ms, report.granularity_s) == ("telemetry.pm", T0 + 1000, T0 + 1000, 1)
    (cell,) = report.cells
    assert not cell.suspect
    assert dict(zip(tractor.LAYOUT.cell, cell.values, strict=True)) == {
        "RRU.PrbTotDl": 16.0,  # 2 x 1000 of 12,500 PRB in each bin
        "RRU.PrbUsedDl": 8.0,
        "RRU.PrbAvailDl": 50.0,
        "DRB.UEThpDl": 1000.0,  # kbit/s of each
        "DRB.PdcpSduVolumeDL": 2000.0,  # kbit of both
        "DRB.PdcpSduVolumeUL": 1000.0,
        "DRB.MeanActiveUeDl": 2.0,
        "RRC.ConnMean": 2.0,
        "RRC.ConnMax": 2.0,
        "TB.TotNbrDl": 80.0,
        "TB.ErrTotNbrDl": 16.0,
        "TL.MeanCqiDl": 8.0,
    }


def test_an_idle_cell_has_no_user_throughput_rather_than_zero(tmp_path: Path) -> None:
    recording = read(ue_rows(bins=4).assign(dl_pkts=0, dl_mbps=0.0, sum_granted_prbs=0), tmp_path)
    assert np.isnan(recording.reports["DRB.UEThpDl"].iloc[0])
    assert recording.reports["RRU.PrbUsedDl"].iloc[0] == 0


def test_a_second_of_which_a_bin_is_missing_keeps_its_rates(tmp_path: Path) -> None:
    recording = read(ue_rows(bins=4)[1:], tmp_path)
    assert recording.reports["RRU.PrbUsedDl"].tolist() == [4.0]
    assert recording.reports["DRB.PdcpSduVolumeDL"].tolist() == [1000.0]


def test_each_recording_is_a_cell_of_its_own_under_its_own_managed_element(tmp_path: Path) -> None:
    frame = pd.concat([ue_rows(cond="multi10"), ue_rows(cond="multi9")])
    recording = read(frame, tmp_path)
    assert [c.split(",")[1] for c in recording.topology.cell_names] == [
        "ManagedElement=multi9",
        "ManagedElement=multi10",
    ]
    assert [len(p.events) for p in recording.periods()] == [2, 2]


def test_a_bin_above_the_physical_limit_makes_its_period_suspect_and_no_other(tmp_path: Path) -> None:
    frame = ue_rows(bins=12, ues=2)
    frame.loc[frame["Timestamp"] == T0 + 5 * BIN_MS, "sum_granted_prbs"] = 6251  # together 12,502
    recording = read(frame, tmp_path)
    assert recording.reports["suspect"].tolist() == [False, True, False]
    assert trap(recording, "bins above") == 1
    assert trap(recording, "rows with an impossible value") == 0


def test_a_bin_at_the_physical_limit_is_good(tmp_path: Path) -> None:
    frame = ue_rows(bins=4).assign(sum_granted_prbs=12_500)
    recording = read(frame, tmp_path)
    assert recording.reports["RRU.PrbTotDl"].tolist() == [100.0]
    assert not recording.reports["suspect"].any()


@pytest.mark.parametrize(
    ("column", "value"), [("dl_mbps", -1.0), ("dl_cqi", 16.0), ("sum_granted_prbs", 12_501), ("dl_pkts", np.nan)]
)
def test_an_impossible_value_makes_its_period_suspect(tmp_path: Path, column: str, value: float) -> None:
    frame = ue_rows(bins=8)
    frame[column] = frame[column].astype(float)
    frame.loc[0, column] = value
    recording = read(frame, tmp_path)
    assert recording.reports["suspect"].tolist() == [True, False]
    assert trap(recording, "rows with an impossible value") == 1


def test_stale_rows_of_an_older_session_at_the_head_are_dropped_and_counted(tmp_path: Path) -> None:
    clean = ue_rows(bins=80)
    stale = ue_rows(bins=200).assign(Timestamp=lambda f: f["Timestamp"] - 90 * 86_400_000)
    recording = read(pd.concat([stale, clean]), tmp_path)
    assert trap(recording, "stale rows") == 200
    pd.testing.assert_frame_equal(recording.reports, read(clean, tmp_path).reports)


def test_a_stray_row_of_the_far_future_does_not_make_the_recording_stale(tmp_path: Path) -> None:
    stray = ue_rows(bins=1).assign(Timestamp=lambda f: f["Timestamp"] + 90 * 86_400_000)
    recording = read(pd.concat([ue_rows(bins=80), stray]), tmp_path)
    assert trap(recording, "stale rows") == 1
    assert len(recording.reports) == 20


def test_repeated_and_shuffled_rows_change_nothing_but_the_counts(tmp_path: Path) -> None:
    clean = ue_rows(bins=80, ues=2)
    messy = pd.concat([clean, clean[:7]]).sample(frac=1.0, random_state=1)
    recording = read(messy, tmp_path)
    assert trap(recording, "repeated rows") == 7
    assert trap(recording, "rows out of order") > 0
    pd.testing.assert_frame_equal(recording.reports, read(clean, tmp_path).reports)


def test_jitter_that_puts_two_rows_of_a_user_into_one_bin_does_not_count_twice(tmp_path: Path) -> None:
    frame = ue_rows(bins=4)
    extra = frame[:1].assign(Timestamp=lambda f: f["Timestamp"] - 100)
    recording = read(pd.concat([frame, extra]), tmp_path)
    assert trap(recording, "rows of one UE in the same bin") == 1
    assert recording.reports["RRU.PrbUsedDl"].tolist() == [4.0]


def test_a_limit_keeps_the_first_periods(tmp_path: Path) -> None:
    recording = read(ue_rows(bins=40), tmp_path, limit=3)
    assert [p.end_ms for p in recording.periods()] == [T0 + 1000, T0 + 2000, T0 + 3000]
    assert len(recording) == 3


def test_event_ids_are_the_same_whenever_it_is_read(tmp_path: Path) -> None:
    ids = [
        [event.event_id for period in read(ue_rows(), tmp_path).periods() for _, event in period.events]
        for _ in range(2)
    ]
    assert ids[0] == ids[1] == [f"pm-multi4-{T0 + 1000}", f"pm-multi4-{T0 + 2000}"]

"""Drives become measurement reports; a value that the log repeats is one measurement, not hundreds."""

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from infra.datasets import cicv5g
from schemas.telemetry import MeasurementReport
from tests.recordings import T0, drive_rows, write


def read(frame: pd.DataFrame, tmp_path: Path, limit: int | None = None) -> cicv5g.DriveRecording:
    return cicv5g.read(write(frame, tmp_path / "rows.parquet"), limit=limit)


def reports(recording: cicv5g.DriveRecording) -> list[MeasurementReport]:
    return [cast(MeasurementReport, event) for period in recording.periods() for _, event in period.events]


def test_every_row_is_a_report_and_only_new_measurements_have_a_value(tmp_path: Path) -> None:
    frame = drive_rows(seconds=30, hold_s=5)
    recording = read(frame, tmp_path)
    events = reports(recording)
    assert sum(len(e.ue) for e in events) == len(frame)
    values = np.concatenate([e.rsrp_dbm for e in events])
    times = np.concatenate([e.report_ms for e in events])
    # Refreshed at 5, 10, … 25 s; what is shown before the first refresh has an unknown age.
    assert (times[np.isfinite(values)] - T0).tolist() == [5000, 10_000, 15_000, 20_000, 25_000]
    expected = frame.set_index("pub_ms").loc[T0 + np.array([5000, 10_000, 15_000, 20_000, 25_000]), "rsrp_dbm"]
    assert values[np.isfinite(values)].tolist() == expected.tolist()


def test_a_measurement_whose_fields_arrive_in_different_rows_is_one_with_its_last_values(tmp_path: Path) -> None:
    frame = drive_rows(seconds=20, hold_s=10)
    shown = frame["pub_ms"] == T0 + 10_000
    frame.loc[shown, "sinr_db"] = 10.0  # RSRP is new at 10.00 s, SINR follows one row later
    (event,) = (e for e in reports(read(frame, tmp_path)) if np.isfinite(e.rsrp_dbm).any())
    (i,) = np.flatnonzero(np.isfinite(event.rsrp_dbm))
    assert event.report_ms[i] == T0 + 10_050
    assert event.sinr_db[i] == 11.0


def test_cells_of_both_bands_and_sites_keep_their_identity(tmp_path: Path) -> None:
    frame = pd.concat(
        [
            drive_rows(run="a", cell="5C4225714", band="n8"),
            drive_rows(run="b", cell="5C42D300B", band="n78", first=T0 + 600_000),
            drive_rows(run="c", cell="5C422503D", band="n78", first=T0 + 900_000),
        ]
    )
    recording = read(frame, tmp_path)
    assert [c.cell.split("cicv5g,")[1] for c in recording.topology.cells] == [
        "ManagedElement=5C4225,GNBDUFunction=1,NRCellDU=03D",
        "ManagedElement=5C4225,GNBDUFunction=1,NRCellDU=714",
        "ManagedElement=5C42D3,GNBDUFunction=1,NRCellDU=00B",
    ]
    assert [c.carrier_ghz for c in recording.topology.cells] == [3.5, 0.94, 3.5]
    for event in reports(recording):
        served = {event.cells[i] for i in event.serving}
        assert len(served) == 1
        measured = np.isfinite(np.reshape(event.rsrp_dbm, (len(event.ue), -1)))
        assert not np.delete(measured, event.serving[0], axis=1).any()


def test_users_are_pseudonyms_by_drive(tmp_path: Path) -> None:
    frame = pd.concat([drive_rows(run="late", first=T0 + 600_000), drive_rows(run="early")])
    events = reports(read(frame, tmp_path))
    assert {u for e in events if e.time_ms < T0 + 300_000 for u in e.ue} == {"drive-0"}
    assert {u for e in events if e.time_ms > T0 + 300_000 for u in e.ue} == {"drive-1"}


def test_impossible_positions_and_values_are_left_out_and_counted(tmp_path: Path) -> None:
    frame = drive_rows(seconds=30)
    frame.loc[200, ["utm_x", "utm_y"]] = 0.0  # no fix
    frame.loc[300, "utm_x"] = 329_550.0  # a jump of 400 m there and back
    frame.loc[400:, "rsrp_dbm"] = -300.0
    recording = read(frame, tmp_path)
    lost = recording.rows["x_m"].isna()
    assert np.flatnonzero(lost).tolist() == [200, 300]
    assert recording.traps["rows with an impossible position (left out)"] == 2
    assert recording.traps["rows with an impossible RSRP or SINR (left out)"] == len(frame) - 400
    assert all(v > -200 for e in reports(recording) for v in e.rsrp_dbm if np.isfinite(v))


def test_stale_rows_at_the_head_of_a_run_are_dropped(tmp_path: Path) -> None:
    clean = drive_rows()
    stale = drive_rows(seconds=30).assign(pub_ms=lambda f: f["pub_ms"] - 30 * 86_400_000)
    recording = read(pd.concat([stale, clean]), tmp_path)
    assert recording.traps["stale rows of older sessions (dropped)"] == len(stale)
    assert recording.rows["time_ms"].min() == T0


def test_holds_are_numbered_through_and_days_are_told_apart(tmp_path: Path) -> None:
    frame = pd.concat([drive_rows(run="a", seconds=20), drive_rows(run="b", seconds=20, first=T0 + 86_400_000)])
    recording = read(frame, tmp_path)
    assert recording.days == ("2023-11-14", "2023-11-15")
    assert recording.rows.groupby("drive")["hold"].unique().map(list).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert recording.rows.groupby("drive")["day"].unique().map(list).tolist() == [[0], [1]]


def test_a_limit_keeps_the_first_periods(tmp_path: Path) -> None:
    assert len(list(read(drive_rows(), tmp_path, limit=7).periods())) == 7

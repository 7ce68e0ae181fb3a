"""Recordings that cannot be read: every error names what is wrong and what to do."""

from pathlib import Path

import pandas as pd
import pytest

from infra.datasets import cicv5g, replay_dataset, tractor
from infra.datasets.exceptions import (
    DatasetMissing,
    EmptyDataset,
    NotParquet,
    UnknownDataset,
    WrongColumns,
)
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.recordings import drive_rows, ue_rows, write


def test_a_file_a_folder_and_the_folder_above_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "tractor"
    folder.mkdir()
    file = write(ue_rows(), folder / "a.parquet")
    reports = [tractor.read(path).reports for path in (file, folder, tmp_path)]
    assert len(reports[0]) == 2
    pd.testing.assert_frame_equal(reports[0], reports[1])
    pd.testing.assert_frame_equal(reports[0], reports[2])


def test_files_of_a_folder_may_have_their_columns_in_any_order(tmp_path: Path) -> None:
    rows = ue_rows(bins=16)
    whole = tractor.read(write(rows, tmp_path / "whole.parquet")).reports
    parts = tmp_path / "parts"
    parts.mkdir()
    write(rows[:8], parts / "a.parquet")
    write(rows[8:][sorted(rows.columns)], parts / "b.parquet")
    pd.testing.assert_frame_equal(tractor.read(parts).reports, whole)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"nowhere.*\nRemedy: give the file or folder"):
        tractor.read(tmp_path / "nowhere")


def test_a_folder_without_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetMissing, match=r"no \*.parquet"):
        cicv5g.read(tmp_path)


def test_a_file_that_is_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_text("Timestamp,IMSI\n1,2\n")
    with pytest.raises(NotParquet, match=r"no Parquet file(.|\n)*Remedy: convert"):
        tractor.read(path)


def test_a_file_of_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.touch()
    with pytest.raises(NotParquet):
        tractor.read(path)


def test_a_download_that_broke_off(tmp_path: Path) -> None:
    path = write(ue_rows(bins=400), tmp_path / "data.parquet")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(NotParquet, match="fetch it again"):
        tractor.read(path)


def test_the_other_recording_is_told_by_its_columns(tmp_path: Path) -> None:
    path = write(drive_rows(), tmp_path / "drives.parquet")
    with pytest.raises(WrongColumns, match=r"lacks Timestamp(.|\n)*choose the dataset"):
        tractor.read(path)


def test_a_column_of_text_where_numbers_belong(tmp_path: Path) -> None:
    path = write(ue_rows().assign(dl_mbps="fast"), tmp_path / "data.parquet")
    with pytest.raises(WrongColumns, match=r"'dl_mbps'.*no number.*'fast'"):
        tractor.read(path)


def test_no_rows(tmp_path: Path) -> None:
    path = write(ue_rows()[:0], tmp_path / "data.parquet")
    with pytest.raises(EmptyDataset, match="no rows"):
        tractor.read(path)


def test_no_usable_time(tmp_path: Path) -> None:
    path = write(drive_rows().assign(pub_ms=0), tmp_path / "data.parquet")
    with pytest.raises(EmptyDataset, match="no row of"):
        cicv5g.read(path)


def test_an_unknown_dataset_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match=r"tractor, cicv5g"):
        replay_dataset("other", tmp_path, MemoryTransport(), Serde(LocalIds()), tmp_path / "out")

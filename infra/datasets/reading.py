"""Recordings from disk: a Parquet file or a folder of them, whatever the order of their columns."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infra.datasets.exceptions import DatasetMissing, EmptyDataset, NotParquet, WrongColumns


def read_recording(dataset: str, path: Path, numbers: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
    """Rows of all files, in order of file name, with exactly the asked columns.

    Parameters
    ----------
    dataset
        Name for messages; also the sub-folder that is looked into when ``path`` holds no Parquet file itself.
    path
        A file or a folder.
    numbers, texts
        Columns that must be there. A value of ``numbers`` that is no number becomes NaN.

    Raises
    ------
    DatasetMissing, NotParquet, WrongColumns, EmptyDataset
        Each names cause and remedy.
    """
    frames = [_read(dataset, file, [*numbers, *texts]) for file in _files(dataset, path)]
    table = pd.concat(frames, ignore_index=True)
    if table.empty:
        raise EmptyDataset(f"{path} has no rows", f"give a file with rows of the {dataset} recording")
    for name in numbers:
        given = table[name]
        table[name] = pd.to_numeric(given, errors="coerce")
        if table[name].isna().all():
            raise WrongColumns(
                f"column {name!r} of {path} holds no number (the first value is {str(given.iloc[0])[:40]!r})",
                f"export it as a number, as the {dataset} recording has it",
            )
    for name in texts:
        table[name] = table[name].fillna("").astype(str)
    return table


def _files(dataset: str, path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise DatasetMissing(f"there is no {path}", f"give the file or folder of the {dataset} recording")
    for folder in (path, path / dataset):
        files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
        if files:
            return files
    raise DatasetMissing(
        f"no *.parquet in {path} or {path / dataset}", f"give the file or folder of the {dataset} recording"
    )


def _read(dataset: str, file: Path, wanted: list[str]) -> pd.DataFrame:
    try:
        names = pq.read_schema(file).names
    except pa.ArrowInvalid as problem:
        raise NotParquet(
            f"{file} is no Parquet file ({str(problem).splitlines()[0]})",
            "convert it to Parquet, or fetch it again if the download broke off",
        ) from None
    missing = [name for name in wanted if name not in names]
    if missing:
        raise WrongColumns(
            f"{file} lacks {', '.join(missing)}; it has {', '.join(names[:40]) or 'no columns'}",
            f"give a {dataset} recording, or choose the dataset that this file is (--dataset)",
        )
    try:
        table: pd.DataFrame = pq.read_table(file, columns=wanted).to_pandas()
    except (pa.ArrowInvalid, OSError) as problem:
        raise NotParquet(
            f"{file} breaks off or is damaged ({str(problem).splitlines()[0]})", "fetch it again from its source"
        ) from None
    return table

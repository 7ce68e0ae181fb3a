"""The field model on CICV5G: fitted to RSRP on some drives, scored on drives of other days, against kNN(15).

What is scored is every row of the log: the RSRP that the modem shows there. A modem that shows a measurement for 13 s
shows the field where it *was*. So three predictions are made for each row:

- ``published``: kNN(15) on the rows of other days as they stand, the peer as it was published;
- ``track``: the field model, from the drive's positions alone: its mean over the last 13 s of the track;
- ``refresh``: the field model, told when the modem last measured (never what): the field where the drive was then;

and ``knn-refresh``: kNN(15) with what the field model was given: new measurements only, and the place of the refresh.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor

from infra.datasets.cicv5g import DriveRecording
from infra.datasets.stream import Progress, no_progress
from processors.twin_sync import Revision
from twin_core.learned.field import FieldModel, FieldReports, learn_offset

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

NEIGHBOURS = 15
# A place is on the map if a row of another day lies within this distance.
MAPPED_M = 25.0
ADAPT_S = 10.0
_GRID_S = 0.5  # steps in which a track is followed
_FOLDS = 10
_PLACE = ["x_m", "y_m"]
_LABELS = ["cell", "drive", "day"]


@dataclass(frozen=True, eq=False)
class FieldData:
    """What the field is fitted to and scored on.

    Attributes
    ----------
    rows
        Of :class:`infra.datasets.cicv5g.DriveRecording`, those with a position and an RSRP.
    reports
        New measurements as governance passed them on: ``x_m, y_m, cell, rsrp_dbm``, with the ``drive, day, band, hold``
        of their row.
    """

    rows: pd.DataFrame
    reports: pd.DataFrame

    @classmethod
    def of(cls, recording: DriveRecording) -> "FieldData":
        """What the twin will see of a recording, without a stream between."""
        rows = _usable(recording.rows)
        return cls(rows, rows[rows["fresh"]].reset_index(drop=True))


class ReportCollector:
    """Gathers the measurements that the twin saw: a callback for :func:`infra.datasets.stream.stream`."""

    def __init__(self) -> None:
        self._parts: list[pd.DataFrame] = []

    def take(self, revision: Revision) -> None:
        """Reports of a revision with an RSRP of their serving cell."""
        seen = revision.observation
        if not len(seen.mr_serving):
            return
        rsrp = seen.mr_cell_rsrp[np.arange(len(seen.mr_serving)), seen.mr_serving]
        measured = np.isfinite(rsrp) & np.isfinite(seen.mr_x_m)
        if measured.any():
            self._parts.append(
                pd.DataFrame(
                    {
                        "period_end_ms": seen.period_end_ms,
                        "x_m": seen.mr_x_m[measured],
                        "y_m": seen.mr_y_m[measured],
                        "cell": seen.mr_serving[measured],
                        "rsrp_dbm": rsrp[measured],
                    }
                )
            )

    def data(self, rows: pd.DataFrame) -> FieldData:
        """The collected reports, each with the drive and day of the row at its time and place."""
        rows = _usable(rows)
        at = ["period_end_ms", "x_m", "y_m", "cell"]
        labels = rows.loc[rows["fresh"], [*at, "drive", "day", "band", "hold"]].drop_duplicates(at)
        empty = pd.DataFrame(columns=[*at, "rsrp_dbm"])
        reports = pd.concat(self._parts, ignore_index=True) if self._parts else empty
        return FieldData(rows, reports.merge(labels, on=at, how="inner"))


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["x_m"].notna() & rows["rsrp_dbm"].notna()].reset_index(drop=True)


def held_out_by_day(data: FieldData, progress: Progress = no_progress) -> pd.DataFrame:
    """Predictions for every row by models that have not seen its day.

    Returns
    -------
    pandas.DataFrame
        The rows of bands with at least two days, with ``mapped``, ``adapting`` (the first seconds of a drive),
        ``offset_db`` (learned in them) and the predictions ``published, track, refresh, knn_refresh`` with
        ``track_sd, refresh_sd``, and ``…_adapted`` of each.
    """
    folds = [
        (band, int(day))
        for band, part in data.rows.groupby("band", sort=True)
        for day in sorted(part["day"].unique())
        if part["day"].nunique() > 1
    ]
    done = []
    for n, (band, day) in enumerate(folds):
        progress("field", n, len(folds))
        rows = data.rows[data.rows["band"] == band]
        reports = data.reports[data.reports["band"] == band]
        test = rows[rows["day"] == day].sort_values(["drive", "time_ms"], kind="stable")
        done.append(_fold(test, rows[rows["day"] != day], reports[reports["day"] != day]))
    progress("field", len(folds), len(folds))
    return pd.concat([frame for frame in done if frame is not None], ignore_index=True) if done else pd.DataFrame()


def _fold(test: pd.DataFrame, train: pd.DataFrame, reports: pd.DataFrame) -> pd.DataFrame | None:
    if len(reports) < 3 or len(train) < NEIGHBOURS:
        return None
    field = FieldModel.fit(field_reports(reports))
    refresh_s = _refresh_interval_s(reports, train)
    out = test.copy()
    hold = _hold_places(test)
    out["mapped"] = _nearest_m(train, out) <= MAPPED_M
    out["published"] = _knn(train, out)
    where = out.assign(**hold)
    out["knn_refresh"] = _knn(reports, where, min(NEIGHBOURS, len(reports)))
    out["track"], out["track_sd"] = _along_track(field, out, refresh_s)
    # Before a drive's first refresh nobody knows how old the value is: then the track is all there is.
    known = hold["known"].to_numpy()
    out["refresh"], out["refresh_sd"] = out["track"], out["track_sd"]
    new = field.predict(_places(where[known]))
    out.loc[known, "refresh"], out.loc[known, "refresh_sd"] = new.mean_dbm.numpy(), new.sd_db.numpy()
    return _adapt(out, field)


def _adapt(out: pd.DataFrame, field: FieldModel) -> pd.DataFrame:
    """Learn each drive's offset in its first seconds, for every way of predicting."""
    began = out.groupby("drive")["time_ms"].transform("min")
    out["adapting"] = out["time_ms"] - began < ADAPT_S * 1000
    out["offset_db"] = 0.0
    for name in ("published", "knn_refresh", "track", "refresh"):
        out[f"{name}_adapted"] = out[name]
    for _, part in out.groupby("drive"):
        first = part[part["adapting"]]
        residual = first["rsrp_dbm"] - first[["published", "knn_refresh", "track", "refresh"]].T
        independent = first["hold"].nunique()
        for name in ("published", "knn_refresh"):
            out.loc[part.index, f"{name}_adapted"] += residual.loc[name].mean()
        for name in ("track", "refresh"):
            sd = torch.from_numpy(first[f"{name}_sd"].to_numpy(copy=True))
            offset = learn_offset(
                torch.from_numpy(residual.loc[name].to_numpy(dtype=np.float64, copy=True)),
                independent,
                sd,
                field.offset_sd_db,
            )
            out.loc[part.index, f"{name}_adapted"] += offset.mean_db
            out.loc[part.index, f"{name}_adapted_sd"] = np.sqrt(
                np.maximum(part[f"{name}_sd"] ** 2 - field.offset_sd_db**2, 0.0) + offset.sd_db**2
            )
            if name == "refresh":
                out.loc[part.index, "offset_db"] = offset.mean_db
    return out


def within_runs(data: FieldData) -> pd.DataFrame:
    """Predictions for every measurement by models that have seen all others, those of the same run included.

    Returns
    -------
    pandas.DataFrame
        The reports with ``field``, ``field_sd`` (leave-one-out) and ``published``: kNN(15) on all rows but those that
        show measurements of the same tenth.
    """
    done = []
    for band, reports in data.reports.groupby("band", sort=True):
        if len(reports) < 3:
            continue
        reports = reports.sort_values(["drive", "hold"], kind="stable").reset_index(drop=True)
        rows = data.rows[data.rows["band"] == band]
        field = FieldModel.fit(field_reports(reports))
        if len(field.reports) < len(reports):
            continue  # thinned: leave-one-out would speak of the kept ones alone
        left_out = field.leave_one_out()
        reports["field"], reports["field_sd"] = left_out.mean_dbm.numpy(), left_out.sd_db.numpy()
        reports["published"] = np.nan
        fold = np.arange(len(reports)) % _FOLDS
        for f in np.unique(fold):
            train = rows[~rows["hold"].isin(reports["hold"][fold == f])]
            if len(train) >= NEIGHBOURS:
                reports.loc[fold == f, "published"] = _knn(train, reports[fold == f])
        done.append(reports)
    return pd.concat(done, ignore_index=True) if done else pd.DataFrame()


def field_reports(rows: pd.DataFrame) -> FieldReports:
    """Rows as the field model takes them: sessions are drives, campaigns are days."""
    place = torch.from_numpy(rows[_PLACE].to_numpy(dtype=np.float64, copy=True))
    cell, drive, day = (torch.from_numpy(rows[name].to_numpy(dtype=np.int64, copy=True)) for name in _LABELS)
    return FieldReports(
        place, cell, drive, day, torch.from_numpy(rows["rsrp_dbm"].to_numpy(dtype=np.float64, copy=True))
    )


def _places(rows: pd.DataFrame) -> FieldReports:
    """Places of a drive and a day that were never seen."""
    unseen = rows.assign(drive=-1, day=-1)
    return field_reports(unseen)


def _knn(train: pd.DataFrame, test: pd.DataFrame, neighbours: int = NEIGHBOURS) -> Array:
    model = KNeighborsRegressor(neighbours).fit(train[_PLACE].to_numpy(), train["rsrp_dbm"].to_numpy())
    return np.asarray(model.predict(test[_PLACE].to_numpy()), dtype=np.float64)


def _nearest_m(train: pd.DataFrame, test: pd.DataFrame) -> Array:
    model = KNeighborsRegressor(1).fit(train[_PLACE].to_numpy(), train["rsrp_dbm"].to_numpy())
    return np.asarray(model.kneighbors(test[_PLACE].to_numpy())[0][:, 0], dtype=np.float64)


def _refresh_interval_s(reports: pd.DataFrame, rows: pd.DataFrame) -> float:
    """Median time between two measurements of a drive in the training rows."""
    fresh = rows[rows["fresh"] & rows["drive"].isin(reports["drive"].unique())].sort_values(["drive", "time_ms"])
    gaps = fresh.groupby("drive")["time_ms"].diff().dropna()
    return float(gaps.median() / 1000) if len(gaps) else 0.0


def _hold_places(rows: pd.DataFrame) -> pd.DataFrame:
    """Where the measurement was made that each row shows; ``known`` is False before a drive's first one."""
    place = rows[_PLACE].where(rows["fresh"])
    last = place.groupby(rows["drive"]).ffill()
    known = last["x_m"].notna()
    return last.fillna(rows[_PLACE]).assign(known=known)


class _Track(NamedTuple):
    time_s: Array
    x_m: Array
    y_m: Array


def _along_track(field: FieldModel, rows: pd.DataFrame, window_s: float) -> tuple[Array, Array]:
    """Mean field over the last ``window_s`` of a drive, and its standard deviation as a prediction of one value."""
    mean, sd = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    position = np.arange(len(rows))
    steps = max(int(window_s / _GRID_S), 0) + 1
    for _, at in pd.Series(position).groupby(rows["drive"].to_numpy()):
        part = rows.iloc[at.to_numpy()]
        time_s = (part["time_ms"].to_numpy() - part["time_ms"].iloc[0]) / 1000
        grid = np.arange(0.0, time_s[-1] + _GRID_S, _GRID_S)
        cell = part["cell"].to_numpy()[np.minimum(np.searchsorted(time_s, grid), len(part) - 1)]
        track = pd.DataFrame({name: np.interp(grid, time_s, part[name].to_numpy()) for name in _PLACE})
        there = field.predict(_places(track.assign(cell=cell, drive=0, day=0, rsrp_dbm=np.nan)))
        value, variance = there.mean_dbm.numpy(), there.sd_db.numpy() ** 2
        window = np.array([max(i - steps + 1, 0) for i in range(len(grid))])
        first, second, noise = (_windowed(v, window) for v in (value, value**2, variance))
        spread = np.sqrt(np.maximum(second - first**2, 0.0) + noise)
        mean[at.to_numpy()] = np.interp(time_s, grid, first)
        sd[at.to_numpy()] = np.interp(time_s, grid, spread)
    return mean, sd


def _windowed(values: Array, start: NDArray[np.int64]) -> Array:
    """Means of values[start[i] : i + 1]."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    return np.asarray((total[end] - total[start]) / (end - start), dtype=np.float64)


def bands(frame: pd.DataFrame) -> Iterable[str]:
    """Names of the bands in a frame, in order."""
    return sorted(frame["band"].unique()) if len(frame) else []

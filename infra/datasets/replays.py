"""Replay a recording from disk to report: read, stream, predict, score, write."""

from pathlib import Path

import numpy as np
import pandas as pd

from infra.datasets import cicv5g, cicv5g_field, tractor, tractor_forecast
from infra.datasets.exceptions import EmptyDataset
from infra.datasets.plots import plot_field, plot_forecast
from infra.datasets.report import DatasetReport, ScoreTable, twin_facts
from infra.datasets.scores import Score, score
from infra.datasets.stream import Progress, no_progress, stream
from streams.serde import Serde
from streams.transport import Transport

_PEER = "kNN(15)"


def replay_tractor(
    path: Path,
    transport: Transport,
    serde: Serde,
    out_dir: Path,
    limit: int | None = None,
    progress: Progress | None = None,
) -> DatasetReport:
    """Replay TRACTOR; the forecasts of cell load and throughput against persistence.

    See :func:`infra.datasets.replay_dataset`.
    """
    progress = progress or no_progress
    recording = tractor.read(path, limit=limit)
    series = tractor_forecast.Series()
    streamed = stream(recording, transport, serde, series.take, progress)
    trial = recording.reports.groupby("period_end_ms")["trial"].first()
    trials = trial.reindex(series.end_ms).to_numpy().astype(str)
    result = tractor_forecast.evaluate(series, trials, recording.topology.cell_names, progress)
    if result.rows.empty:
        raise EmptyDataset(
            f"{path} has no period with a forecast and its outcome",
            f"give at least {tractor_forecast.WARM_UP + 60} periods (--limit), or a longer recording",
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    files = {"predictions": str(out_dir / "predictions.parquet"), "plot": str(out_dir / "forecast.png")}
    result.rows.drop(columns="block").to_parquet(files["predictions"], index=False)
    plot_forecast(Path(files["plot"]), result.rows, result.scores, float(tractor.PRBS))
    return DatasetReport(
        dataset=tractor.NAME,
        source=str(path),
        periods=streamed.periods,
        events=streamed.counts.model_dump(),
        twin=twin_facts(streamed),
        traps=recording.traps,
        facts={
            "cells": len(recording.topology.cells),
            "cell periods": len(recording.reports),
            "suspect cell periods": int(recording.reports["suspect"].sum()),
            "forecasts above a physical limit": result.above_limit,
        },
        tables=(ScoreTable("forecasts of the next periods", "persistence", "units as named", result.scores),),
        notes=(
            "MAE judges the forecast's median, RMSE its mean: no single number is best under both.",
            "Intervals resample whole minutes of a cell, the same ones for both sides.",
            f"Busy: the cell's PRB use over the {tractor_forecast.BUSY_PERIODS} s up to the forecast is at least "
            f"{tractor_forecast.BUSY_SHARE:.0%} of the carrier; known when the forecast is made.",
            f"Forward-chaining: forecast, then learned from, in order of time; the first {tractor_forecast.WARM_UP} s "
            "are not scored. Held-out trial: learned on the other trials, frozen, then scored.",
        ),
        files=files,
    )


def replay_cicv5g(
    path: Path,
    transport: Transport,
    serde: Serde,
    out_dir: Path,
    limit: int | None = None,
    progress: Progress | None = None,
) -> DatasetReport:
    """Replay CICV5G; the field model on days it has not seen against kNN(15).

    See :func:`infra.datasets.replay_dataset`.
    """
    progress = progress or no_progress
    recording = cicv5g.read(path, limit=limit)
    collector = cicv5g_field.ReportCollector()
    streamed = stream(recording, transport, serde, collector.take, progress)
    data = collector.data(recording.rows)
    held_out = cicv5g_field.held_out_by_day(data, progress)
    if held_out.empty:
        raise EmptyDataset(
            f"the periods read from {path} hold no band with measurements on two days",
            "give the whole recording, or a larger --limit",
        )
    within = cicv5g_field.within_runs(data)
    tables = _field_tables(held_out, within, recording.days)
    out_dir.mkdir(parents=True, exist_ok=True)
    files = {
        "predictions": str(out_dir / "predictions.parquet"),
        "same-run predictions": str(out_dir / "same_run.parquet"),
        "plot": str(out_dir / "field.png"),
    }
    held_out.to_parquet(files["predictions"], index=False)
    within.to_parquet(files["same-run predictions"], index=False)
    shown = ("all", "mapped", "mapped, adapted")
    bars = [s for s in (*tables[0].scores, *tables[3].scores) if "refresh" in s.what and s.scope in shown]
    bars.sort(key=lambda s: (s.what, shown.index(s.scope)))
    plot_field(Path(files["plot"]), held_out, data.reports, tuple(bars), _PEER)
    gaps = data.rows[data.rows["fresh"]].groupby("drive")["time_ms"].diff().dropna()
    return DatasetReport(
        dataset=cicv5g.NAME,
        source=str(path),
        periods=streamed.periods,
        events=streamed.counts.model_dump(),
        twin=twin_facts(streamed),
        traps=recording.traps,
        facts={
            "drives": int(data.rows["drive"].nunique()),
            "days": len(recording.days),
            "rows": len(data.rows),
            "measurements among them": len(data.reports),
            "seconds between measurements": float(gaps.median() / 1000) if len(gaps) else float("nan"),
        },
        tables=tables,
        notes=(
            "The modem measures anew only every 13 s and the log repeats it in between, while the car drives on.",
            "Track: from positions alone, the mean field over the last 13 s of the track. Refresh: told when the modem "
            "last measured, never what. Both are fitted to new measurements of other days only.",
            f"Mapped: a row of another day lies within {cicv5g_field.MAPPED_M:g} m. Elsewhere one extrapolates.",
            f"Adapted: one offset per drive, learned from its first {cicv5g_field.ADAPT_S:g} s and scored after them; "
            "kNN's is the mean residual, the field's is shrunk by its own uncertainty.",
            "Intervals resample whole measurements (all rows that show the same one).",
        ),
        files=files,
    )


REPLAYS = {tractor.NAME: replay_tractor, cicv5g.NAME: replay_cicv5g}


def _field_tables(held_out: pd.DataFrame, within: pd.DataFrame, days: tuple[str, ...]) -> tuple[ScoreTable, ...]:
    whole: list[Score] = []
    fair: list[Score] = []
    by_day: list[Score] = []
    adapted: list[Score] = []
    for band, part in held_out.groupby("band", sort=True):
        scopes = {"all": part} | ({"mapped": part[part["mapped"]]} if not part["mapped"].all() else {})
        for scope, rows in scopes.items():
            if rows.empty:
                continue
            whole += [_compare(rows, str(band), name, scope, "published") for name in ("track", "refresh")]
            fair += [_compare(rows, str(band), "refresh", scope, "knn_refresh")]
            after = rows[~rows["adapting"]]
            if len(after):
                adapted += [
                    _compare(after, str(band), "refresh", f"{scope}, unadapted", "published"),
                    _compare(after, str(band), "refresh_adapted", f"{scope}, adapted", "published_adapted"),
                ]
        for day, rows in part.groupby("day", sort=True):
            road = "/".join(sorted(rows["road"].unique()))
            by_day.append(_compare(rows, str(band), "refresh", f"{days[int(str(day))]} {road}", "published"))
    same = [_same_run(part, str(band)) for band, part in within.groupby("band", sort=True)] if len(within) else []
    return (
        ScoreTable("RSRP on days not fitted", f"{_PEER} as published", "dB", tuple(whole), ("rmse",)),
        ScoreTable(
            "the same, peer given what the field model is given",
            f"{_PEER} on new measurements and places of refresh",
            "dB",
            tuple(fair),
            ("rmse",),
        ),
        ScoreTable("by day", f"{_PEER} as published", "dB", tuple(by_day), ("rmse",)),
        ScoreTable(
            "after the first 10 s of each drive", f"{_PEER}, with its own offset", "dB", tuple(adapted), ("rmse",)
        ),
        ScoreTable("same run, one measurement left out", f"{_PEER} on rows", "dB", tuple(same), ("mae", "rmse")),
    )


def _compare(rows: pd.DataFrame, band: str, ours: str, scope: str, peer: str) -> Score:
    centre, reach = rows[ours].to_numpy(), 1.645 * rows[f"{ours}_sd"].to_numpy()
    return score(
        f"{band} {ours.removesuffix('_adapted')}",
        scope,
        rows["rsrp_dbm"].to_numpy(),
        rows[peer].to_numpy(),
        rows["hold"].to_numpy(),
        centre=centre,
        low=centre - reach,
        high=centre + reach,
    )


def _same_run(rows: pd.DataFrame, band: str) -> Score:
    rows = rows[np.isfinite(rows["published"])]
    centre, reach = rows["field"].to_numpy(), 1.645 * rows["field_sd"].to_numpy()
    return score(
        f"{band} field",
        "each measurement",
        rows["rsrp_dbm"].to_numpy(),
        rows["published"].to_numpy(),
        rows["hold"].to_numpy(),
        centre=centre,
        low=centre - reach,
        high=centre + reach,
    )

"""One picture for each recording: what was predicted, what came, and how the errors compare."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from infra.datasets.scores import Score, Skill

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by everybody.
_OURS, _PEER, _SEEN, _SECOND, _LIMIT = "#0072B2", "#999999", "#222222", "#009E73", "#D55E00"
_EXCERPT_S = 240


def plot_forecast(path: Path, rows: pd.DataFrame, scores: tuple[Score, ...], limit_prb: float) -> None:
    """PRB use and its eight-step forecast over a busy stretch, above the errors of all forecasts.

    Parameters
    ----------
    rows, scores
        As :func:`infra.datasets.tractor_forecast.evaluate` gives them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 2])
    stretch = _busiest(rows)
    if len(stretch):
        horizon = int(stretch["horizon_s"].iloc[0])
        at = (stretch["origin_ms"] - stretch["origin_ms"].iloc[0]) / 1000 + horizon
        top.fill_between(at, stretch["low"], stretch["high"], color=_OURS, alpha=0.15, lw=0, label="90 %")
        top.plot(at, stretch["observed"], color=_SEEN, lw=1.1, label="observed")
        top.plot(at, stretch["persistence"], color=_PEER, lw=0.9, ls=":", label="persistence")
        top.plot(at, stretch["mean"], color=_OURS, lw=1.4, label=f"forecast {horizon} s ahead")
        top.axhline(limit_prb, color=_LIMIT, lw=1, ls="--", label="physical limit")
        cell = str(stretch["cell"].iloc[0]).split("ManagedElement=")[1].split(",")[0]
        top.set(
            title=f"{cell}, {stretch['trial'].iloc[0]}: downlink PRB use, {stretch['scheme'].iloc[0]}",
            xlabel="seconds",
            ylabel="PRB",
            ylim=(0, limit_prb * 1.08),
        )
        top.margins(x=0)
        top.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
    _skills(bottom, scores)
    _finish(top, bottom)
    figure.savefig(path, dpi=130)


def _busiest(rows: pd.DataFrame) -> pd.DataFrame:
    """The stretch whose load varies most, of forecasts of PRB use furthest ahead."""
    mine = rows[(rows["kpi"] == rows["kpi"].iloc[0]) & (rows["horizon_s"] == rows["horizon_s"].max())]
    mine = mine[mine["scheme"] == mine["scheme"].iloc[-1]]
    stretch = mine["origin_ms"] // (_EXCERPT_S * 1000)
    spread = mine.groupby([mine["cell"], stretch])["observed"].agg(["std", "size"])
    full = spread[spread["size"] >= 0.9 * spread["size"].max()]
    cell, number = full["std"].fillna(0.0).idxmax()
    chosen: pd.DataFrame = mine[(mine["cell"] == cell) & (stretch == number)]
    return chosen.sort_values("origin_ms")


def _skills(axes: "Axes", scores: tuple[Score, ...]) -> None:
    """Skill by KPI and horizon, a bar for each score and set of bins."""
    groups = list(dict.fromkeys(s.what.rpartition(",")[0] for s in scores))
    scopes = list(dict.fromkeys(s.scope for s in scores))
    kinds = [("rmse", scope) for scope in scopes] + [("mae", scope) for scope in scopes]
    width = 0.8 / len(kinds)
    for n, (measure, scope) in enumerate(kinds):
        chosen = [s for s in scores if s.scope == scope]
        at = [groups.index(s.what.rpartition(",")[0]) - 0.4 + (n + 0.5) * width for s in chosen]
        skills: list[Skill] = [getattr(s, measure) for s in chosen]
        value = np.array([s.skill for s in skills])
        error = np.abs(np.array([[s.skill - s.low for s in skills], [s.high - s.skill for s in skills]]))
        colour = _OURS if measure == "rmse" else _SECOND
        shade = 1.0 - 0.2 * scopes.index(scope)
        label = f"{measure.upper()}, {scope}"
        axes.bar(at, value, width * 0.92, yerr=error, color=colour, alpha=shade, label=label, ecolor="#444444")
    axes.axhline(0, color="#444444", lw=0.8)
    axes.set_xticks(range(len(groups)), [g.replace(", ", "\n") for g in groups])
    axes.set(
        title="how far the error lies below persistence's, with 90 % intervals", ylabel="1 − error / persistence's"
    )
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    axes.legend(ncols=4, frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22))


def plot_field(path: Path, held_out: pd.DataFrame, reports: pd.DataFrame, scores: tuple[Score, ...], peer: str) -> None:
    """Predicted maps of both bands, a held-out drive along its time, and RMSE by way of predicting.

    Parameters
    ----------
    held_out, reports
        As :mod:`infra.datasets.cicv5g_field` gives them.
    scores
        RMSE bars, in order; the peer's error is read from the first of each band.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8.5), layout="constrained")
    maps, below = figure.subfigures(2, 1, height_ratios=[1.15, 1], squeeze=False)[:, 0]
    names = sorted(held_out["band"].unique())[:2]
    for axes, band in zip(maps.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        part = held_out[held_out["band"] == band]
        measured = reports[reports["band"] == band]
        low, high = measured["rsrp_dbm"].quantile([0.02, 0.98])
        look = {"vmin": low, "vmax": high, "cmap": "viridis"}
        shown = axes.scatter(part["x_m"], part["y_m"], c=part["refresh"], s=4, **look)
        axes.scatter(
            measured["x_m"], measured["y_m"], c=measured["rsrp_dbm"], s=26, edgecolors="white", linewidths=0.7, **look
        )
        axes.set(title=f"{band}: predicted from other days; circles: measured", aspect="equal", adjustable="datalim")
        axes.set(xlabel="metres east", ylabel="metres north")
        maps.colorbar(shown, ax=axes, label="RSRP, dBm")
        _finish(axes)
    axes, bars = below.subplots(1, 2, width_ratios=[1.7, 1])
    drive = _typical_drive(held_out)
    at = (drive["time_ms"] - drive["time_ms"].iloc[0]) / 1000
    reach = 1.645 * drive["refresh_sd"]
    axes.fill_between(
        at, drive["refresh"] - reach, drive["refresh"] + reach, color=_OURS, alpha=0.15, lw=0, label="90 %"
    )
    axes.plot(at, drive["rsrp_dbm"], color=_SEEN, lw=1.2, label="shown by the modem")
    axes.plot(at, drive["published"], color=_PEER, lw=1, label=peer)
    axes.plot(at, drive["refresh"], color=_OURS, lw=1.4, label="field model")
    day = pd.to_datetime(drive["time_ms"].iloc[0], unit="ms").date()
    axes.set(title=f"{drive['run'].iloc[0]} ({day}), predicted from other days", xlabel="seconds", ylabel="RSRP, dBm")
    axes.margins(x=0)
    axes.legend(ncols=4, frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    _errors(bars, scores, peer)
    _finish(axes, bars)
    figure.savefig(path, dpi=130)


def _typical_drive(held_out: pd.DataFrame) -> pd.DataFrame:
    """The longest drive of the band with most rows, on the map."""
    mapped = held_out[held_out["mapped"]]
    mapped = mapped if len(mapped) else held_out
    band = mapped["band"].value_counts().idxmax()
    drive = mapped[mapped["band"] == band].groupby("drive")["time_ms"].agg(np.ptp).idxmax()
    return held_out[held_out["drive"] == drive].sort_values("time_ms")


def _errors(axes: "Axes", scores: tuple[Score, ...], peer: str) -> None:
    labels = [f"{s.what.split()[0]} {s.scope}" for s in scores]
    at = np.arange(len(scores))
    axes.barh(at - 0.2, [s.rmse.peer for s in scores], 0.38, color=_PEER, label=peer)
    axes.barh(at + 0.2, [s.rmse.ours for s in scores], 0.38, color=_OURS, label="field model")
    for i, s in enumerate(scores):
        axes.text(s.rmse.peer + 0.15, i - 0.2, f"{s.rmse.peer:.1f}", va="center", fontsize=8)
        axes.text(s.rmse.ours + 0.15, i + 0.2, f"{s.rmse.ours:.1f}", va="center", fontsize=8)
    axes.set_yticks(at, labels, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(title="RMSE on days not fitted", xlabel="dB")
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.15))


def _finish(*all_axes: "Axes") -> None:
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(11)

"""Fans of KPIs over a roll-out: what half and nine tenths of the worlds see, of several configurations at once.

Worlds differ far more from each other than configurations do in one world. So where a configuration is to be judged,
draw it against another: then each world is compared with itself.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from schemas.names import short_name
from twin_core.exceptions import InvalidScenarios, UnknownObject
from twin_core.kpis import POWER, PRB, THROUGHPUT, UNSERVED, USERS, VOLUME, kpis_of
from twin_core.network import Network
from twin_core.rollout import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Shares of the worlds that lie below: of the band of nine tenths, of half, and the median.
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Told apart also by those who do not tell red from green (Okabe and Ito), and by the stroke.
_COLOURS, _STROKES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), ("-", "--", "-.", ":")
_WIDE, _NARROW, _EDGE = 0.12, 0.22, 0.7


class _Shown(NamedTuple):
    title: str
    unit: str
    factor: float


_SHOWN = {
    PRB: _Shown("Resource blocks in use", "%", 1),
    THROUGHPUT: _Shown("User throughput", "Mbit/s", 1e-3),
    VOLUME: _Shown("Volume a period", "Gbit", 1e-6),
    USERS: _Shown("Connected users", "", 1),
    POWER: _Shown("Power", "W", 1),
    UNSERVED: _Shown("Traffic not served", "%", 100),
}


def quantiles(
    network: Network,
    trajectory: Trajectory,
    kpi: str,
    cell: str | None = None,
    shares: tuple[float, ...] = SHARES,
    against: Trajectory | None = None,
) -> torch.Tensor:
    """[Q, T] below which these shares of the worlds lie, in the KPI's own unit; NaN where it is nowhere defined.

    Parameters
    ----------
    network
        Of the trajectory.
    trajectory
        From `rollout`.
    kpi
        One of `kpis_of` the network.
    cell
        DN, or short as gnb7-3; the whole network where not given.
    shares
        0..1 each.
    against
        Another trajectory in the same worlds, to be taken off world by world.

    Raises
    ------
    UnknownObject
        If the network has no such KPI or cell.
    InvalidScenarios
        If `against` has other worlds.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> from twin_core.rollout import rollout
    >>> from twin_core.scenarios import draw
    >>> from twin_core.twin import Twin
    >>> twin = Twin.create(hexagonal(sites=1))
    >>> worlds = rollout(twin, twin.configuration, draw(twin.network, ["nominal"] * 5, horizon=3, seed=1))
    >>> quantiles(twin.network, worlds, "RRU.PrbTotDl", against=worlds)[:, 0].tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    values = _values(network, trajectory, kpi, cell)
    if against is not None:
        other = _values(network, against, kpi, cell)
        if other.shape != values.shape:
            raise InvalidScenarios(
                f"{tuple(values.shape)} worlds and periods against {tuple(other.shape)}; roll both out over the same "
                "scenarios"
            )
        values = values - other
    return torch.nanquantile(values, torch.tensor(shares, dtype=values.dtype), dim=0)


def _values(network: Network, trajectory: Trajectory, kpi: str, cell: str | None) -> torch.Tensor:
    """[S, T]."""
    known = kpis_of(network)
    if kpi not in known:
        raise UnknownObject(f"the twin predicts no KPI {kpi!r}; it predicts {', '.join(known)}")
    m = known.index(kpi)
    if cell is None:
        return trajectory.network[:, :, m]
    return trajectory.kpis[:, :, m, network.cell_named(cell)]


def draw_fan(
    axes: "Axes",
    network: Network,
    trajectories: Mapping[str, Trajectory],
    kpi: str,
    cell: str | None = None,
    against: str | None = None,
) -> None:
    """Draw the median of each trajectory, and bands that hold half and nine tenths of its worlds.

    Parameters
    ----------
    axes
        Of matplotlib (in `twinloop[services]`).
    network
        Of the trajectories.
    trajectories
        By what the legend calls them, up to four.
    kpi, cell
        As in `quantiles`.
    against
        Which of them to take off the others, world by world; it is not drawn itself.

    Raises
    ------
    UnknownObject
        If the network has no such KPI or cell, or there is no such trajectory.
    InvalidScenarios
        If there are more than four trajectories, or other worlds than those of `against`.
    """
    if len(trajectories) > len(_COLOURS):
        raise InvalidScenarios(f"{len(trajectories)} fans hide one another; draw up to {len(_COLOURS)}")
    if against is not None and against not in trajectories:
        raise UnknownObject(f"no trajectory {against!r} to draw against; there are {', '.join(trajectories)}")
    base = None if against is None else trajectories[against]
    shown = _SHOWN.get(kpi, _Shown(kpi, "", 1))
    for (name, trajectory), colour, stroke in zip(trajectories.items(), _COLOURS, _STROKES, strict=False):
        if name == against:
            continue
        rows = shown.factor * quantiles(network, trajectory, kpi, cell, against=base)
        low, lower, middle, upper, high = (row.tolist() for row in rows)
        minutes = [(t + 1) * network.topology.granularity_s / 60 for t in range(len(middle))]
        edge: dict[str, Any] = {"edgecolor": (colour, _EDGE), "linewidth": 0.6, "linestyle": stroke}
        axes.fill_between(minutes, low, high, facecolor=(colour, _WIDE), **edge)
        axes.fill_between(minutes, lower, upper, facecolor=(colour, _NARROW), **edge)
        axes.plot(minutes, middle, color=colour, linestyle=stroke, linewidth=2, label=name)
    where = "network" if cell is None else short_name(cell) if "," in cell else cell
    title = f"{shown.title}, {where}"
    if against is not None:
        axes.axhline(0, color="black", linewidth=0.8)
        title = f"{title}: change against «{against}»"
    axes.set_title(title, fontsize=10)
    unit = f"{shown.unit} points" if against is not None and shown.unit == "%" else shown.unit
    axes.set(xlabel="minutes ahead", ylabel=unit)
    axes.margins(x=0)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.legend(title="median; bands: 50 and 90 % of worlds", title_fontsize=8, fontsize=8, framealpha=0.85)

"""Flow-level load coupling: load makes interference, interference costs neighbours capacity, and so on.

A cell's load is the airtime its offered traffic needs, at most 1; its interference is scaled by its load. With
attachment held, the map from loads to loads is a standard interference function (Yates 1995): increasing, and growing
slower than the loads, because no efficiency grows faster than SINR. Its fixed point is unique and iteration finds it
from anywhere. What an overloaded cell cannot carry waits as backlog for the next period.
"""

from dataclasses import dataclass

import torch

from twin_core.settings import PhysicsSettings
from twin_core.sinr import Links

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Loads:
    """Solution of the fixed point.

    Attributes
    ----------
    load
        [..., T, C] share of resource blocks in use, 0..1.
    offered_kbps
        [..., T, C] traffic of the covered users that the cell serves.
    capacity_kbps
        [..., T, C] what the cell would deliver to that mix of users with all its blocks.
    served_kbps
        [..., T, C] delivered, backlog of earlier periods included.
    backlog_kbps
        [..., T, C] waiting at the end of each period, in kbit/s times periods.
    residual
        Largest change of any load in the last iteration.
    iterations
        How many were made.
    converged
        Whether the residual is within tolerance.
    """

    load: Tensor
    offered_kbps: Tensor
    capacity_kbps: Tensor
    served_kbps: Tensor
    backlog_kbps: Tensor
    residual: float
    iterations: int
    converged: bool


def need_of(links: Links, on_links: Tensor, load: Tensor) -> Tensor:
    """[..., C] airtime that traffic on links ([..., E] kbit/s) needs when cells are loaded so ([..., C]).

    The cell's own load does not count; see `twin_core.busy`.
    """
    rate = links.efficiency(load) * links.kbps_per_efficiency
    return links.per_cell(on_links / rate)


def solve(
    links: Links, demand_kbps: Tensor, settings: PhysicsSettings, start: Tensor, backlog_kbps: Tensor | None = None
) -> Loads:
    """Find the loads that a demand causes.

    Parameters
    ----------
    links
        From `sinr.links_of`.
    demand_kbps
        [..., T, P] offered by the users of each pixel.
    settings
        Tolerance, iterations, patience of the backlog.
    start
        [C] loads to start from; changes the number of iterations, not the result.
    backlog_kbps
        [..., C] waiting at the start, none by default.
    """
    on_links = demand_kbps.index_select(-1, links.of_pixel) * links.share
    offered = links.per_cell(on_links)
    waiting = torch.zeros_like(offered[..., 0, :]) if backlog_kbps is None else backlog_kbps
    any_waiting = bool(waiting.any())
    load = start.to(offered).expand_as(offered)
    residual, iterations = float("inf"), 0
    plain = backlog = torch.zeros_like(offered)
    while residual > settings.tolerance and iterations < settings.max_iterations:
        need = need_of(links, on_links, load)
        # A cell without traffic has no mix of users to measure its capacity by; 0 means so.
        plain = torch.where(need > 0, offered / need.clamp_min(1e-12), 0.0)
        if any_waiting or bool((need > links.busy.need[-1]).any()):
            before, backlog = _queue(offered, plain * links.busy.factor[-1], waiting, settings.backlog_periods)
            need = torch.where(plain > 0, (offered + before) / plain.clamp_min(1e-9), 0.0)
        else:
            backlog = torch.zeros_like(offered)
        new = links.busy.load_for(need)
        residual = float((new - load).abs().max()) if new.numel() else 0.0
        load, iterations = new, iterations + 1
    capacity = plain * links.busy.at(load)
    return Loads(
        load, offered, capacity, load * capacity, backlog, residual, iterations, residual <= settings.tolerance
    )


def _queue(offered: Tensor, capacity: Tensor, waiting: Tensor, patience: float) -> tuple[Tensor, Tensor]:
    """Backlog at the start and at the end of each period, [..., T, C]."""
    starts, ends = [], []
    for t in range(offered.shape[-2]):
        starts.append(waiting)
        left = waiting + offered[..., t, :] - capacity[..., t, :]
        waiting = torch.minimum(left.clamp_min(0), patience * capacity[..., t, :])
        ends.append(waiting)
    return torch.stack(starts, dim=-2), torch.stack(ends, dim=-2)

"""Flow-level load coupling: load makes interference, interference costs neighbours capacity, and so on.

A cell's load is the airtime its offered traffic needs, at most 1; its interference is scaled by its load. With
attachment held, loads rise with loads, and a standard interference function (Yates 1995: it also grows slower than they
do) would have one fixed point. Ours nearly is one: no efficiency grows faster than SINR, but a strongest interferer
that is on or off can outdo that where two cells disturb each other badly. So solutions start from the loads last
seen, and not converging is reported. What an overloaded cell cannot carry waits as backlog for the next period.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twin_core.flow.fairness import served_share
from twin_core.radio.sinr import Links
from twin_core.settings import PhysicsSettings

Tensor = torch.Tensor

# Change of loads at which it is plain enough which cells are overloaded, and how.
_ROUGH = 0.01
# Changes are never taken to shrink slower than this from one iteration to the next.
_FASTEST_RATE = 0.9


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
    """[N, C] airtime that traffic on links ([E, N] kbit/s) needs when cells are loaded so ([N, C]).

    The cell's own load does not count; see `twin_core.flow.busy`.
    """
    return links.per_cell(on_links / links.full_rate_kbps(load))


@dataclass(eq=False)
class _Iterate:
    """Where the iteration stands."""

    load: Tensor
    plain: Tensor
    backlog: Tensor
    iterations: int = 0
    residual: float = float("inf")


def solve(
    links: Links,
    demand_kbps: Tensor,
    users: Tensor,
    settings: PhysicsSettings,
    start: Tensor,
    backlog_kbps: Tensor | None = None,
) -> Loads:
    """Find the loads that a demand causes.

    1. Iterate to the fixed point, every cell's capacity that of its whole mix of users.
    2. Where a cell is overloaded, find what equal airtime delivers of its traffic (`twin_core.flow.fairness`), and
       iterate again with that as its capacity.

    Parameters
    ----------
    links
        From `sinr.links_of`.
    demand_kbps, users
        [..., T, P] offered by the users of each pixel, and how many they are.
    settings
        Tolerance, iterations, patience of the backlog.
    start
        [C] loads to start from; changes the number of iterations and hardly the result.
    backlog_kbps
        [..., C] waiting at the start, none by default.
    """
    lead = demand_kbps.shape[:-1]
    on_links = links.on_links(demand_kbps.reshape(-1, demand_kbps.shape[-1]))
    offered = links.per_cell(on_links)
    cells = offered.shape[-1]
    queue = _Queue(offered.reshape(*lead, cells), backlog_kbps, settings.backlog_periods)
    at = _Iterate(start.to(offered).expand_as(offered), offered, torch.zeros_like(offered))
    _iterate(links, on_links, offered, queue, settings, at, None)
    airtime = on_links / links.full_rate_kbps(at.load)
    need = links.per_cell(airtime)
    if bool((need > links.busy.need[-1]).any()):
        crowd = links.on_links(users.reshape(-1, users.shape[-1]))
        boost = _equal_airtime(links, on_links, offered, crowd, airtime, need)
        _iterate(links, on_links, offered, queue, settings, at, boost)
    capacity = at.plain * links.busy.at(at.load)

    def shaped(per_cell: Tensor) -> Tensor:
        return per_cell.reshape(*lead, cells)

    return Loads(
        shaped(at.load),
        shaped(offered),
        shaped(capacity),
        shaped(at.load * capacity),
        shaped(at.backlog),
        at.residual,
        at.iterations,
        at.residual <= settings.tolerance,
    )


def _iterate(
    links: Links,
    on_links: Tensor,
    offered: Tensor,
    queue: "_Queue",
    settings: PhysicsSettings,
    at: _Iterate,
    boost: Tensor | None,
) -> None:
    """Go on from `at` until loads stand still; `boost` [N, C] is a factor on capacities.

    Without it a cell found overloaded ends the iteration early: it will go on with a boost.
    """
    full = links.busy.need[-1]
    at.residual, last = float("inf"), at.iterations + settings.max_iterations
    changes: list[Tensor] = []
    while at.residual > settings.tolerance and at.iterations < last:
        need = need_of(links, on_links, at.load)
        if boost is not None:
            # However much more it delivers, a cell with more to do than it can is full.
            need = torch.where(need > full, torch.maximum(need / boost, full), need)
        # A cell without traffic has no mix of users to measure its capacity by; 0 means so.
        at.plain = torch.where(need > 0, offered / need.clamp_min(1e-12), 0.0)
        overloaded = bool((need >= full).any())
        if overloaded or queue.waiting:
            before, at.backlog = queue.run(at.plain * links.busy.factor[-1])
            need = torch.where(at.plain > 0, (offered + before) / at.plain.clamp_min(1e-9), 0.0)
        new = links.busy.load_for(need)
        changes.append(new - at.load)
        at.residual = float(changes[-1].abs().max()) if new.numel() else 0.0
        at.load = new if at.residual <= settings.tolerance else _ahead(new, changes)
        at.iterations += 1
        if overloaded and boost is None and at.residual < _ROUGH:
            return


def _ahead(load: Tensor, changes: list[Tensor]) -> Tensor:
    """Every fourth iteration, go at once where changes that shrink steadily would lead (Aitken), period by period.

    The rate is taken over two iterations: two cells that mostly disturb each other take turns.
    """
    if len(changes) % 4:
        return load
    old, mid, new = changes[-3:]
    rate = (new * old).sum(dim=-1, keepdim=True) / (old**2).sum(dim=-1, keepdim=True).clamp_min(1e-12)
    rate = rate.clamp(0, _FASTEST_RATE)
    return (load + rate / (1 - rate) * (mid + new)).clamp(0, 1)


def _equal_airtime(
    links: Links, on_links: Tensor, offered: Tensor, users: Tensor, airtime: Tensor, need: Tensor
) -> Tensor:
    """[N, C] by what factor an overloaded cell delivers more than the capacity of its mix; 1 elsewhere."""
    budget = links.busy.need[-1]
    full = need > budget
    rows, there = links.of_cells(full.any(dim=0))
    met = served_share(airtime[rows], airtime[rows] / users[rows].clamp_min(1e-9), there, budget)
    delivered = there.per_cell(on_links[rows] * met)
    mix = offered * budget / need.clamp_min(1e-12)
    return torch.where(full, (delivered / mix.clamp_min(1e-9)).clamp_min(1.0), 1.0)


class _Queue:
    """Traffic that waits from period to period. A scan over T runs in NumPy: its steps are small vectors."""

    def __init__(self, offered: Tensor, waiting: Tensor | None, patience: float) -> None:
        self._offered, self._patience = offered, patience
        self._start = torch.zeros_like(offered[..., 0, :]) if waiting is None else waiting.to(offered)
        self.waiting = bool(self._start.any())

    def run(self, capacity: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C] backlog at the start and at the end of each period, for [N, C] capacity."""
        room = capacity.view(self._offered.shape)
        surplus, most = self._offered - room, self._patience * room
        if surplus.shape[-2] == 1:
            before = self._start.unsqueeze(-2)
            return before.reshape(capacity.shape), torch.minimum((before + surplus).clamp_min_(0), most).view_as(
                capacity
            )
        starts, ends = self._scan(surplus.cpu().numpy(), most.cpu().numpy())
        return (
            torch.from_numpy(starts).reshape(capacity.shape).to(capacity.device),
            torch.from_numpy(ends).reshape(capacity.shape).to(capacity.device),
        )

    def _scan(self, surplus: NDArray[Any], most: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        before, after = np.empty_like(surplus), np.empty_like(surplus)
        waiting: NDArray[Any] = self._start.cpu().numpy()
        for t in range(surplus.shape[-2]):
            before[..., t, :] = waiting
            waiting = np.clip(waiting + surplus[..., t, :], 0, most[..., t, :])
            after[..., t, :] = waiting
        return before, after

"""What users see of a loaded cell: elastic traffic under processor sharing, and what was not served."""

import torch

from twin_core.flow.load import Loads

Tensor = torch.Tensor

# Of the connected users, how many wait for data at once in a full cell (assumption).
_ACTIVE_WHEN_FULL = 0.3


def free_share(load: Tensor, users: Tensor) -> Tensor:
    """Share of a cell's capacity that a transfer gets, [...].

    In an open processor-sharing queue that is 1 - load. A cell's users are finite and wait for their own transfers,
    so that even a full cell is shared by no more than a part of them: the share bends from 1 - load to 1 / (that part
    of the users).

    Examples
    --------
    >>> free_share(torch.tensor([0.2, 1.0]), torch.tensor([20.0, 20.0])).round(decimals=2).tolist()
    [0.8199999928474426, 0.17000000178813934]
    """
    return torch.sqrt((1 - load) ** 2 + floor_of(users) ** 2).clamp_max(1.0)


def floor_of(users: Tensor) -> Tensor:
    """Share of a full cell that each of those who wait at once gets."""
    return 1 / (_ACTIVE_WHEN_FULL * users).clamp_min(1.0)


def user_throughput_kbps(loads: Loads, users: Tensor, throughput_gain: Tensor) -> Tensor:
    """Mean throughput of a user while its data is sent (DRB.UEThpDl), kbit/s.

    Parameters
    ----------
    loads
        Solution of the fixed point, [..., T, C].
    users
        [..., T, C] connected users.
    throughput_gain
        [C] fitted factor between this and what the network measures.

    Returns
    -------
    Tensor
        [..., T, C]; NaN where a cell carries no traffic, as the counter then is missing.
    """
    rate = throughput_gain * loads.capacity_kbps * free_share(loads.load, users)
    return torch.where(loads.capacity_kbps > 0, rate, torch.nan)


def unserved_ratio(loads: Loads, uncovered_kbps: Tensor) -> Tensor:
    """Share of the offered traffic that was not delivered in its period, for want of coverage or capacity.

    Parameters
    ----------
    loads
        Solution of the fixed point, [..., T, C].
    uncovered_kbps
        [..., T, C] demand of users without coverage, counted at the cell that would serve them.
    """
    late = (loads.offered_kbps - loads.served_kbps).clamp_min(0)
    wanted = loads.offered_kbps + uncovered_kbps
    return torch.where(wanted > 0, (late + uncovered_kbps) / wanted.clamp_min(1e-9), 0.0)

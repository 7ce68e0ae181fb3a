"""What users see of a loaded cell: elastic traffic under processor sharing, and what was not served."""

import torch

from twin_core.load import Loads

Tensor = torch.Tensor


def user_throughput_kbps(loads: Loads, users: Tensor, throughput_gain: Tensor) -> Tensor:
    """Mean throughput of a user while its data is sent (DRB.UEThpDl), kbit/s.

    Under processor sharing a transfer runs at capacity x (1 - load). A finite number of users never shares by more than
    that number, which holds the throughput up where the load nears 1.

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
    free = torch.maximum(1 - loads.load, 1 / users.clamp_min(1.0))
    return torch.where(loads.capacity_kbps > 0, throughput_gain * loads.capacity_kbps * free, torch.nan)


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

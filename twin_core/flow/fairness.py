"""Who goes short in an overloaded cell: airtime is shared equally among those who wait, not traffic.

A scheduler that gives waiting users equal airtime serves those with good radio in full and cuts those with bad radio
short. So an overloaded cell delivers more than the capacity it has for its mix of users at lower load. Users of a link
are taken to ask for exponentially different amounts about their mean.
"""

import torch

from twin_core.radio.sinr import LinkEnds

Tensor = torch.Tensor

_ROUNDS = 10
# Of a cell's airtime: what is left out then is a thousandth of what loads are solved to.
_CLOSE = 1e-6


def served_share(airtime: Tensor, per_user: Tensor, links: LinkEnds, budget: Tensor) -> Tensor:
    """Share of each link's traffic that is served when each user may have airtime up to one level, all of it in use.

    With airtime need a of a link and n of each of its users, a share s(x) = 1 - exp(-x / n) of it is met at the level x
    at which the cell's links together get its budget: sum a s(x) = budget. The sum is concave in x, so
    Newton's method from 0 climbs to x without passing it.

    Parameters
    ----------
    airtime
        [E, N] needed by each link.
    per_user
        [E, N] needed by each of its users.
    links
        Which cell each link belongs to.
    budget
        [] airtime of a cell; where the need is less, all is served.

    Returns
    -------
    Tensor
        [E, N] 0..1.
    """
    per_level = -1 / per_user.clamp_min(1e-9)
    rate = -airtime * per_level
    need = links.per_cell(airtime)
    enough = need <= budget
    level = torch.zeros_like(need)
    met = torch.zeros_like(airtime)
    for _ in range(_ROUNDS):
        missing = budget - links.per_cell(airtime * met)
        if float(torch.where(enough, 0.0, missing).abs().max()) < _CLOSE:
            break
        slope = links.per_cell(rate - rate * met)
        level = level + missing / slope.clamp_min(1e-6)
        met = torch.expm1(links.per_link(level) * per_level).neg_()
    return torch.where(links.per_link(enough), 1.0, met)

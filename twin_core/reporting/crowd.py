"""Who is served how: the users of each link in groups of equal radio, and what is counted over them.

Users of a link share its mean and differ about it by `Links.spread_db`, a normal spread cut off at two standard
deviations, as in `twin_core.radio.link`. All of it is taken to be in the signal of the serving cell.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from twin_core.flow.load import Loads
from twin_core.flow.traffic import free_share
from twin_core.physics import Physics
from twin_core.radio.link import FADING_DB, cqi_thresholds_db
from twin_core.radio.mcs import CQI, LinkAdaptation, thresholds_db

Tensor = torch.Tensor

PERCENTILES = (5, 50, 95)
# Groups of a link's users: how many standard deviations from its mean, and their parts.
_REACH = torch.linspace(-2, 2, 9, dtype=torch.float64)
_PART = torch.softmax(-(_REACH**2) / 2, dim=0)
# SINR at which tables stand, dB.
_SINR_DB = torch.arange(-40.0, 60.1, 0.25, dtype=torch.float64)
# Edges of the bins of RSRP, dBm: below the first, between two, from the last on.
RSRP_EDGES_DBM = tuple(float(e) for e in range(-140, -65, 5))
CQIS = 16


@dataclass(frozen=True, eq=False)
class Crowd:
    """Groups of users, [E, Q] float64 unless said otherwise; E links, Q groups of each.

    Attributes
    ----------
    cell
        [E] who serves.
    cells
        How many cells there are (C).
    users
        Connected and covered.
    airtime
        Share of the cell's time that their traffic needs.
    throughput_kbps
        Of one user while its data is sent.
    rsrp_dbm
        Of the serving cell.
    quiet_db, disturbed_db
        SINR while the strongest interferer is silent, and while it sends.
    busy
        [E, 1] how much of the time it sends.
    adaptation
        Of the links; None for the truncated Shannon bound.
    """

    cell: Tensor
    cells: int
    users: Tensor
    airtime: Tensor
    throughput_kbps: Tensor
    rsrp_dbm: Tensor
    quiet_db: Tensor
    disturbed_db: Tensor
    busy: Tensor
    adaptation: LinkAdaptation | None

    @classmethod
    def of(cls, physics: Physics, loads: Loads, demand_kbps: Tensor, users: Tensor) -> "Crowd":
        """Of one configuration in one world and period.

        Parameters
        ----------
        physics, loads
            Links and the solution on them, [1, 1, C].
        demand_kbps, users
            [1, 1, P].
        """
        links = physics.links
        cells = loads.load.shape[-1]
        load = loads.load.reshape(1, cells)
        of_users, of_demand = (links.on_links(q.reshape(1, -1)).double() for q in (users, demand_kbps))
        apart = 10 ** (links.spread_db * _REACH / 10).to(links.signal)
        groups = replace(links, signal=links.signal * apart, spread_db=0.0)
        rate = groups.full_rate_kbps(load.expand(len(_REACH), cells)).double()

        others, busy = (quantity.double() for quantity in links.without_strongest(load))
        strongest, signal = links.strongest.double(), groups.signal.double()

        covered = links.per_cell(links.on_links(users.reshape(1, -1)))
        share = physics.cells.throughput_gain * links.busy.at(load) * free_share(load, covered)
        rsrp = physics.rsrp[links.of_pixel, links.of_cell].double()[:, None]
        return cls(
            cell=links.of_cell,
            cells=cells,
            users=of_users * _PART,
            airtime=of_demand * _PART / rate,
            throughput_kbps=rate * share[0].double()[links.of_cell][:, None],
            rsrp_dbm=rsrp + links.spread_db * _REACH,
            quiet_db=10 * torch.log10(signal / others),
            disturbed_db=10 * torch.log10(signal / (others + strongest)),
            busy=busy,
            adaptation=links.adaptation,
        )

    def per_cell(self, quantity: Tensor) -> Tensor:
        """[C] sum of a quantity of the groups."""
        return quantity.new_zeros(self.cells).index_add_(0, self.cell, quantity.sum(dim=1))

    def mean(self, quantity: Tensor) -> Tensor:
        """[C] mean over users; NaN where there are none."""
        return self.per_cell(quantity * self.users) / self.per_cell(self.users)

    def over_sinr(self, weight: Tensor) -> Tensor:
        """[C, B] a weight of the groups by SINR (_SINR_DB), over the time with and without the strongest interferer."""
        out = weight.new_zeros(self.cells * len(_SINR_DB))
        row = self.cell[:, None] * len(_SINR_DB)
        step = float(_SINR_DB[1] - _SINR_DB[0])
        for sinr, time in ((self.quiet_db, 1 - self.busy), (self.disturbed_db, self.busy)):
            place = ((sinr - _SINR_DB[0]) / step).clamp(0, len(_SINR_DB) - 1)
            below = place.floor().long().clamp_max(len(_SINR_DB) - 2)
            upper = weight * time * (place - below)
            for index, part in ((row + below, weight * time - upper), (row + below + 1, upper)):
                out.index_add_(0, index.reshape(-1), part.reshape(-1))
        return out.view(self.cells, -1)

    def over_cqi(self) -> Tensor:
        """[C, 16] users by the CQI that they report, fading counted in."""
        return self.over_sinr(self.users) @ _cqi_table(self.adaptation)

    def over_rsrp(self) -> Tensor:
        """[C, 16] users by RSRP, in the bins of RSRP_EDGES_DBM."""
        bins = len(RSRP_EDGES_DBM) + 1
        edges = self.rsrp_dbm.new_tensor(RSRP_EDGES_DBM)
        place = self.cell[:, None] * bins + torch.bucketize(self.rsrp_dbm, edges, right=True)
        out = self.users.new_zeros(self.cells * bins).index_add_(0, place.reshape(-1), self.users.reshape(-1))
        return out.view(self.cells, bins)

    def mean_sinr_db(self) -> Tensor:
        """[C] mean over users and time, of decibels; NaN where there are no users."""
        return self.mean(torch.lerp(self.quiet_db, self.disturbed_db, self.busy))

    def block_errors(self, link: LinkAdaptation) -> Tensor:
        """[C] share of the transport blocks sent, retransmissions counted in, that are not decoded; NaN without any."""
        found = self.over_sinr(self.airtime)
        return (found @ _error_table(link)) / found.sum(dim=1)

    def throughput_percentiles(self, factor: Tensor) -> Tensor:
        """[3, C] of users' throughput, kbit/s, with a factor [C] on each cell's; PERCENTILES."""
        values = self.throughput_kbps * factor[self.cell][:, None]
        group = self.cell[:, None].expand_as(values)
        return percentiles(values, self.users, group, self.cells)

    def network_percentiles(self, factor: Tensor, part: Tensor) -> Tensor:
        """[3] over all cells, with a factor [C] on each cell's throughput and counting a part [C] of its users."""
        values = self.throughput_kbps * factor[self.cell][:, None]
        weight = self.users * part[self.cell][:, None]
        return percentiles(values, weight, torch.zeros_like(values, dtype=torch.long), 1)[:, 0]


def percentiles(values: Tensor, weight: Tensor, group: Tensor, groups: int) -> Tensor:
    """Weighted PERCENTILES of each group, linear between the middles of the values' weights.

    Parameters
    ----------
    values, weight, group
        Of one shape; values that are not finite or weigh nothing do not count.
    groups
        How many there are (G).

    Returns
    -------
    Tensor
        [3, G]; NaN of a group without values.

    Examples
    --------
    >>> v, one = torch.arange(101.0).double(), torch.ones(101).double()
    >>> percentiles(v, one, torch.zeros(101).long(), 2).round(decimals=1).tolist()
    [[4.6, nan], [50.0, nan], [95.4, nan]]
    """
    counts = values.isfinite() & (weight > 0)
    v, w, g = values[counts], weight[counts], group[counts]
    shares = v.new_tensor(PERCENTILES)[:, None] / 100
    if not len(v):
        return shares.new_full((len(PERCENTILES), groups), torch.nan)
    order = torch.argsort(v)
    order = order[torch.argsort(g[order], stable=True)]
    v, w, g = v[order], w[order], g[order]
    middle = torch.cumsum(w, 0) - w / 2
    total = w.new_zeros(groups).index_add_(0, g, w)
    number = torch.bincount(g, minlength=groups)
    last = torch.cumsum(number, 0) - 1
    first = (last - number + 1).clamp_max(len(v) - 1)
    wanted = torch.cumsum(total, 0) - total + shares * total
    at = torch.searchsorted(middle, wanted.contiguous())
    last = last.clamp_min(0)
    upper, lower = (torch.minimum(torch.maximum(i, first), last) for i in (at, at - 1))
    part = ((wanted - middle[lower]) / (middle[upper] - middle[lower]).clamp_min(1e-300)).clamp(0, 1)
    return torch.where(total > 0, torch.lerp(v[lower], v[upper], part), torch.nan)


@lru_cache(maxsize=8)
def _cqi_table(link: LinkAdaptation | None) -> Tensor:
    """[B, 16] probability of each CQI at each SINR of _SINR_DB, which fading moves."""
    levels = cqi_thresholds_db() if link is None else thresholds_db(replace(link, schemes=CQI))
    edges = torch.tensor(levels, dtype=torch.float64)
    reached = torch.special.ndtr((_SINR_DB[:, None] - edges) / FADING_DB)
    whole = torch.cat([torch.ones_like(reached[:, :1]), reached, torch.zeros_like(reached[:, :1])], dim=1)
    return whole[:, :-1] - whole[:, 1:]


@lru_cache(maxsize=8)
def _error_table(link: LinkAdaptation) -> Tensor:
    """[B] share of the blocks sent that are not decoded at each SINR of _SINR_DB, which fading moves.

    Of a new block there are n transmissions, all but the last of which failed, and the last did where it is given up.
    """
    sinr = 10 ** (_SINR_DB / 10)
    chosen = link.choose(sinr).clamp_min(0)[:, None]  # below all schemes the lowest is tried
    sent = link.mean_transmissions(sinr).gather(1, chosen)[:, 0]
    arrived = link.goodput(sinr).gather(1, chosen)[:, 0] * sent
    arrived = arrived / sinr.new_tensor(link.schemes.efficiency)[chosen[:, 0]]
    still = (sent - arrived).clamp_min(0) / sent
    away = (_SINR_DB[:, None] - _SINR_DB) / FADING_DB
    kernel = torch.exp(-(away**2) / 2)
    return (kernel @ still) / kernel.sum(dim=1)

"""Slices: how RRMPolicyRatio (TS 28.541) shares a cell's time, and what slices' throughput and delay come to.

From the KPIs of whole cells. A slice k wants the share a_k of its cell's time: the cell's load times the slice's part
of the resource blocks used, as measured. It gets what it wants up to its min share, and of the time that is then left,
without what is dedicated to others, a part in proportion to what it still wants, up to its max share. Transfers of a
slice share the time c_k that the others leave it (at most its max, at least its min share), so that, as in an M/G/1
queue with processor sharing (Kleinrock, Queueing Systems II, 4.4), a user's throughput goes as c_k - a_k and the delay
as 1 / (c_k - a_k); a cell's users are finite, so that even a full slice is shared by no more than a part of them
(`twin_core.flow.traffic.free_share`). Factors of each cell and slice are learned from the sub-counters under the ratios
that were in force.

KPIs of whole cells are fitted under the ratios in force. Under others they change with their slices: throughput by
what the slices' users lose or gain, weighted by volume; load, volume and unserved traffic by what no longer fits.
Not modelled: what a max share that binds takes from the interference of its cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from schemas.counters import sliced
from twin_core.environment import pooled
from twin_core.flow.traffic import floor_of, free_share
from twin_core.settings import share_per_period

Tensor = torch.Tensor

# Per slice on axis M, in this order, after the KPIS of whole cells.
THROUGHPUT, VOLUME, DELAY = SLICED = ("DRB.UEThpDl", "DRB.PdcpSduVolumeDL", "DRB.RlcSduDelayDl")
_BLOCKS = "RRU.PrbUsedDl"
COUNTERS = (_BLOCKS, *SLICED)
# Of a cell's time, the least that a slice is taken to have to itself: even a full cell serves in turn.
_LEAST_FREE = 0.01
# From this load on a cell counts as full.
_FULL = 0.95
_LEAN, _HALF_LIFE = 3.0, 20.0
# Before anything is measured: equal parts, the cell's own throughput, a delay of 5 ms in an empty cell (0.1 ms).
_PRIOR_DELAY = 50.0
# A cell that carries less than this share of its time says little about its slices.
_LEAST_LOAD = 0.01


def kpis_of(slices: tuple[str, ...]) -> tuple[str, ...]:
    """Names on axis M of these slices.

    >>> kpis_of(("1-000001",))
    ('DRB.UEThpDl.1-000001', 'DRB.PdcpSduVolumeDL.1-000001', 'DRB.RlcSduDelayDl.1-000001')
    """
    return tuple(sliced(name, s) for name in SLICED for s in slices)


def counters_of(slices: tuple[str, ...]) -> tuple[str, ...]:
    """Sub-counters that slices are learned from."""
    return tuple(sliced(name, s) for name in COUNTERS for s in slices)


@dataclass(frozen=True, eq=False)
class Ratios:
    """Shares of each cell's time ([C, K], 0..1): dedicated <= least <= most."""

    dedicated: Tensor
    least: Tensor
    most: Tensor

    def to(self, like: Tensor) -> "Ratios":
        """On the device and in the precision of another tensor."""
        return Ratios(self.dedicated.to(like), self.least.to(like), self.most.to(like))

    def same_as(self, other: "Ratios") -> bool:
        """Whether every share is the same."""
        return all(torch.equal(mine, getattr(other, name)) for name, mine in vars(self).items())


@dataclass(frozen=True, eq=False)
class Airtime:
    """Shares of cells' time: what slices get, could have beside the others ([..., C, K]), may have at all ([C, K])."""

    given: Tensor
    ceiling: Tensor
    permitted: Tensor

    def free(self, users: Tensor) -> Tensor:
        """[..., C, K] share of the cell's time that a transfer of the slice gets, with so many users in the cell."""
        spare = (self.ceiling - self.given).clamp_min(0)
        return torch.sqrt(spare**2 + (floor_of(users)[..., None] * self.permitted) ** 2).clamp_min(_LEAST_FREE)


def airtime(wanted: Tensor, ratios: Ratios) -> Airtime:
    """Share cells' time among slices.

    Parameters
    ----------
    wanted
        [..., C, K]; together they may want more than there is.

    Examples
    --------
    A slice with a min share of 0.3 gets it in a full cell; what it does not want goes to the other.

    >>> none = torch.zeros(1, 2)
    >>> shares = Ratios(none, torch.tensor([[0.0, 0.3]]), torch.ones(1, 2))
    >>> airtime(torch.tensor([[1.2, 0.4]]), shares).given.round(decimals=3).tolist()
    [[0.6359999775886536, 0.36399999260902405]]
    >>> airtime(torch.tensor([[1.2, 0.1]]), shares).given.round(decimals=3).tolist()
    [[0.8999999761581421, 0.10000000149011612]]
    """
    first = torch.minimum(wanted, ratios.least)
    kept = torch.maximum(first, ratios.dedicated)
    pool = (1 - kept.sum(dim=-1, keepdim=True)).clamp_min(0)
    # What is dedicated to a slice is its own beyond its first share as well.
    rest = (torch.minimum(wanted, ratios.most) - first).clamp_min(0)
    whole = rest.sum(dim=-1, keepdim=True)
    given = first + rest * (pool / whole.clamp_min(1e-12)).clamp_max(1.0)
    others = torch.maximum(given, ratios.dedicated)
    left = 1 - (others.sum(dim=-1, keepdim=True) - others)
    ceiling = torch.minimum(torch.maximum(left, ratios.least), ratios.most)
    reserved = ratios.dedicated.sum(dim=-1, keepdim=True) - ratios.dedicated
    return Airtime(given, torch.maximum(ceiling, given), torch.minimum(1 - reserved, ratios.most))


@dataclass(frozen=True, eq=False)
class SliceState:
    """What is learned of each cell and slice, [C, K] sums and weights with forgetting, float64.

    Attributes
    ----------
    share_sum, share_weight
        Resource blocks used by each slice, and by all.
    volume_sum, volume_weight
        Volume of each slice, and of all.
    speed_sum, speed_weight
        Log of a slice's measured throughput over the cell's, with its free time over the cell's taken out.
    delay_sum, delay_weight
        Log of its measured delay times its free time, over the prior.
    """

    share_sum: Tensor
    share_weight: Tensor
    volume_sum: Tensor
    volume_weight: Tensor
    speed_sum: Tensor
    speed_weight: Tensor
    delay_sum: Tensor
    delay_weight: Tensor

    @classmethod
    def prior(cls, cells: int, slices: int) -> "SliceState":
        """Nothing measured."""
        return cls(*(torch.zeros(cells, slices, dtype=torch.float64) for _ in cls.__dataclass_fields__))

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name."""
        return dict(vars(self))

    @property
    def _slices(self) -> int:
        return self.share_sum.shape[1]

    def _parts(self, total: Tensor, weight: Tensor) -> Tensor:
        """[C, K] parts that sum to one, leaning on the network's and that on equal ones."""
        k = self._slices
        common = (total.sum(dim=0) + 1e-3 / k) / (weight.sum(dim=0) + 1e-3)
        # A tenth of a cell's mean use counts as much as what the others show.
        lean = 0.1 * weight.mean().clamp_min(1e-3)
        parts = (total + lean * common) / (weight + lean)
        return parts / parts.sum(dim=1, keepdim=True).clamp_min(1e-12)

    @property
    def share(self) -> Tensor:
        """[C, K] parts of the resource blocks used."""
        return self._parts(self.share_sum, self.share_weight)

    @property
    def volume(self) -> Tensor:
        """[C, K] parts of the volume."""
        return self._parts(self.volume_sum, self.volume_weight)

    @property
    def speed(self) -> Tensor:
        """[C, K] factor of a slice's throughput against its cell's."""
        return _by_slice(self.speed_sum, self.speed_weight).exp()

    @property
    def delay(self) -> Tensor:
        """[C, K] delay in a cell that is all its own, 0.1 ms."""
        return _PRIOR_DELAY * _by_slice(self.delay_sum, self.delay_weight).exp()

    def learned(self, measured: Mapping[str, Tensor], cell: Mapping[str, Tensor], ratios: Ratios) -> "SliceState":
        """After a period.

        Parameters
        ----------
        measured
            [C, K] values of COUNTERS by slice; NaN missing.
        cell
            [C] RRU.PrbTotDl, DRB.UEThpDl and RRC.ConnMean of the cell; NaN missing.
        ratios
            In force in the period.
        """
        if not self._slices:
            return self
        keep = 1 - share_per_period(_HALF_LIFE)
        now = {name: keep * value for name, value in self.tensors().items()}

        def add(name: str, value: Tensor, weight: Tensor) -> None:
            known = torch.isfinite(value) & torch.isfinite(weight) & (weight > 0)
            now[f"{name}_sum"] = now[f"{name}_sum"] + torch.where(known, value * weight, 0.0)
            now[f"{name}_weight"] = now[f"{name}_weight"] + torch.where(known, weight, 0.0)

        for name, counter in (("share", _BLOCKS), ("volume", VOLUME)):
            whole = measured[counter].sum(dim=1, keepdim=True).expand_as(measured[counter])
            add(name, measured[counter] / whole, whole / whole.nanmean().clamp_min(1e-9))
        after = replace(self, **now)
        load, users = cell["RRU.PrbTotDl"] / 100, cell["RRC.ConnMean"]
        used = load[:, None]
        blocks = measured[_BLOCKS]
        part = torch.where(blocks.isnan().any(dim=1, keepdim=True), after.share, blocks / blocks.sum(1, keepdim=True))
        got = airtime(used * part.nan_to_num(), ratios)
        free = got.free(users)
        trust = torch.where(used > _LEAST_LOAD, used.clamp_max(0.5), torch.nan).expand_as(free)
        expected = cell["DRB.UEThpDl"][:, None] * free / free_share(load, users)[:, None]
        add("speed", (measured[THROUGHPUT] / expected).log(), trust)
        add("delay", (measured[DELAY] * free / _PRIOR_DELAY).log(), trust)
        return replace(self, **now)

    def wanted(self, load: Tensor, unserved: Tensor) -> Tensor:
        """[..., C, K] airtime that slices want of cells with such load and unserved ratio ([..., C], 0..1 each).

        A full cell wants more than it has: by what it leaves unserved.
        """
        whole = load / (1 - torch.where(load > _FULL, unserved, 0.0)).clamp_min(0.05)
        return whole[..., None] * self.share.to(load)

    def extend(
        self, cells: Tensor, network: Tensor, ratios: Ratios, fitted: Ratios, blocks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Append each slice's KPIs to those of whole cells, which change where ratios are others than the fitted ones.

        Parameters
        ----------
        cells, network
            [..., M, C] and [..., M] in the order of `twin_core.kpis.KPIS`.
        ratios, fitted
            What holds, and what was in force when the cells' KPIs were fitted.
        blocks
            [..., C] resource blocks on the air.
        """
        if not self._slices:
            return cells, network
        volume, speed, delay = (t.to(cells) for t in (self.volume, self.speed, self.delay))
        load, users, unserved = cells[..., 0, :] / 100, cells[..., 3, :], cells[..., 5, :]
        wanted = self.wanted(load, unserved)
        now = airtime(wanted, ratios.to(cells))
        free = now.free(users)
        own_speed = (cells[..., 1, :] / free_share(load, users))[..., None] * speed * free
        own_delay = torch.where(load[..., None] > 0, delay / free, torch.nan)
        own_volume = cells[..., 2, :, None] * volume
        if not ratios.same_as(fitted):
            before = airtime(wanted, fitted.to(cells))
            # What wants nothing loses nothing.
            carried = torch.where(before.given > 0, now.given / before.given.clamp_min(1e-9), 1.0).clamp_max(1.0)
            own_volume = own_volume * carried
            quicker = (volume * free / before.free(users)).sum(dim=-1)
            less_load = (before.given - now.given).sum(dim=-1)
            kept = (volume * carried).sum(dim=-1)
            cells, network = _changed(cells, network, quicker, less_load, kept, blocks.to(cells))
        own = (own_speed, own_volume, own_delay)
        by_slice = torch.cat([v.movedim(-1, -2) for v in own], dim=-2)  # [..., 3 K, C]
        return torch.cat([cells, by_slice], dim=-2), torch.cat([network, _whole(*own)], dim=-1)


def _by_slice(total: Tensor, weight: Tensor) -> Tensor:
    """[C, K] means that lean on their slice's."""
    return torch.stack([pooled(total[:, k], weight[:, k], _LEAN) for k in range(total.shape[1])], dim=1)


def _changed(
    cells: Tensor, network: Tensor, quicker: Tensor, less_load: Tensor, carried: Tensor, blocks: Tensor
) -> tuple[Tensor, Tensor]:
    """KPIs of cells and network under other ratios than those they were fitted under.

    Parameters
    ----------
    quicker, less_load, carried
        [..., C] factor on throughput, load that is gone, part of the volume that is still carried.
    """
    cells, network = cells.clone(), network.clone()
    load = cells[..., 0, :] / 100
    after = (load - less_load).clamp(0, 1)
    lost = cells[..., 2, :] * (1 - carried).clamp_min(0)
    wanted = network[..., 2] / (1 - network[..., 5]).clamp_min(1e-3)
    known = torch.where(cells[..., 1, :].isnan(), 0.0, cells[..., 3, :])
    cells[..., 1, :] *= quicker
    network[..., 0] -= 100 * ((load - after) * blocks).sum(dim=-1) / blocks.sum(dim=-1).clamp_min(1)
    network[..., 1] = (cells[..., 1, :].nan_to_num() * known).sum(dim=-1) / known.sum(dim=-1)
    network[..., 2] -= lost.sum(dim=-1)
    network[..., 5] = (network[..., 5] + lost.sum(dim=-1) / wanted.clamp_min(1e-9)).clamp_max(1.0)
    cells[..., 0, :] = 100 * after
    cells[..., 5, :] = 1 - (1 - cells[..., 5, :]) * carried.clamp_max(1.0)
    cells[..., 2, :] -= lost
    return cells, network


def _whole(speed: Tensor, volume: Tensor, delay: Tensor) -> Tensor:
    """[..., 3 K] of the network: throughput and delay weighted by volume, volume summed."""

    def weighted(values: Tensor) -> Tensor:
        weight = torch.where(values.isnan(), 0.0, volume)
        return (values.nan_to_num() * weight).sum(dim=-2) / weight.sum(dim=-2)

    return torch.cat([weighted(speed), volume.sum(dim=-2), weighted(delay)], dim=-1)

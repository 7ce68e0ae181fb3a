"""Borders between cells as maps: where two contend for a pixel, how fast they change places, where links fail.

D is the target's RSRP less the source's, in dB; its change by movement is drift (`twin_core.flow.crossing`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from twin_core.flow.mobility_settings import MobilitySettings
from twin_core.grid import Grid

Tensor = torch.Tensor

SILENT_DBM = -200.0
_TINY = 1e-9
# Fluctuation in dB below which a border counts as that wide.
NARROWEST_DB = 0.1
# Pairs are left out that hold less than this part of what they would in the middle of a border that is theirs alone:
# 4 standard deviations away, or taken by third cells.
_LEAST = 1e-4


@dataclass(frozen=True, eq=False)
class Borders:
    """Pairs of cells that contend for a pixel, as a list of E; quantities are [E, 1], with room for speeds.

    Attributes
    ----------
    pixel, source, target
        [E] where, from which cell, to which.
    reverse
        [E] the same pixel's pair with source and target exchanged.
    middle, half
        Of the band in D, dB; half is negative where both sides trigger at once.
    mean, slope
        Mean D less the middle, dB; length of its gradient, dB/m.
    smear
        Standard deviation that stands for the pixel's extent, dB.
    sigma
        Standard deviation of D on the way, dB.
    fails_at, fails_width
        D above which the source's SINR is below Qout, and its standard deviation, dB.
    weak_at, weak_width
        D below which the target's SINR is below its limit.
    clear
        Probability that no third cell is in the way.
    to_source, to_third
        Where users are found who lose the target.
    """

    pixel: Tensor
    source: Tensor
    target: Tensor
    reverse: Tensor
    middle: Tensor
    half: Tensor
    mean: Tensor
    slope: Tensor
    smear: Tensor
    sigma: Tensor
    fails_at: Tensor
    fails_width: Tensor
    weak_at: Tensor
    weak_width: Tensor
    clear: Tensor
    to_source: Tensor
    to_third: Tensor


def gradient(grid: Grid, maps: Tensor) -> tuple[Tensor, Tensor]:
    """[P, N] change of maps [P, N] per metre, east and north: central differences, one-sided at the edge.

    Examples
    --------
    >>> line = Grid(10.0, 0.0, 0.0, 4, 1, np.arange(3))
    >>> [g[:, 0].tolist() for g in gradient(line, torch.tensor([[0.0], [1.0], [4.0]]))]
    [[0.10000000149011612, 0.20000000298023224, 0.30000001192092896], [0.0, 0.0, 0.0]]
    """
    place = grid.cells_of_rectangle
    table = np.full((grid.ny + 2, grid.nx + 2), -1)
    row, column = place // grid.nx + 1, place % grid.nx + 1
    table[row, column] = np.arange(len(place))

    def along(dy: int, dx: int) -> Tensor:
        ends = []
        for sign in (-1, 1):
            near = table[row + sign * dy, column + sign * dx]
            ends.append(torch.from_numpy(np.where(near < 0, np.arange(len(place)), near)).to(maps.device))
        here = torch.arange(len(place), device=maps.device)
        steps = (ends[0] != here).to(maps) + (ends[1] != here).to(maps)
        return (maps[ends[1]] - maps[ends[0]]) / (grid.spacing_m * steps.clamp_min(1))[:, None]

    return along(0, 1), along(1, 0)


def borders_of(
    rsrp: Tensor,
    grid: Grid,
    load: Tensor,
    cio_db: Tensor,
    noise_dbm: Tensor,
    settings: MobilitySettings,
    site_of: Tensor,
    co_channel: Tensor,
) -> Borders:
    """Everything about contending cells that does not depend on speed."""
    p = settings
    top = rsrp.topk(min(p.contenders, rsrp.shape[1]), dim=1)
    cell, level = top.indices, top.values
    i, j = cell[:, :, None], cell[:, None, :]
    real = (i != j) & (level > SILENT_DBM)[:, :, None] & (level > SILENT_DBM)[:, None, :]
    offset = p.a3_offset_db + p.hysteresis_db
    up, down = offset - cio_db[i, j], offset - cio_db[j, i]
    middle = (up - down) / 2
    total, difference = level[:, :, None] + level[:, None, :], level[:, None, :] - level[:, :, None]

    east, north = (g.gather(1, cell) for g in gradient(grid, rsrp))
    slope = torch.sqrt(
        (east[:, None, :] - east[:, :, None]) ** 2 + (north[:, None, :] - north[:, :, None]) ** 2 + _TINY**2
    )
    shared = torch.where(site_of[i] == site_of[j], p.sector_correlation, p.site_correlation)
    sigma = (p.shadow_db * torch.sqrt(2 * (1 - shared))).to(rsrp)

    # What disturbs each contender: all co-channel cells at their load and noise; then all but the other of the pair.
    linear = 10 ** (rsrp / 10) * load
    noise = 10 ** ((noise_dbm + p.noise_figure_db) / 10)
    disturbed = (linear @ co_channel.to(rsrp).T + noise).gather(1, cell)
    mutual = co_channel[i, j].to(rsrp)
    from_j, from_i = mutual * linear.gather(1, cell)[:, None, :], mutual * linear.gather(1, cell)[:, :, None]
    floor = noise[cell]
    at_i = torch.maximum(disturbed[:, :, None] - from_j, floor[:, :, None])
    at_j = torch.maximum(disturbed[:, None, :] - from_i, floor[:, None, :])
    fails_at, fails_width = _limit_db(total, at_i, mutual * load[j], p.qout_db, from_j, p)
    weak_at, weak_width = _limit_db(total, at_j, mutual * load[i], p.access_sinr_db, from_i, p)

    # A third cell is in the way if A3 would rather choose it, at the moment that A3 chooses the target.
    third = level[:, None, None, :] - total[..., None] / 2
    third = torch.where(_others(real, level), third, -torch.inf)
    to_third = cio_db[cell[:, :, None], cell[:, None, :]][:, :, None, :]
    ahead = offset - up[..., None] / 2 - to_third - third
    alone = torch.special.ndtr(ahead / _third_width(p)).prod(dim=-1)
    # Who loses the target goes where RSRP is highest. The sum of both being given, the better one is half of D above.
    lost_at = torch.minimum(up, weak_at)
    strongest = torch.special.ndtr((lost_at.abs()[..., None] / 2 - third) / _third_width(p)).prod(dim=-1)
    mean, smear = difference - middle, slope * grid.spacing_m / 2
    clear = (alone + alone.transpose(1, 2)) / 2
    # Where both sides trigger at once, users go to and fro all the way between the edges.
    away = (mean.abs() - ((up + down) / 2).clamp_max(0).abs()).clamp_min(0)
    width = torch.sqrt(sigma**2 + smear**2).clamp_min(NARROWEST_DB)
    kept = real & (clear * torch.exp(-((away / width) ** 2) / 2) > _LEAST)
    pixel, first, second = kept.nonzero(as_tuple=True)
    position = torch.cumsum(kept.reshape(-1), 0).view_as(kept) - 1
    return Borders(
        pixel,
        cell[pixel, first],
        cell[pixel, second],
        position[pixel, second, first],
        *(
            part[kept][:, None]
            for part in (
                middle,
                (up + down) / 2,
                mean,
                slope,
                smear,
                sigma,
                -fails_at,
                fails_width,
                weak_at,
                weak_width,
                clear,
                torch.special.ndtr(-lost_at / weak_width) * strongest,
                1 - strongest,
            )
        ),
    )


def _others(real: Tensor, level: Tensor) -> Tensor:
    """[P, K, K, K] which cells are neither of the pair, and on air."""
    k = torch.arange(level.shape[1], device=level.device)
    neither = (k != k[:, None])[:, None, :] & (k != k[:, None])[None, :, :]
    return neither & (level > SILENT_DBM)[:, None, None, :] & real[..., None]


def _third_width(settings: MobilitySettings) -> float:
    """Standard deviation of a third cell against the mean of the pair, dB."""
    return math.sqrt(1.5 * settings.shadow_db**2 * (1 - settings.site_correlation) + settings.sinr_spread_db**2)


def _limit_db(
    total: Tensor, others: Tensor, rival_load: Tensor, limit_db: float, rival: Tensor, settings: MobilitySettings
) -> tuple[Tensor, Tensor]:
    """[P, K, K] lead of a cell over its rival at which its SINR meets a limit, and the standard deviation of that, dB.

    With A = 10^(sum of both in dB / 20) and y = 10^(lead / 20), signal and rival are A y and A / y, so that the limit
    q = A y / (others + load A / y) is a quadratic in y.
    """
    q = 10 ** (limit_db / 10)
    noise = others * 10 ** (-total / 20)
    y = (q * noise + torch.sqrt((q * noise) ** 2 + 4 * q * rival_load)) / 2
    share = (rival / (rival + others)).clamp(0, 1)
    common = settings.shadow_db**2 * (1 - settings.site_correlation) * (1 - share) ** 2
    # SINR changes by half of (1 + share) dB per dB of D.
    width = 2 * torch.sqrt(common + settings.sinr_spread_db**2) / (1 + share)
    return 20 * torch.log10(y), width

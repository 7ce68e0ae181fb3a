"""Which cell serves a pixel's users: event A3 with cell individual offset, seen as a boundary between cells.

Event A3 (TS 38.331 5.5.4.4) moves a user from p to n when Mn + CIO(p, n) - Hys > Mp + Off for the time to trigger.
Between the two thresholds (p to n, and n back to p) a user stays where it came from, so on average the boundary lies in
their middle: at Mn - Mp = (CIO(n, p) - CIO(p, n)) / 2, whatever hysteresis and offset are. Hysteresis, time to
trigger, movement, shadowing within a pixel and measurement noise make it soft: the share of a cell falls logistically
with its distance from the boundary, over `softness_db`, which is fitted to who served the users that sent measurement
reports.
"""

import math
from dataclasses import dataclass

import torch

from twin_core.settings import PhysicsSettings

# Shares below this are given to the pixel's other cells: they cost links and move nothing.
_SMALLEST_SHARE = 0.01
_COVERAGE_SOFTNESS_DB = 2.0


@dataclass(frozen=True, eq=False)
class Attachment:
    """Who serves whom, as a list of links E between pixels and cells, ordered by cell.

    Of N configurations that share the links (`attach_many`) what is [E] or [P] here is [E, N] or [P, N]; a link that
    one of them does not use has no share there.

    Attributes
    ----------
    pixel, cell
        [E] ends of each link.
    share
        [E] of the pixel's users that the cell serves; sums to 1 over the links of a pixel.
    covered
        [P] share of the pixel's users that find any cell.
    lead_db
        [E] by how much the cell is ahead of its best rival at the pixel, offsets counted in.
    usual_lead_db
        [E] the same under the configuration from which the environment was learned.
    """

    pixel: torch.Tensor
    cell: torch.Tensor
    share: torch.Tensor
    covered: torch.Tensor
    lead_db: torch.Tensor
    usual_lead_db: torch.Tensor

    def dense(self, cells: int) -> torch.Tensor:
        """[P, C] shares."""
        out = self.share.new_zeros(len(self.covered), cells)
        out[self.pixel, self.cell] = self.share
        return out

    def per_cell(self, per_pixel: torch.Tensor, cells: int) -> torch.Tensor:
        """[C] sum of a pixel quantity [P] over the users that a cell serves, coverage not counted."""
        return per_pixel.new_zeros(cells).index_add_(0, self.cell, per_pixel[self.pixel] * self.share)


def boundary_shift_db(cio_db: torch.Tensor) -> torch.Tensor:
    """[..., C, C] by how much the boundary between a serving cell (row) and a neighbour (column) moves to the former.

    Examples
    --------
    >>> boundary_shift_db(torch.tensor([[0.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.0, 2.0], [-2.0, 0.0]]
    """
    return (cio_db - cio_db.mT) / 2


def contenders(
    rsrp: torch.Tensor, cio_db: torch.Tensor, on_air: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Strongest cells of each place and their margins with the boundary shifts counted in.

    Parameters
    ----------
    rsrp
        [N, C] dBm.
    cio_db
        [C, C] offsets, serving cell first.
    on_air
        [C] which cells can serve.
    count
        How many cells a place may have (K).

    Returns
    -------
    tuple
        [N, K] cells and [N, K] margins in dB; -inf where fewer cells are on air.
    """
    audible = torch.where(on_air, rsrp, -torch.inf)
    best = audible.argmax(dim=1)
    margin = audible + boundary_shift_db(cio_db)[best]
    top = margin.topk(min(count, rsrp.shape[1]), dim=1)
    return top.indices, top.values


def lead_db(margins: torch.Tensor) -> torch.Tensor:
    """[N, K, ...] by how much each contender is ahead of the best other one.

    It is inf where there is no other, and -inf of what is off the air.

    Examples
    --------
    >>> lead_db(torch.tensor([[0.0, -3.0, -5.0]])).tolist()
    [[3.0, -3.0, -5.0]]
    """
    if margins.shape[1] == 1:
        return torch.full_like(margins, torch.inf)
    best = margins.topk(2, dim=1).values
    rival = torch.where(margins == best[:, :1], best[:, 1:], best[:, :1])
    return torch.where(margins.isfinite(), margins - rival, -torch.inf)


def attach_many(
    rsrp: torch.Tensor,
    power_db: torch.Tensor,
    cio_db: torch.Tensor | None,
    softness_db: float,
    settings: PhysicsSettings,
    usual_rsrp: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> Attachment:
    """Share every pixel among its cells under many configurations with the same gains, as `attach` does under one.

    Only cells that can hold a share in some configuration are looked at: those within reach of the best one at its
    weakest. Where that is one cell alone, it serves.

    Parameters
    ----------
    rsrp
        [P, C] dBm.
    power_db
        [C, N] power of each configuration against that of `rsrp`; -inf of cells off the air.
    cio_db
        [N, C, C] cell individual offsets; None where all are 0.
    softness_db, settings
        As for `attach`.
    usual_rsrp
        [P, C] dBm of the configuration from which the environment was learned; leads are found only if it is given.
    dtype
        Of the shares.
    """
    shift = None if cio_db is None else boundary_shift_db(cio_db)
    window = -math.log(_SMALLEST_SHARE) * softness_db + (0.0 if shift is None else 2 * float(shift.abs().max()))
    level = rsrp.to(dtype)
    power = power_db.to(dtype)
    possible = level + power.amax(dim=1)
    sure = (level + power.amin(dim=1)).amax(dim=1)
    rivals = (possible >= sure[:, None] - window).sum(dim=1)
    count = min(max(2, int(rivals.amax())), rsrp.shape[1])
    top = possible.topk(count, dim=1).indices
    base = level.gather(1, top)
    first = base[:, :1] + power.index_select(0, top[:, 0])  # [P, N], of the likeliest cell
    contested = rivals > 1
    # Pixels with one cell alone first, then those that several may serve.
    cells = top[contested]
    margin = base[contested][:, :, None] + power[cells]  # [P', K, N]
    if len(margin):
        best = margin.max(dim=1)
        first[contested] = best.values
        if shift is not None:
            leader = cells.gather(1, best.indices)  # [P', N]
            rows = torch.arange(power.shape[1])
            margin = margin + shift.to(dtype)[rows, leader[:, None, :], cells[:, :, None]]
    covered = torch.sigmoid((first - settings.coverage_dbm) / _COVERAGE_SOFTNESS_DB)
    lone = torch.nonzero(~contested)[:, 0]
    shared = _shares(margin, softness_db, settings.candidates)
    kept = (shared > 0).any(dim=2)
    pixel = torch.cat([lone, torch.nonzero(contested)[:, 0][torch.nonzero(kept)[:, 0]]])
    cell = torch.cat([top[lone, 0], cells[kept]])
    # With all of its cells off the air a pixel is served by none.
    share = torch.cat([first[lone].isfinite().to(dtype), shared[kept]])
    order = torch.argsort(cell * len(rsrp) + pixel)
    lead = usual = share.new_zeros(())
    if usual_rsrp is not None:
        everywhere = base[:, :, None] + power[top]
        everywhere[contested] = margin
        away = usual_rsrp.to(dtype).gather(1, top)[:, :, None] - base[:, :, None] - power[top]
        lead, usual = (
            torch.cat([led[lone, 0], led[contested][kept]])[order]
            for led in (
                lead_db(everywhere),
                lead_db(torch.where(everywhere.isfinite(), everywhere + away, -torch.inf)),
            )
        )
    return Attachment(pixel[order], cell[order], share[order], covered, lead, usual)


def _shares(margin: torch.Tensor, softness_db: float, candidates: int) -> torch.Tensor:
    """[P, K, N] shares of contenders by their margins, no more than `candidates` of them and none too small."""
    if margin.shape[1] > candidates:
        near = margin > margin.amax(dim=1, keepdim=True) + math.log(_SMALLEST_SHARE) * softness_db
        crowded = near.sum(dim=1).amax(dim=1) > candidates
        some = margin[crowded]
        last = some.topk(candidates, dim=1).values[:, -1:]
        margin[crowded] = torch.where(some >= last, some, -torch.inf)
    share = torch.softmax(margin / softness_db, dim=1).nan_to_num_(0.0)
    share.mul_(share >= _SMALLEST_SHARE)
    return share.div_(share.sum(dim=1, keepdim=True).clamp_min_(1e-30))


def attach(
    rsrp: torch.Tensor,
    cio_db: torch.Tensor,
    on_air: torch.Tensor,
    softness_db: float,
    settings: PhysicsSettings,
    usual_rsrp: torch.Tensor | None = None,
) -> Attachment:
    """Share every pixel among its cells.

    Parameters
    ----------
    rsrp
        [P, C] dBm.
    cio_db
        [C, C] cell individual offsets.
    on_air
        [C] cells that transmit; with none there are no links and no coverage.
    softness_db
        Width of the boundary.
    settings
        Number of candidates and the edge of coverage.
    usual_rsrp
        [P, C] dBm under the configuration from which the environment was learned, where that is another one.

    Examples
    --------
    >>> rsrp, none = torch.tensor([[-80.0, -83.0]]), torch.zeros(2, 2)
    >>> attach(rsrp, none, torch.tensor([True, True]), 2.0, PhysicsSettings()).share.round(decimals=2).tolist()
    [0.8199999928474426, 0.18000000715255737]
    >>> attach(rsrp, none, torch.tensor([False, True]), 2.0, PhysicsSettings()).cell.tolist()
    [1]
    """
    if not bool(on_air.any()):
        none = torch.zeros(0, dtype=torch.long)
        return Attachment(
            none, none, rsrp.new_zeros(0), rsrp.new_zeros(len(rsrp)), rsrp.new_zeros(0), rsrp.new_zeros(0)
        )
    cells, margin = contenders(rsrp, cio_db, on_air, settings.candidates)
    share = torch.softmax(margin / softness_db, dim=1)
    share = torch.where(share < _SMALLEST_SHARE, 0.0, share)
    share = share / share.sum(dim=1, keepdim=True)
    strongest = torch.where(on_air, rsrp, -torch.inf).max(dim=1).values
    covered = torch.sigmoid((strongest - settings.coverage_dbm) / _COVERAGE_SOFTNESS_DB)
    kept = share > 0
    order = torch.argsort(cells[kept], stable=True)
    lead = lead_db(margin)[kept][order]
    usual = lead
    if usual_rsrp is not None:
        usual = lead_db(margin + (usual_rsrp - rsrp).gather(1, cells))[kept][order]
    pixel = torch.nonzero(kept)[:, 0][order]
    return Attachment(pixel, cells[kept][order], share[kept][order], covered, lead, usual)

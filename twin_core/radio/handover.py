"""Which cell serves a pixel's users: event A3 with cell individual offset, seen as a boundary between cells.

Event A3 (TS 38.331 5.5.4.4) moves a user from p to n when Mn + CIO(p, n) - Hys > Mp + Off for the time to trigger.
Between the two thresholds (p to n, and n back to p) a user stays where it came from, so on average the boundary lies in
their middle: at Mn - Mp = (CIO(n, p) - CIO(p, n)) / 2, whatever hysteresis and offset are. Hysteresis, time to
trigger, movement, shadowing within a pixel and measurement noise make it soft: the share of a cell falls logistically
with its distance from the boundary, over `softness_db`, which is fitted to who served the users that sent measurement
reports.
"""

from dataclasses import dataclass

import torch

from twin_core.settings import PhysicsSettings

# Shares below this are given to the pixel's other cells: they cost links and move nothing.
_SMALLEST_SHARE = 0.01
_COVERAGE_SOFTNESS_DB = 2.0


@dataclass(frozen=True, eq=False)
class Attachment:
    """Who serves whom, as a list of links E between pixels and cells, ordered by cell.

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
    """[C, C] by how much the boundary between a serving cell (row) and a neighbour (column) moves towards the former.

    Examples
    --------
    >>> boundary_shift_db(torch.tensor([[0.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.0, 2.0], [-2.0, 0.0]]
    """
    return (cio_db - cio_db.T) / 2


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
    """[N, K] by how much each contender is ahead of the best other one; inf where there is no other.

    Examples
    --------
    >>> lead_db(torch.tensor([[0.0, -3.0, -5.0]])).tolist()
    [[3.0, -3.0, -5.0]]
    """
    if margins.shape[1] == 1:
        return torch.full_like(margins, torch.inf)
    best = margins.topk(2, dim=1).values
    rival = torch.where(margins == best[:, :1], best[:, 1:], best[:, :1])
    return margins - rival


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

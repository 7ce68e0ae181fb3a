"""What all cells together add at many links, for many loads at once, at a cost that goes with the links that matter.

A small network is one matrix product. In a large one a cell is heard by few: links, which stand in the order of their
cells, are cut into tiles that share a neighbourhood. Of each tile the loudest cells are kept one by one for each link;
its other cells, each hardly audible, are taken together at the mean of what the network sends. So cost grows with the
links that matter, and stays matrix products.
"""

from dataclasses import dataclass

import torch

Tensor = torch.Tensor

TILE = 64  # links that share a neighbourhood: several cells' worth, so that products are large enough to be fast


@dataclass(frozen=True, eq=False)
class Interference:
    """Gains from cells to links, linear; [E, C] dense, or in G tiles of U links and K cells.

    Attributes
    ----------
    gain
        [E, C], or [G, U, K].
    cells
        [G * K] cells of each tile; None where dense.
    rest
        [E, 1] gains of the cells that were left out, added up; None where dense.
    links
        E.
    """

    gain: Tensor
    cells: Tensor | None
    rest: Tensor | None
    links: int

    @classmethod
    def of(cls, gain: Tensor, reach: int) -> "Interference":
        """From all gains.

        Parameters
        ----------
        gain
            [E, C] relative to noise, 0 where a cell does not disturb; links of a cell stand together.
        reach
            How many cells are kept one by one; a network of no more than so many is kept whole.
        """
        links, cells = gain.shape
        if cells <= reach:
            return cls(gain.contiguous(), None, None, links)
        tiles = -(-links // TILE)
        padded = torch.nn.functional.pad(gain, (0, 0, 0, tiles * TILE - links)).view(tiles, TILE, cells)
        # Loud is what makes much of some link's interference and noise: no link of a tile is forgotten for another.
        share = padded / (1 + padded.sum(dim=2, keepdim=True))
        kept = share.amax(dim=1).topk(reach, dim=1).indices
        near = padded.gather(2, kept[:, None, :].expand(-1, TILE, -1)).contiguous()
        rest = (padded.sum(dim=2) - near.sum(dim=2)).clamp_min(0).view(-1, 1)[:links]
        return cls(near, kept.reshape(-1), rest.contiguous(), links)

    def at(self, sending: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """[E, N] interference when cells send so much of their power ([C, N]).

        Parameters
        ----------
        sending
            [C, N] linear.
        first, last
            Some links only; the first is the first of a tile.

        Examples
        --------
        >>> gain = torch.tensor([[0.0, 2.0, 1.0]])
        >>> Interference.of(gain, reach=3).at(torch.tensor([[1.0], [0.5], [1.0]])).tolist()
        [[2.0]]
        """
        last = self.links if last is None else min(last, self.links)
        if self.cells is None or self.rest is None:
            return self.gain[first:last] @ sending
        tiles = slice(first // TILE, -(-last // TILE))
        gain = self.gain[tiles]
        count, _, kept = gain.shape
        cells = self.cells[tiles.start * kept : tiles.stop * kept]
        near = torch.bmm(gain, sending.index_select(0, cells).view(count, kept, -1))
        out = near.view(count * TILE, -1)[: last - first]
        return out.addmm_(self.rest[first:last], sending.mean(dim=0, keepdim=True))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Interference":
        """On another device, in another precision."""
        if self.cells is None or self.rest is None:
            return Interference(self.gain.to(device, dtype).contiguous(), None, None, self.links)
        gain, rest = (t.to(device, dtype).contiguous() for t in (self.gain, self.rest))
        return Interference(gain, self.cells.to(device), rest, self.links)

"""The area of the twin: square pixels around the sites."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from twin_core.exceptions import EmptyNetwork

_LONE_SITE_REACH_M = 500.0


@dataclass(frozen=True, eq=False)
class Grid:
    """Square pixels whose centres lie within reach of a site.

    Attributes
    ----------
    spacing_m
        Side of a pixel.
    x0_m, y0_m
        Centre of the rectangle's south-western pixel.
    nx, ny
        Size of the rectangle that the pixels lie in.
    cells_of_rectangle
        [P] flat index (row-major, y first) of each pixel in the rectangle.
    """

    spacing_m: float
    x0_m: float
    y0_m: float
    nx: int
    ny: int
    cells_of_rectangle: NDArray[np.int64]

    @classmethod
    def around(
        cls,
        x_m: NDArray[np.float64],
        y_m: NDArray[np.float64],
        pixels_per_isd: int,
        images_m: Sequence[tuple[float, float]] = (),
    ) -> "Grid":
        """Lay a grid around sites: reach 0.8 and pixels 1/pixels_per_isd of the median distance between neighbours.

        Where the network repeats (`images_m`), pixels nearer to an image of a site than to any site are left out.

        Raises
        ------
        EmptyNetwork
            If there is no site.

        Examples
        --------
        >>> grid = Grid.around(np.array([0.0, 500.0]), np.array([0.0, 0.0]), 10)
        >>> grid.spacing_m, grid.pixels
        (50.0, 343)
        """
        if len(x_m) == 0:
            raise EmptyNetwork("no site to lay a grid around; give a topology with at least one cell")
        sites = np.unique(np.stack([x_m, y_m], axis=1).round(3), axis=0)
        isd = _LONE_SITE_REACH_M
        images = (sites[None] + np.array(images_m).reshape(-1, 1, 2)).reshape(-1, 2)
        if len(sites) > 1 or len(images):
            others = np.concatenate([sites, images])
            distance = np.hypot(*(sites[:, None] - others[None]).transpose(2, 0, 1))
            np.fill_diagonal(distance, np.inf)
            isd = float(np.clip(np.median(distance.min(axis=1)), 100, 5000))
        reach, spacing = 0.8 * isd, isd / pixels_per_isd
        low, high = sites.min(axis=0) - reach, sites.max(axis=0) + reach
        nx, ny = (int(n) for n in np.ceil((high - low) / spacing).astype(int) + 1)
        px = low[0] + spacing * np.arange(nx)
        py = low[1] + spacing * np.arange(ny)
        near = np.full((ny, nx), np.inf)
        for sx, sy in sites:
            near = np.minimum(near, (px[None] - sx) ** 2 + (py[:, None] - sy) ** 2)
        own = near <= reach**2
        for sx, sy in images:
            own &= near <= (px[None] - sx) ** 2 + (py[:, None] - sy) ** 2
        inside = np.flatnonzero(own)
        return cls(spacing, float(low[0]), float(low[1]), nx, ny, inside)

    @property
    def pixels(self) -> int:
        """How many pixels there are (P)."""
        return len(self.cells_of_rectangle)

    @cached_property
    def x_m(self) -> torch.Tensor:
        """[P] metres east of the network's origin."""
        return torch.from_numpy(self.x0_m + self.spacing_m * (self.cells_of_rectangle % self.nx).astype(np.float64))

    @cached_property
    def y_m(self) -> torch.Tensor:
        """[P] metres north of the network's origin."""
        return torch.from_numpy(self.y0_m + self.spacing_m * (self.cells_of_rectangle // self.nx).astype(np.float64))

    @cached_property
    def _nearest(self) -> NDArray[np.int64]:
        """[ny * nx] the pixel nearest to each place of the rectangle."""
        table = np.empty(self.nx * self.ny, dtype=np.int64)
        table[self.cells_of_rectangle] = np.arange(self.pixels)
        outside = np.setdiff1d(np.arange(self.nx * self.ny), self.cells_of_rectangle)
        mine = np.stack([self.cells_of_rectangle % self.nx, self.cells_of_rectangle // self.nx])
        for chunk in np.array_split(outside, max(1, len(outside) // 256)):
            theirs = np.stack([chunk % self.nx, chunk // self.nx])
            table[chunk] = ((theirs[:, :, None] - mine[:, None, :]) ** 2).sum(axis=0).argmin(axis=1)
        return table

    def pixel_of(self, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.int64]:
        """[N] the pixel nearest to each finite place."""
        ix = np.clip(np.rint((x_m - self.x0_m) / self.spacing_m), 0, self.nx - 1).astype(np.int64)
        iy = np.clip(np.rint((y_m - self.y0_m) / self.spacing_m), 0, self.ny - 1).astype(np.int64)
        found: NDArray[np.int64] = self._nearest[iy * self.nx + ix]
        return found

    def smooth(self, values: torch.Tensor, length_m: float) -> torch.Tensor:
        """Convolve maps with exp(-(|dx| + |dy|) / length), whose value at distance 0 is 1.

        The kernel is separable, so the cost is P * (nx + ny) rather than P squared.

        Parameters
        ----------
        values
            [P] or [P, N] one or more maps.
        length_m
            Distance over which the weight falls to 1/e.
        """
        maps = values.reshape(self.pixels, -1)
        rectangle = maps.new_zeros(self.ny * self.nx, maps.shape[1])
        inside = torch.from_numpy(self.cells_of_rectangle)
        rectangle[inside] = maps
        kx = _kernel(self.nx, self.spacing_m / length_m).to(maps.dtype)
        ky = _kernel(self.ny, self.spacing_m / length_m).to(maps.dtype)
        rows = torch.matmul(ky, rectangle.reshape(self.ny, -1)).reshape(self.ny, self.nx, -1)
        out = torch.matmul(kx, rows).reshape(self.ny * self.nx, -1)[inside]
        return out.reshape(values.shape)


def _kernel(n: int, step: float) -> torch.Tensor:
    i = torch.arange(n, dtype=torch.float64)
    return torch.exp(-step * (i[:, None] - i[None]).abs())


@dataclass(frozen=True, eq=False)
class Places:
    """Given places in the role of a grid's pixels: users of a drop, say. What is learned at one says nothing of others.

    Attributes
    ----------
    x_m, y_m
        [P] metres east and north.
    """

    x_m: torch.Tensor
    y_m: torch.Tensor

    @property
    def pixels(self) -> int:
        """How many places there are (P)."""
        return len(self.x_m)

    def smooth(self, values: torch.Tensor, length_m: float) -> torch.Tensor:
        """The values as they are."""
        return values

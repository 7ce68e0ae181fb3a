"""Correlated shadowing: a map for each site, shared by its sectors, whose correlation falls as exp(-d / dcor).

TR 38.901 clause 7.4.4: shadowing of one place towards the cells of a site is the same; towards different sites it is
independent (a correlation between sites, 0.5 in TR 36.814, may be asked for). A map is a sum of plane waves with random
phases: wave vectors drawn from the spectrum of exp(-d / dcor), which in the plane is a Cauchy distribution, make a
field of exactly that correlation on average, and a normal one as the waves are many. So it has a value everywhere, at a
cost that goes with the number of places, and no grid.
"""

from math import pi, sqrt

import torch

Tensor = torch.Tensor

_WAVES = 400  # correlation is off by no more than about 1 / sqrt(waves) in one map
_CHUNK = 4096  # places at once


def maps(x_m: Tensor, y_m: Tensor, count: int, correlation_m: float, random: torch.Generator) -> Tensor:
    """[P, count] independent maps of variance 1 at places x_m, y_m ([P]).

    Examples
    --------
    >>> there = torch.zeros(2, dtype=torch.float64), torch.tensor([0.0, 1e-9], dtype=torch.float64)
    >>> two = maps(*there, 3, 50.0, torch.Generator().manual_seed(1))
    >>> tuple(two.shape), bool((two[0] - two[1]).abs().max() < 1e-6)
    ((2, 3), True)
    """
    # Multivariate Cauchy with scale 1 / dcor: a normal vector over the square root of a chi-squared number.
    normal = torch.randn(2, _WAVES, count, generator=random, dtype=torch.float64)
    stretch = torch.randn(_WAVES, count, generator=random, dtype=torch.float64).abs()
    kx, ky = normal / stretch / correlation_m
    phase = 2 * pi * torch.rand(_WAVES, count, generator=random, dtype=torch.float64)
    out = torch.empty(len(x_m), count, dtype=torch.float64)
    for start in range(0, len(x_m), _CHUNK):
        here = slice(start, start + _CHUNK)
        for n in range(count):  # one map at a time bounds the memory
            angle = torch.outer(x_m[here], kx[:, n]).add_(torch.outer(y_m[here], ky[:, n])).add_(phase[:, n])
            out[here, n] = angle.cos_().sum(dim=1)
    return out * sqrt(2 / _WAVES)


def shadowing_db(
    x_m: Tensor,
    y_m: Tensor,
    site_of_cell: Tensor,
    spread_db: Tensor,
    correlation_m: float,
    random: torch.Generator,
    between_sites: float = 0.0,
) -> Tensor:
    """Shadowing of every link, dB.

    Parameters
    ----------
    x_m, y_m
        [P] places.
    site_of_cell
        [C] index of each cell's site, from 0.
    spread_db
        [C] or [P, C] standard deviation.
    correlation_m
        Distance over which correlation falls to 1/e.
    between_sites
        Correlation of different sites at one place, 0..1.

    Returns
    -------
    Tensor
        [P, C]; cells of one site and the same spread have the same values.
    """
    sites = int(site_of_cell.max()) + 1 if len(site_of_cell) else 0
    own = maps(x_m, y_m, sites, correlation_m, random)
    if between_sites > 0:
        common = maps(x_m, y_m, 1, correlation_m, random)
        own = sqrt(between_sites) * common + sqrt(1 - between_sites) * own
    return own[:, site_of_cell] * spread_db

"""Diffraction over edges, ITU-R P.526-15: the single knife edge (§4.1) and Bullington's construction (§4.5.1).

Heights are taken perpendicular to the straight line between the two ends and distances along it, so that the
formulas hold for steep paths too; on a level path that is the height above the line and the distance on the ground.
Bullington's construction is the actual-profile part of the complete method of §4.5.2 (delta-Bullington); that
method's other part, a smooth spherical earth, is nil at the few kilometres a cell reaches and is left out.
"""

import torch

Tensor = torch.Tensor

SPEED_OF_LIGHT_M_GHZ = 0.299792458
# Below this an edge is clear of the zone that matters and costs nothing (P.526-15 Eq. 31).
CLEAR_NU = -0.78


def wavelength_m(fc_ghz: Tensor) -> Tensor:
    """Wavelength, metres."""
    return SPEED_OF_LIGHT_M_GHZ / fc_ghz


def knife_edge_db(nu: Tensor) -> Tensor:
    """Loss J(nu) over a single knife edge, P.526-15 Eq. 31 (approximation of the Fresnel integrals), dB.

    Parameters
    ----------
    nu
        Diffraction parameter, any shape; 0 where the edge touches the line, negative where it stays below.

    Examples
    --------
    >>> [round(float(knife_edge_db(torch.tensor(nu))), 2) for nu in (-0.78, 0.0, 1.0)]
    [0.0, 6.03, 13.93]
    """
    x = nu.clamp_min(CLEAR_NU) - 0.1
    loss = 6.9 + 20 * torch.log10(torch.sqrt(x**2 + 1) + x)
    return torch.where(nu > CLEAR_NU, loss, torch.zeros_like(loss)).clamp_min(0)


def knife_edge_nu(above_m: Tensor, first_m: Tensor, second_m: Tensor, wavelength_m: Tensor) -> Tensor:
    """Diffraction parameter of one edge, P.526-15 Eq. 26.

    Parameters
    ----------
    above_m
        Top of the edge above the straight line, negative below it.
    first_m, second_m
        From the two ends to the edge.
    """
    return above_m * torch.sqrt(2 / wavelength_m * (1 / first_m + 1 / second_m))


def equivalent_edge(path: Tensor, above_m: Tensor, first_m: Tensor, second_m: Tensor, paths: int) -> Tensor:
    """Bullington's equivalent edge of each path (§4.5.1), as its parameter at a wavelength of 1 m.

    Where no edge rises above the line it is the edge of the largest parameter. Else it stands where the steepest
    lines from the two ends to any edge meet. With slopes a and b of those lines against the straight one that point
    is a b d / (a + b) above it, at b d / (a + b) from the first end, so that Eq. 26 becomes nu² = 2 a b d / wavelength.

    Parameters
    ----------
    path
        [N] which path each edge stands on, 0 to paths - 1.
    above_m, first_m, second_m
        [N] as of `knife_edge_nu`.
    paths
        How many paths there are.

    Returns
    -------
    Tensor
        [paths] nu times the square root of the wavelength in metres; minus infinity on a path without edges.
    """
    parts = torch.stack(
        [above_m / first_m, above_m / second_m, knife_edge_nu(above_m, first_m, second_m, above_m.new_ones(()))]
    )
    nothing = torch.full((3, paths), -torch.inf, dtype=above_m.dtype)
    from_first, from_second, highest = nothing.scatter_reduce(1, path.expand_as(parts), parts, "amax")
    length = above_m.new_zeros(paths).scatter_reduce(0, path, first_m + second_m, "amax")
    blocked = from_first > 0
    crossing = torch.sqrt(2 * length * from_first.clamp_min(0) * from_second.clamp_min(0))
    return torch.where(blocked, crossing, highest)


def bullington_db(nu: Tensor, length_m: Tensor) -> Tensor:
    """Loss over the equivalent edge with the Recommendation's term for what one edge leaves out (§4.5.1), dB.

    L = J + (1 - exp(-J / 6)) (10 + 0.02 d), d in kilometres. The term, up to 10 dB in the shadow, stands for the
    further edges of a path: of a flat roof two, of a street of houses many.

    Parameters
    ----------
    nu
        Parameter of the equivalent edge.
    length_m
        Length of the path.
    """
    edge = knife_edge_db(nu)
    return edge + (1 - torch.exp(-edge / 6)) * (10 + 0.02 * length_m / 1000)

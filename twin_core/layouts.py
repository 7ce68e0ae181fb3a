"""Regular layouts: three-sector sites on a hexagonal grid, with or without an edge."""

from collections.abc import Sequence
from math import cos, hypot, pi, sin, sqrt

from schemas.names import cell_dn
from schemas.topology import CellSite, Topology
from twin_core.exceptions import EmptyNetwork


def hexagonal(
    sites: int = 7,
    isd_m: float = 500.0,
    network_id: str = "example",
    height_m: float = 25.0,
    prbs: int = 51,
    carriers_ghz: Sequence[float] = (3.5,),
    *,
    wraparound: bool = False,
) -> Topology:
    """Three-sector sites on a hexagonal grid, filled from the centre outwards.

    Parameters
    ----------
    sites
        7 gives 21 cells on each carrier, 19 gives 57.
    isd_m
        Distance between neighbouring sites.
    carriers_ghz
        One cell for each at every sector.
    wraparound
        Repeat the layout without end, so that no cell lies at an edge; of whole rings only (1, 7, 19, 37 … sites).

    Raises
    ------
    EmptyNetwork
        If no site or no carrier is asked for, or the sites cannot be repeated without gaps.

    Examples
    --------
    >>> topology = hexagonal(sites=7)
    >>> topology.cell_names[4]
    'SubNetwork=1,ManagedElement=gnb2,GNBDUFunction=1,NRCellDU=2'
    """
    if sites < 1 or not carriers_ghz:
        raise EmptyNetwork("a network needs at least one site and one carrier")
    reach = 1
    while 3 * reach * (reach + 1) + 1 < sites:
        reach += 1
    if wraparound and 3 * reach * (reach + 1) + 1 != sites and sites > 1:
        raise EmptyNetwork(f"{sites} sites are no whole rings and leave gaps when repeated; take 1, 7, 19, 37, 61, …")
    spots = [
        (isd_m * (q + r / 2), isd_m * r * sqrt(3) / 2)
        for q in range(-reach, reach + 1)
        for r in range(-reach, reach + 1)
        if abs(q + r) <= reach
    ]
    spots.sort(key=lambda p: (round(hypot(*p), 3), round((1 - p[0] / (hypot(*p) or 1)) * (1 if p[1] >= 0 else -1), 3)))
    cells = [
        CellSite(
            cell=cell_dn(f"SubNetwork=1,ManagedElement=gnb{s + 1}", 3 * f + k + 1),
            x_m=x,
            y_m=y,
            height_m=height_m,
            azimuth_deg=30.0 + 120 * k,
            carrier_ghz=carrier,
            prbs=prbs,
            max_tx_power_mw=40_000,
        )
        for s, (x, y) in enumerate(spots[:sites])
        for f, carrier in enumerate(carriers_ghz)
        for k in range(3)
    ]
    images = _images(0 if sites == 1 else reach, isd_m) if wraparound else ()
    return Topology(network_id=network_id, cells=tuple(cells), images_m=images)


def _images(reach: int, isd_m: float) -> tuple[tuple[float, float], ...]:
    """The six translations that lay a cluster of so many rings beside itself."""
    # From site (0, 0) to its image, in steps along the grid's axes at 0 and 60 degrees.
    a, b = 2 * reach + 1, -reach
    x, y = isd_m * (a + b / 2), isd_m * b * sqrt(3) / 2
    turns = (k * pi / 3 for k in range(6))
    return tuple((x * cos(t) - y * sin(t), x * sin(t) + y * cos(t)) for t in turns)

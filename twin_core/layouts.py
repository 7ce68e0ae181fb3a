"""Regular layouts for examples and tests."""

from math import hypot, sqrt

from schemas.names import cell_dn
from schemas.topology import CellSite, Topology
from twin_core.exceptions import EmptyNetwork


def hexagonal(
    sites: int = 7, isd_m: float = 500.0, network_id: str = "example", height_m: float = 25.0, prbs: int = 51
) -> Topology:
    """Three-sector sites on a hexagonal grid, filled from the centre outwards.

    Parameters
    ----------
    sites
        7 gives 21 cells, 19 gives 57.
    isd_m
        Distance between neighbouring sites.

    Raises
    ------
    EmptyNetwork
        If no site is asked for.

    Examples
    --------
    >>> topology = hexagonal(sites=7)
    >>> topology.cell_names[4]
    'SubNetwork=1,ManagedElement=gnb2,GNBDUFunction=1,NRCellDU=2'
    """
    if sites < 1:
        raise EmptyNetwork("a network needs at least one site")
    reach = 1
    while 3 * reach * (reach + 1) + 1 < sites:
        reach += 1
    spots = [
        (isd_m * (q + r / 2), isd_m * r * sqrt(3) / 2)
        for q in range(-reach, reach + 1)
        for r in range(-reach, reach + 1)
        if abs(q + r) <= reach
    ]
    spots.sort(key=lambda p: (round(hypot(*p), 3), round((1 - p[0] / (hypot(*p) or 1)) * (1 if p[1] >= 0 else -1), 3)))
    cells = [
        CellSite(
            cell=cell_dn(f"SubNetwork=1,ManagedElement=gnb{s + 1}", k + 1),
            x_m=x,
            y_m=y,
            height_m=height_m,
            azimuth_deg=30.0 + 120 * k,
            carrier_ghz=3.5,
            prbs=prbs,
            max_tx_power_mw=40_000,
        )
        for s, (x, y) in enumerate(spots[:sites])
        for k in range(3)
    ]
    return Topology(network_id=network_id, cells=tuple(cells))

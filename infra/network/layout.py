"""Hexagonal sites of three sectors, and their names."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.network.arrays import Flags, Floats
from infra.network.draws import Draws, Purpose, entities
from infra.network.parameters import Parameters
from infra.network.slices import SLICES
from schemas.names import cell_dn, relation_dn
from schemas.topology import CellSite, Topology

SECTORS = 3
# The place of the sites belongs to the network, not to a run: their heights come from this seed.
_BUILDING_SEED = 21


def hexagon(sites: int, isd_m: float) -> Floats:
    """[sites, 2] positions of a site and its rings of neighbours, metres; the centre first, then by angle."""
    rings = {7: 1, 19: 2}[sites]
    points = [
        (ring, q + r / 2, r * np.sqrt(3) / 2)
        for q in range(-rings, rings + 1)
        for r in range(-rings, rings + 1)
        if (ring := max(abs(q), abs(r), abs(q + r))) <= rings
    ]
    points.sort(key=lambda p: (p[0], round(float(np.arctan2(p[2], p[1])), 9)))
    return np.array([(x * isd_m, y * isd_m) for _, x, y in points])


@dataclass(frozen=True)
class Sites:
    """Geometry and names of sites (E managed elements) and cells (C)."""

    topology: Topology
    x_m: Floats  # [E]
    y_m: Floats  # [E]
    height_m: Floats  # [E]
    azimuth_deg: Floats  # [C]
    site_of: NDArray[np.int64]  # [C]
    related: Flags  # [C, C] whether a relation object exists
    relations: dict[str, tuple[int, int]]  # DN of a relation to (source, target)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.site_of)

    @classmethod
    def build(cls, parameters: Parameters, network_id: str) -> "Sites":
        """Lay out the sites that the parameters ask for."""
        p = parameters.layout
        xy = hexagon(p.sites, p.isd_m)
        spread = Draws(_BUILDING_SEED).uniform(Purpose.SITE, 0, entities(np.arange(p.sites)))
        height = np.round(p.height_m + p.height_spread_m * (2 * spread - 1), 1)
        names = [
            cell_dn(f"SubNetwork=1,ManagedElement=gnb{site + 1}", sector + 1)
            for site in range(p.sites)
            for sector in range(SECTORS)
        ]
        site_of = np.repeat(np.arange(p.sites), SECTORS)
        from_west = np.argsort(np.lexsort((xy[:, 1], xy[:, 0])))
        topology = Topology(
            network_id=network_id,
            granularity_s=parameters.time.period_s,
            slices=SLICES if parameters.slices.enabled else (),
            cells=tuple(
                CellSite(
                    cell=name,
                    x_m=round(float(xy[site, 0]), 3),
                    y_m=round(float(xy[site, 1]), 3),
                    height_m=float(height[site]),
                    azimuth_deg=p.azimuths_deg[c % SECTORS],
                    mechanical_tilt_deg=p.mechanical_tilt_deg,
                    carrier_ghz=p.carrier_ghz,
                    prbs=p.prbs,
                    scs_khz=p.scs_khz,
                    max_tx_power_mw=p.max_tx_power_mw,
                    region=str(1 + from_west[site] * p.regions // p.sites),
                )
                for c, (name, site) in enumerate(zip(names, site_of, strict=True))
            ),
        )
        apart = np.hypot(xy[:, None, 0] - xy[None, :, 0], xy[:, None, 1] - xy[None, :, 1])
        related = (apart <= p.relation_range_isd * p.isd_m)[np.ix_(site_of, site_of)] & ~np.eye(len(names), dtype=bool)
        return cls(
            topology=topology,
            x_m=xy[:, 0],
            y_m=xy[:, 1],
            height_m=height,
            azimuth_deg=np.tile(np.array(p.azimuths_deg), p.sites),
            site_of=site_of,
            related=related,
            relations={relation_dn(names[s], names[t]): (int(s), int(t)) for s, t in np.argwhere(related)},
        )

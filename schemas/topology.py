"""The network as it is built: sites and cells. What nobody sets by configuration."""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import Record
from schemas.counters import S_NSSAIS
from schemas.names import CellDn, NetworkId, managed_element_of


class CellSite(Record):
    """One cell: where its antenna stands, where it looks, what it can carry."""

    cell: CellDn
    x_m: float = Field(ge=-1e6, le=1e6, description="Metres east of the network's origin")
    y_m: float = Field(ge=-1e6, le=1e6, description="Metres north of the network's origin")
    height_m: float = Field(gt=0, le=500, description="Antenna height above ground, metres")
    azimuth_deg: float = Field(ge=0, lt=360, description="Boresight, degrees clockwise from north")
    mechanical_tilt_deg: float = Field(default=0, ge=-90, le=90, description="Degrees below the horizon")
    carrier_ghz: float = Field(gt=0.4, lt=100, description="Carrier frequency, GHz")
    prbs: int = Field(ge=1, le=275, description="Physical resource blocks of the carrier")
    scs_khz: int = Field(default=30, description="Subcarrier spacing, kHz")
    max_tx_power_mw: float = Field(gt=0, le=200_000, description="Rated power of the sector carrier, mW")
    scenario: Literal["UMa", "UMi", "RMa"] | None = Field(
        default=None, description="Propagation of TR 38.901; by the height of the antenna where not given"
    )
    panel_rows: int = Field(default=8, ge=1, le=64, description="Elements above one another, half a wavelength apart")
    panel_columns: int = Field(default=1, ge=1, le=64, description="Elements beside one another")
    region: str = Field(default="1", description="Twin shard that owns this cell")


class NetworkSlice(Record):
    """A slice that every cell of the network carries."""

    s_nssai: str = Field(description=f"SST-SD, one of {', '.join(S_NSSAIS)}")
    name: str = Field(default="", max_length=100, description="e.g. eMBB")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.s_nssai not in S_NSSAIS:
            raise ValueError(f"no counters are known of slice {self.s_nssai!r}; known: {', '.join(S_NSSAIS)}")
        return self


class Origin(Record):
    """Where on the earth a network's metres begin: WGS 84, x east and y north in a transverse Mercator about it."""

    latitude: float = Field(ge=-90, le=90, description="Degrees north")
    longitude: float = Field(ge=-180, le=180, description="Degrees east")


class Topology(Record):
    """All cells of a network, in the order of every cell axis (C), and its slices in that of every slice axis (K)."""

    network_id: NetworkId
    granularity_s: int = Field(default=60, gt=0, le=3600, description="Reporting interval, seconds")
    cells: tuple[CellSite, ...] = Field(min_length=1)
    slices: tuple[NetworkSlice, ...] = Field(default=())
    images_m: tuple[tuple[float, float], ...] = Field(
        default=(), description="Wraparound: translations (east, north) at which the network repeats, metres"
    )
    origin: Origin | None = Field(default=None, description="Place of x = y = 0 on the earth, where it is known")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = self.cell_names
        if len(set(names)) != len(names):
            raise ValueError("a cell stands twice in the topology")
        placed = {(managed_element_of(c.cell), c.region) for c in self.cells}
        if len(placed) != len({element for element, _ in placed}):
            raise ValueError("the cells of a managed element lie in two regions; give them the same")
        if len({s.s_nssai for s in self.slices}) != len(self.slices):
            raise ValueError("a slice stands twice in the topology")
        return self

    @property
    def cell_names(self) -> tuple[str, ...]:
        """DNs of all cells, in order."""
        return tuple(c.cell for c in self.cells)

    @property
    def managed_elements(self) -> tuple[str, ...]:
        """DNs of the managed elements, in order of first appearance."""
        return tuple(dict.fromkeys(managed_element_of(c.cell) for c in self.cells))

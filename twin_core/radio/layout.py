"""Where antennas stand and look, as tensors, and the way from each to a place: the short way round, if there is one."""

from dataclasses import dataclass

import torch

from schemas.topology import Topology
from twin_core.radio.antenna import Panels
from twin_core.radio.path_loss import Scenario, scenario_of

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """Antennas of C cells, float64.

    Attributes
    ----------
    x_m, y_m, height_m
        [C] where they stand.
    azimuth_deg, mechanical_tilt_deg
        [C] where they look, clockwise from north, and below the horizon.
    carrier_ghz
        [C] carrier frequency.
    site_of_cell
        [C] index of the mast; cells at one place share it.
    images_m
        [W, 2] translations at which the network repeats; the first is none.
    scenarios
        [C] propagation of each cell; by the height of its antenna where the topology does not say.
    panels
        [C] how the antennas are built.
    """

    x_m: Tensor
    y_m: Tensor
    height_m: Tensor
    azimuth_deg: Tensor
    mechanical_tilt_deg: Tensor
    carrier_ghz: Tensor
    site_of_cell: Tensor
    images_m: Tensor
    scenarios: tuple[Scenario, ...]
    panels: Panels

    @classmethod
    def of(cls, topology: Topology) -> "Layout":
        """Of a topology's cells, in their order.

        Examples
        --------
        >>> from twin_core.layouts import hexagonal
        >>> Layout.of(hexagonal(sites=2)).site_of_cell.tolist()
        [0, 0, 0, 1, 1, 1]
        """

        def column(name: str) -> Tensor:
            return torch.tensor([float(getattr(c, name)) for c in topology.cells], dtype=torch.float64)

        places: dict[tuple[float, float], int] = {}
        for c in topology.cells:
            places.setdefault((c.x_m, c.y_m), len(places))
        site = torch.tensor([places[c.x_m, c.y_m] for c in topology.cells])
        images = torch.tensor([(0.0, 0.0), *topology.images_m], dtype=torch.float64)
        return cls(
            x_m=column("x_m"),
            y_m=column("y_m"),
            height_m=column("height_m"),
            azimuth_deg=column("azimuth_deg"),
            mechanical_tilt_deg=column("mechanical_tilt_deg"),
            carrier_ghz=column("carrier_ghz"),
            site_of_cell=site,
            images_m=images,
            scenarios=tuple(c.scenario or scenario_of(c.height_m) for c in topology.cells),
            panels=Panels.of([c.panel_rows for c in topology.cells], [c.panel_columns for c in topology.cells]),
        )

    @property
    def sites(self) -> int:
        """How many masts there are."""
        return int(self.site_of_cell.max()) + 1

    def offsets_m(self, x_m: Tensor, y_m: Tensor) -> tuple[Tensor, Tensor]:
        """[P, C] from antenna to place, east and north; where the network repeats, from the nearest image."""
        dx, dy = x_m[:, None] - self.x_m, y_m[:, None] - self.y_m
        if len(self.images_m) == 1:
            return dx, dy
        best = torch.full_like(dx, torch.inf)
        out_x, out_y = torch.empty_like(dx), torch.empty_like(dy)
        for image_x, image_y in self.images_m:
            there_x, there_y = dx - image_x, dy - image_y
            d2 = there_x**2 + there_y**2
            nearer = d2 < best
            best = torch.where(nearer, d2, best)
            out_x, out_y = torch.where(nearer, there_x, out_x), torch.where(nearer, there_y, out_y)
        return out_x, out_y

"""The KPIs of the axis M, per cell and for the whole network, in the counters' units (TS 28.552)."""

from dataclasses import dataclass

import torch

from twin_core.exceptions import UnknownObject
from twin_core.flow.load import Loads
from twin_core.flow.power import PowerModel, cell_power_w
from twin_core.flow.slices import kpis_of as slice_kpis
from twin_core.flow.traffic import unserved_ratio, user_throughput_kbps
from twin_core.network import Network
from twin_core.radio.sinr import Links

Tensor = torch.Tensor

PRB, THROUGHPUT, VOLUME, USERS, POWER, UNSERVED = KPIS = (
    "RRU.PrbTotDl",  # %
    "DRB.UEThpDl",  # kbit/s
    "DRB.PdcpSduVolumeDL",  # kbit
    "RRC.ConnMean",  # users
    "PEE.AvgPower",  # W, here per cell: its part of the managed element
    "TL.UnservedRatio",  # 1
)


def kpis_of(network: Network) -> tuple[str, ...]:
    """The axis M of a network: KPIS, then those of each slice."""
    return (*KPIS, *slice_kpis(network.slices))


def kpi_index(kpi: str) -> int:
    """Position of a whole cell's KPI on the axis M.

    Raises
    ------
    UnknownObject
        If the twin does not predict it.

    Examples
    --------
    >>> kpi_index("RRC.ConnMean")
    3
    """
    try:
        return KPIS.index(kpi)
    except ValueError:
        raise UnknownObject(f"the twin predicts no KPI {kpi!r}; it predicts {', '.join(KPIS)}") from None


@dataclass(frozen=True, eq=False)
class CellModel:
    """What turns loads into counters: fitted per cell, [C] each unless said otherwise."""

    throughput_gain: Tensor
    power: PowerModel
    dynamic_share: Tensor
    element_of: Tensor
    prbs: Tensor
    granularity_s: float

    @classmethod
    def of(
        cls,
        network: Network,
        throughput_gain: Tensor,
        power: PowerModel,
        share: Tensor,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "CellModel":
        """Bring everything to one device and precision."""
        return cls(
            throughput_gain.to(device, dtype),
            PowerModel(power.watts.to(device, dtype), power.element_factor.to(device, dtype)),
            share.to(device, dtype),
            network.element_of.to(device),
            network.prbs.to(device, dtype),
            float(network.topology.granularity_s),
        )


def cell_kpis(
    model: CellModel, links: Links, loads: Loads, demand_kbps: Tensor, users: Tensor, on_air: Tensor
) -> tuple[Tensor, Tensor]:
    """KPIs of each cell and of the network.

    Parameters
    ----------
    model, links, loads
        Fitted cells, links, and the solution on them.
    demand_kbps, users
        [..., T, P] offered traffic and users of each pixel.
    on_air
        [C], or [..., C] of many configurations, which cells transmit.

    Returns
    -------
    tuple
        [..., T, M, C] and [..., T, M]. A cell off the air has 0 load, volume and users, NaN throughput, and sleeps.
        Network: PRB use weighted by resource blocks on the air, throughput weighted by users, volume, users and power
        summed, unserved traffic as a share of all traffic.
    """
    covered = links.per_cell(links.on_links(users.reshape(-1, users.shape[-1]))).view_as(loads.load)
    uncovered = links.without_coverage(demand_kbps.reshape(-1, demand_kbps.shape[-1])).view_as(loads.load)
    throughput = user_throughput_kbps(loads, covered, model.throughput_gain)
    power = cell_power_w(model.power, loads.load, on_air, model.dynamic_share, model.element_of)
    cells = (
        100 * loads.load,
        throughput,
        loads.served_kbps * model.granularity_s,
        covered,
        power,
        unserved_ratio(loads, uncovered),
    )
    blocks = model.prbs * on_air
    weight = torch.where(throughput.isnan(), 0.0, covered)
    wanted = demand_kbps.sum(dim=-1)
    late = (loads.offered_kbps - loads.served_kbps).clamp_min(0).sum(dim=-1)
    lost = (wanted - loads.offered_kbps.sum(dim=-1)).clamp_min(0)
    network = (
        (cells[0] * blocks).sum(dim=-1) / blocks.sum(dim=-1).clamp_min(1),
        (throughput.nan_to_num() * weight).sum(dim=-1) / weight.sum(dim=-1),  # 0 / 0: nobody to measure
        cells[2].sum(dim=-1),
        covered.sum(dim=-1),
        power.sum(dim=-1),
        (late + lost) / wanted.clamp_min(1e-9),
    )
    return torch.stack(cells, dim=-2), torch.stack(network, dim=-1)

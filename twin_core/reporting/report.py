"""One period of a network under 3GPP's names: per cell, slice and managed element, with percentiles of users.

Roll-outs (`twin_core.rollout`) give the few KPIs on which verdicts are made, over many worlds and periods. A report
looks at one of them in full. What both give is the same.
"""

from dataclasses import dataclass, replace

import torch

from schemas.counters import sliced
from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidScenarios
from twin_core.flow.load import Loads
from twin_core.flow.mobility import Flows, handover_flows, mobility_kpis
from twin_core.flow.slices import airtime
from twin_core.grid import Grid
from twin_core.kpis import POWER, PRB, THROUGHPUT, UNSERVED, USERS, VOLUME, kpis_of
from twin_core.network import OVERHEAD
from twin_core.physics import Physics
from twin_core.radio.mcs import LinkAdaptation
from twin_core.radio.overhead import sending_share
from twin_core.reporting.catalogue import (
    BY_CELL,
    BY_SLICE,
    MEAN_THROUGHPUT,
    MOBILITY,
    NEVER,
    PERCENTILE_NAMES,
    Whole,
)
from twin_core.reporting.crowd import Crowd
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin
from twin_core.worlds import Ground

Tensor = torch.Tensor

_J_PER_KWH = 3.6e6
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Report:
    """KPIs of one period by name; units and sources in `twin_core.reporting.catalogue`. All float64.

    Attributes
    ----------
    cells, slices, elements
        Names along the axes C, K and E.
    by_cell
        [C] each. NaN where there is nothing to measure: throughput without traffic, radio without users, power of a
        carrier off the air.
    by_slice
        [C, K] each.
    by_element
        [E] each: power is counted for managed elements, not cells.
    distributions
        CARR.WBCQIDist, [C, 16] connected users by the CQI that they report; L1M.SS-RSRP, [C, 16] by RSRP of their
        cell, in the bins of `crowd.RSRP_EDGES_DBM`. Both are mean numbers of users, to which counts of reports are in
        proportion.
    network
        The whole network, slices' sub-counters under their own names.
    handovers
        [C, C] from cell to cell, per second; None where they were not computed.
    missing
        What was not computed, and why.
    converged
        Whether the load coupling was solved within tolerance.
    """

    cells: tuple[str, ...]
    slices: tuple[str, ...]
    elements: tuple[str, ...]
    by_cell: dict[str, Tensor]
    by_slice: dict[str, Tensor]
    by_element: dict[str, Tensor]
    distributions: dict[str, Tensor]
    network: dict[str, float]
    handovers: Flows | None
    missing: dict[str, str]
    converged: bool


def report(
    twin: Twin,
    configuration: Configuration | None = None,
    scenario: Scenarios | None = None,
    ahead: int = 1,
    *,
    dtype: str = "float64",
) -> Report:
    """Everything the engine can say of one period.

    Parameters
    ----------
    twin
        Network and environment.
    configuration
        The twin's own by default.
    scenario
        One world of one period; the unperturbed one by default.
    ahead
        How many periods after the twin's latest.
    dtype
        float64 or float32, of the load solution and of handovers.

    Raises
    ------
    InvalidScenarios
        If it is not one world of one period, or the period is not ahead.
    InvalidConfiguration
        If the configuration is of another network.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> found = report(Twin.create(hexagonal(sites=1)))
    >>> round(float(found.by_cell["RRC.ConnMean"].sum()), 2), round(found.network["RRU.PrbAvailDl"])
    (45.0, 153)
    """
    network = twin.network
    configuration = configuration or twin.configuration
    scenario = scenario or Scenarios.nominal(network)
    scenario.check(len(network.cells))
    if len(scenario) != 1 or scenario.horizon != 1:
        raise InvalidScenarios(
            f"a report is of one world and period, not of {len(scenario)} over {scenario.horizon}; select one world, "
            "drawn for one period"
        )
    if ahead < 1:
        raise InvalidScenarios(f"a period {ahead} ahead is past; give 1 for the next one, or more")
    ground = Ground(_in(twin, dtype), torch.tensor([ahead]))
    ground.check(configuration)
    rsrp = ground.rsrp(configuration) - scenario.path_loss_offset_db[0]
    physics = ground.physics(configuration, rsrp, ground.on_air(configuration, scenario.cell_up[0, 0]))
    demand, users = ground.traffic(scenario)
    loads = physics.loads(demand, users, ground.start)
    plain = physics.kpis(loads, demand, users)
    corrected = ground.corrected(plain, physics, slice(None))
    axis = ground.sliced((corrected[0][0, 0].double(), corrected[1][0, 0].double()), configuration, physics.on_air)
    names = kpis_of(network)
    found = dict(zip(names, axis[0].unbind(0), strict=True)), dict(zip(names, axis[1].tolist(), strict=True))
    crowd = Crowd.of(physics, loads, demand, users)
    uncovered = _uncovered(physics, users), _uncovered(physics, demand)
    scale = found[0][THROUGHPUT] / plain[0][0, 0, names.index(THROUGHPUT)].double()
    return _Maker(twin, configuration, physics, loads, crowd, *found, scale).report(users, uncovered)


def _in(twin: Twin, dtype: str) -> Twin:
    """The same twin, solved in this precision."""
    out = replace(twin, settings=replace(twin.settings, roll_out_dtype=dtype))
    vars(out).update({name: value for name, value in vars(twin).items() if name in ("physics", "rsrp_dbm")})
    return out


def _uncovered(physics: Physics, per_pixel: Tensor) -> tuple[Tensor, float]:
    """[C] what of a pixel quantity finds no coverage at the cell that would serve it, and what no cell would serve."""
    flat = per_pixel.reshape(1, -1)
    reached = torch.zeros(flat.shape[1], dtype=torch.bool)
    reached[physics.links.of_pixel] = True
    return physics.links.without_coverage(flat)[0].double(), float(flat[0, ~reached].double().sum())


@dataclass(frozen=True, eq=False)
class _Maker:
    """What a report is made from.

    Attributes
    ----------
    by_cell, whole
        The axis M by name, of cells [C] and of the network.
    scale
        [C] factor of learned corrections and slice shares on users' throughput.
    """

    twin: Twin
    configuration: Configuration
    physics: Physics
    loads: Loads
    crowd: Crowd
    by_cell: dict[str, Tensor]
    whole: dict[str, float]
    scale: Tensor

    @property
    def _period_s(self) -> float:
        return float(self.twin.network.topology.granularity_s)

    def report(self, users: Tensor, uncovered: tuple[tuple[Tensor, float], tuple[Tensor, float]]) -> Report:
        """All of it."""
        network = self.twin.network
        missing = dict(NEVER)
        cells = self._traffic(uncovered[0][0], uncovered[1][0]) | self._carrier() | self._radio()
        cells |= self._throughput()
        distributions = {"CARR.WBCQIDist": self.crowd.over_cqi(), "L1M.SS-RSRP": self.crowd.over_rsrp()}
        cells["TL.MeanCqiDl"] = _mean_bin(distributions["CARR.WBCQIDist"])
        flows = self._handovers(users, missing)
        if flows is not None:
            cells |= mobility_kpis(flows, network.element_of, self._period_s)
        slices = self._slices(cells)
        if not network.slices:
            missing |= {f"{name}.SNSSAI": "the network has no slices" for name in BY_SLICE}
        power = torch.zeros(len(network.elements), dtype=torch.float64)
        power.index_add_(0, network.element_of, self.by_cell[POWER])
        elements = {POWER: power, "PEE.Energy": power * self._period_s / _J_PER_KWH}
        whole = self._whole(cells) | self._whole_of_slices(slices)
        whole |= {name: float(value.sum()) for name, value in elements.items()}
        whole["TL.UncoveredUsers"] += uncovered[0][1]
        whole["TL.OfferedVolumeDL"] += uncovered[1][1] * self._period_s
        return Report(
            cells=network.cells,
            slices=network.slices,
            elements=network.elements,
            by_cell={name: cells[name] for name in BY_CELL if name in cells},
            by_slice=slices,
            by_element=elements,
            distributions=distributions,
            network=whole,
            handovers=flows,
            missing=missing,
            converged=self.loads.converged,
        )

    def _traffic(self, uncovered_users: Tensor, uncovered_kbps: Tensor) -> dict[str, Tensor]:
        """Users, resource blocks, volume."""
        available = self.twin.network.prbs * self.physics.on_air
        offered = self.loads.offered_kbps[0, 0].double() + uncovered_kbps
        out = {name: self.by_cell[name] for name in (PRB, THROUGHPUT, VOLUME, USERS, UNSERVED)}
        return out | {
            "RRU.PrbUsedDl": out[PRB] / 100 * available,
            "RRU.PrbAvailDl": available,
            # Little's law: those who wait for data at once, no more than are connected.
            "DRB.MeanActiveUeDl": torch.minimum(self._active(out[VOLUME], out[THROUGHPUT]), out[USERS]),
            "TL.OfferedVolumeDL": offered * self._period_s,
            "TL.UncoveredUsers": uncovered_users,
        }

    def _active(self, volume: Tensor, throughput: Tensor) -> Tensor:
        waiting = volume / (throughput * self._period_s).clamp_min(_TINY)
        return torch.where((volume > 0) & throughput.isfinite(), waiting, 0.0)

    def _carrier(self) -> dict[str, Tensor]:
        """Power on air, 0.1 dBm, and transport blocks."""
        network, load = self.twin.network, self.loads.load[0, 0].double()
        idle = OVERHEAD.idle_share(network.prbs, network.scs_khz)
        most = torch.where(self.physics.on_air, 10 * self.configuration.tx_power_dbm, torch.nan)
        link = self.physics.links.adaptation or LinkAdaptation()
        # kbit/s per bit/s/Hz are resource elements a millisecond.
        sent = network.kbps_per_efficiency * 1000 * self._period_s * load / link.resource_elements
        return {
            "CARR.MaxTxPwr": most,
            "CARR.MeanTxPwr": most + 100 * torch.log10(sending_share(load, idle)),
            "TB.TotNbrDl": sent,
            "TB.ErrTotNbrDl": (sent * self.crowd.block_errors(link)).nan_to_num(0.0),
        }

    def _radio(self) -> dict[str, Tensor]:
        return {
            "TL.MeanSinrDl": self.crowd.mean_sinr_db(),
            "TL.MeanSsRsrp": self.crowd.mean(self.crowd.rsrp_dbm),
        }

    def _throughput(self) -> dict[str, Tensor]:
        """Of users; the mean of users is above DRB.UEThpDl, in which slow transfers count by how long they take."""
        found = self.crowd.throughput_percentiles(self.scale)
        mean = self.crowd.mean(self.crowd.throughput_kbps) * self.scale
        return {**dict(zip(PERCENTILE_NAMES, found.unbind(0), strict=True)), MEAN_THROUGHPUT: mean}

    def _handovers(self, users: Tensor, missing: dict[str, str]) -> Flows | None:
        """Per second between cells, of covered users on the twin's map."""
        network, p = self.twin.network, self.twin.settings
        if not isinstance(network.seen_from, Grid):
            missing.update(dict.fromkeys(MOBILITY, "handovers need an area of pixels side by side, not single places"))
            return None
        like = self.physics.links.signal
        flows = handover_flows(
            self.physics.rsrp.to(like),
            network.seen_from,
            (users.reshape(-1) * self.physics.attachment.covered).to(like),
            self.loads.load[0, 0],
            self.configuration.cio_db.to(like),
            network.thermal_noise_dbm.to(like),
            replace(p.mobility.on_a_learned_map, noise_figure_db=p.physics.noise_figure_db),
            site_of=network.layout.site_of_cell,
            co_channel=network.co_channel,
            on_air=self.physics.on_air,
        )
        return Flows(*(flow.double() for flow in vars(flows).values()))

    def _slices(self, cells: dict[str, Tensor]) -> dict[str, Tensor]:
        """[C, K] sub-counters; users of all slices have the radio of their cell."""
        slices = self.twin.network.slices
        if not slices:
            return {}

        def of(name: str) -> Tensor:
            return torch.stack([self.by_cell[sliced(name, s)] for s in slices], dim=1)

        out = {name: of(name) for name in (THROUGHPUT, VOLUME, "DRB.RlcSduDelayDl")}
        used = cells["RRU.PrbUsedDl"][:, None]
        out["RRU.PrbUsedDl"] = used * self._parts_of_time()
        out["DRB.MeanActiveUeDl"] = self._active(out[VOLUME], out[THROUGHPUT])
        relative = out[THROUGHPUT] / cells[THROUGHPUT][:, None]
        for name in (*PERCENTILE_NAMES, MEAN_THROUGHPUT):
            out[name] = cells[name][:, None] * relative
        return {name: out[name] for name in BY_SLICE}

    def _parts_of_time(self) -> Tensor:
        """[C, K] parts of the resource blocks used, as slices share a cell's time."""
        wanted = self.twin.slices.wanted(self.by_cell[PRB] / 100, self.by_cell[UNSERVED])
        given = airtime(wanted, self.configuration.ratios).given
        return given / given.sum(dim=1, keepdim=True).clamp_min(_TINY)

    def _whole(self, cells: dict[str, Tensor]) -> dict[str, float]:
        """Cells added up as the catalogue says."""
        users = self.crowd.per_cell(self.crowd.users)
        out = {name: self.whole[name] for name in (PRB, THROUGHPUT, UNSERVED)}
        for name, kpi in BY_CELL.items():
            if name not in cells:
                continue
            if kpi.whole is Whole.SUM:
                out[name] = float(cells[name].sum())
            elif kpi.whole is Whole.USERS:
                out[name] = float((cells[name].nan_to_num() * users).sum() / users.sum())
        everybody = torch.ones_like(users)
        found = self.crowd.network_percentiles(self.scale, everybody).tolist()
        return out | dict(zip(PERCENTILE_NAMES, found, strict=True)) | {MEAN_THROUGHPUT: self._mean(cells, everybody)}

    def _mean(self, cells: dict[str, Tensor], part: Tensor) -> float:
        speed = cells[MEAN_THROUGHPUT]
        users = torch.where(speed.isfinite(), self.crowd.per_cell(self.crowd.users) * part, 0.0)
        return float((speed.nan_to_num() * users).sum() / users.sum())

    def _whole_of_slices(self, slices: dict[str, Tensor]) -> dict[str, float]:
        """Each slice in the whole network; its users are taken to be as large a part of a cell's as its volume is."""
        out: dict[str, float] = {}
        for k, s in enumerate(self.twin.network.slices):
            of = {name: value[:, k] for name, value in slices.items()}
            out |= {sliced(n, s): self.whole[sliced(n, s)] for n in (THROUGHPUT, VOLUME, "DRB.RlcSduDelayDl")}
            out |= {sliced(n, s): float(of[n].sum()) for n in ("RRU.PrbUsedDl", "DRB.MeanActiveUeDl")}
            part = (of[VOLUME] / self.by_cell[VOLUME]).nan_to_num(0.0)
            factor = self.scale * of[THROUGHPUT] / self.by_cell[THROUGHPUT]
            found = self.crowd.network_percentiles(factor, part).tolist()
            out |= {sliced(n, s): v for n, v in zip(PERCENTILE_NAMES, found, strict=True)}
            out[sliced(MEAN_THROUGHPUT, s)] = self._mean(of, part)
        return out


def _mean_bin(distribution: Tensor) -> Tensor:
    """[C] mean index of a distribution [C, B]; NaN where it is empty."""
    index = torch.arange(distribution.shape[1], dtype=distribution.dtype)
    return (distribution @ index) / distribution.sum(dim=1)

"""Network, configuration and environment brought together: who serves whom, over which links, with what result."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from twin_core.configuration import BEAM, Configuration
from twin_core.environment import Environment
from twin_core.exceptions import InvalidConfiguration
from twin_core.flow.load import Loads, solve
from twin_core.flow.power import dynamic_share
from twin_core.kpis import CellModel, cell_kpis
from twin_core.network import Network
from twin_core.radio.coverage import rsrp_dbm
from twin_core.radio.handover import Attachment, attach, attach_many
from twin_core.radio.sinr import Links, links_of
from twin_core.settings import TwinSettings

Tensor = torch.Tensor


def corrected_rsrp(
    network: Network, environment: Environment, configuration: Configuration, settings: TwinSettings
) -> Tensor:
    """[P, C] RSRP in dBm as far as the twin knows it."""
    fit = settings.calibration
    correction = environment.correction_db(network, fit.shadow_length_m, fit.shadow_prior_weight)
    return rsrp_dbm(network, configuration, correction)


@dataclass(frozen=True, eq=False)
class Physics:
    """One configuration in one radio environment, ready to be loaded with demand.

    Attributes
    ----------
    rsrp
        [P, C] dBm; of many configurations that of the first.
    on_air
        [C] unlocked and free of failure; [N, 1, C] of many.
    attachment, links, cells
        Who serves whom, over which links, and the cells' fitted factors.
    settings
        Of the solution.
    """

    rsrp: Tensor
    on_air: Tensor
    attachment: Attachment
    links: Links
    cells: CellModel
    settings: TwinSettings

    @classmethod
    def of(
        cls,
        network: Network,
        environment: Environment,
        configuration: Configuration,
        settings: TwinSettings,
        *,
        rsrp: Tensor | None = None,
        usual_rsrp: Tensor | None = None,
        on_air: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "Physics":
        """Prepare everything that does not depend on load.

        Parameters
        ----------
        network, environment, configuration, settings
            What to bring together.
        rsrp
            [P, C] dBm instead of the environment's own (a scenario's radio).
        usual_rsrp
            [P, C] dBm of the configuration from which the environment was learned, where that is another one.
        on_air
            [C] instead of configuration and environment (a scenario's failures).
        dtype, device
            Of the load solution; attachment is always found in float64 on the CPU.
        """
        if rsrp is None:
            rsrp = corrected_rsrp(network, environment, configuration, settings)
        if on_air is None:
            on_air = configuration.active & environment.in_service
        attachment = attach(rsrp, configuration.cio_db, on_air, environment.softness_db, settings.physics, usual_rsrp)
        links = links_of(network, environment, rsrp, attachment, on_air, settings.physics, dtype, device)
        share = dynamic_share(configuration.tx_power_dbm, network.rated_dbm)
        cells = CellModel.of(network, environment.throughput_gain, environment.power, share, dtype, device)
        return cls(rsrp, on_air, attachment, links, cells, settings)

    @classmethod
    def of_many(
        cls,
        network: Network,
        environment: Environment,
        configurations: Sequence[Configuration],
        settings: TwinSettings,
        *,
        rsrp: Tensor | None = None,
        usual_rsrp: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "Physics":
        """Prepare many configurations at once that differ in power, offsets and cell states, not in their beams.

        Gains are found once. Demand and users are then [N, T, P] with T = 1, and so are loads and KPIs. Links are
        those that any configuration uses, so that a few dozen configurations a time are best: beyond, memory that does
        not fit the cache costs more than it saves.

        Parameters
        ----------
        network, environment, settings, usual_rsrp, dtype, device
            As for `of`.
        configurations
            N of them.
        rsrp
            [P, C] dBm of the first configuration instead of the environment's own.

        Raises
        ------
        InvalidConfiguration
            If there is none, or tilt, azimuth or shape of beams differ: gains would have to be found anew.
        """
        if not configurations:
            raise InvalidConfiguration("no configuration to prepare; give at least one")
        first = configurations[0]
        for other in configurations[1:]:
            if not all(_same(getattr(other, lever), getattr(first, lever)) for lever in BEAM):
                raise InvalidConfiguration(
                    "configurations that differ in tilt, azimuth or shape of beams have other gains; prepare them "
                    "apart, by Physics.of"
                )
        if rsrp is None:
            rsrp = corrected_rsrp(network, environment, first, settings)
        power = torch.stack([c.tx_power_dbm for c in configurations])
        on_air = torch.stack([c.active for c in configurations]) & environment.in_service
        power_db = torch.where(on_air, power - first.tx_power_dbm, -torch.inf).T
        biased = any(bool(cio.any()) for cio in {id(c.cio_db): c.cio_db for c in configurations}.values())
        cio = torch.stack([c.cio_db for c in configurations]) if biased else None
        usual = (rsrp if usual_rsrp is None else usual_rsrp) if bool(environment.uplift_db.any()) else None
        attachment = attach_many(rsrp, power_db, cio, environment.softness_db, settings.physics, usual, dtype)
        links = links_of(
            network, environment, rsrp, attachment, on_air.any(dim=0), settings.physics, dtype, device, power_db
        )
        share = dynamic_share(power, network.rated_dbm)[:, None]
        cells = CellModel.of(network, environment.throughput_gain, environment.power, share, dtype, device)
        return cls(rsrp, on_air[:, None], attachment, links, cells, settings)

    def loads(self, demand_kbps: Tensor, users: Tensor, start: Tensor, backlog_kbps: Tensor | None = None) -> Loads:
        """Solve for [..., T, P] demand of so many users."""
        return solve(self.links, demand_kbps, users, self.settings.physics, start, backlog_kbps)

    def kpis(self, loads: Loads, demand_kbps: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
        """[..., T, M, C] and [..., T, M] of a solution."""
        return cell_kpis(self.cells, self.links, loads, demand_kbps, users, self.on_air.to(demand_kbps.device))


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two levers are equal; mostly they are one object."""
    return one is other or torch.equal(one, other)

"""Network, configuration and environment brought together: who serves whom, over which links, with what result."""

from dataclasses import dataclass

import torch

from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.flow.load import Loads, solve
from twin_core.flow.power import dynamic_share
from twin_core.kpis import CellModel, cell_kpis
from twin_core.network import Network
from twin_core.radio.coverage import rsrp_dbm
from twin_core.radio.handover import Attachment, attach
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
        [P, C] dBm.
    on_air
        [C] unlocked and free of failure.
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

    def loads(self, demand_kbps: Tensor, users: Tensor, start: Tensor, backlog_kbps: Tensor | None = None) -> Loads:
        """Solve for [..., T, P] demand of so many users."""
        return solve(self.links, demand_kbps, users, self.settings.physics, start, backlog_kbps)

    def kpis(self, loads: Loads, demand_kbps: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
        """[..., T, M, C] and [..., T, M] of a solution."""
        return cell_kpis(self.cells, self.links, loads, demand_kbps, users, self.on_air.to(demand_kbps.device))

"""RSRP of every cell at every pixel, for a configuration and what telemetry has taught about propagation."""

import torch

from twin_core.configuration import Configuration
from twin_core.network import Network
from twin_core.radio.antenna import gain_dbi


def rsrp_dbm(network: Network, configuration: Configuration, correction_db: torch.Tensor) -> torch.Tensor:
    """SS-RSRP: power of one subcarrier of the reference signal as the user receives it.

    Parameters
    ----------
    network, configuration
        Propagation and antennas; the cell state is not looked at.
    correction_db
        [P, C] measured minus expected.

    Returns
    -------
    Tensor
        [P, C] dBm.
    """
    gain = gain_dbi(network.seen, configuration.tilt_deg, configuration.azimuth_deg, network.panels)
    return configuration.tx_power_dbm - network.subcarriers_db + gain - network.loss_db + correction_db

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


def moved_rsrp(network: Network, rsrp: torch.Tensor, before: Configuration, after: Configuration) -> torch.Tensor:
    """RSRP under another configuration, from that under one: only what a changed cell's antenna sees is found anew.

    Parameters
    ----------
    rsrp
        [P, C] dBm under `before`.

    Returns
    -------
    Tensor
        [P, C] dBm under `after`; the same object where neither power nor beams differ.
    """
    louder = after.tx_power_dbm - before.tx_power_dbm
    turned = (after.tilt_deg != before.tilt_deg) | (after.azimuth_deg != before.azimuth_deg)
    if not bool((turned | (louder != 0)).any()):
        return rsrp
    out = rsrp + louder
    if bool(turned.any()):
        seen, panels = network.seen.of(turned), network.panels.of_cells(turned)
        old, new = (gain_dbi(seen, c.tilt_deg[turned], c.azimuth_deg[turned], panels) for c in (before, after))
        out[:, turned] += new - old
    return out

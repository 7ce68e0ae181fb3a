"""RSRP of every cell at every pixel, for a configuration and what telemetry has taught about propagation."""

import torch

from twin_core.configuration import BEAM, Configuration
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
    c = configuration
    gain = gain_dbi(network.seen, c.tilt_deg, c.azimuth_deg, network.layout.panels, c.shape)
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
    turned = torch.stack([getattr(after, lever) != getattr(before, lever) for lever in BEAM]).any(dim=0)
    if not bool((turned | (louder != 0)).any()):
        return rsrp
    out = rsrp + louder
    if bool(turned.any()):
        seen, panels = network.seen.of(turned), network.layout.panels.of_cells(turned)
        old, new = (
            gain_dbi(seen, c.tilt_deg[turned], c.azimuth_deg[turned], panels, c.shape[turned]) for c in (before, after)
        )
        out[:, turned] += new - old
    return out

"""From SINR to bits: the network's own link adaptation."""

import numpy as np

from infra.network.arrays import Floats
from infra.network.parameters import Link, Parameters

# SINR (dB) from which each CQI 1..15 is reported. The network's own steps, 1.95 dB apart; TS 38.214 names none.
CQI_SINR_DB = -6.5 + 1.95 * np.arange(15)
TRANSPORT_BLOCKS_PER_S = 2000.0  # slots of 0.5 ms at 30 kHz


def spectral_efficiency(sinr_db: Floats, p: Link) -> Floats:
    """Bits/s/Hz: a backed-off Shannon curve of one layer with a soft step to two; zero below the lowest MCS."""
    backed_off = np.exp((np.log(10) / 10) * (sinr_db - p.margin_db))
    single = np.minimum(p.efficiency * np.log2(1 + backed_off), p.max_bits_per_s_hz)
    second = p.rank2_gain / (1 + np.exp((p.rank2_sinr_db - sinr_db) / p.rank2_width_db))
    out: Floats = single * (1 + second) * (sinr_db >= p.min_sinr_db)
    return out


def full_rate_kbps(sinr_db: Floats, parameters: Parameters) -> Floats:
    """kbit/s of a user who gets every resource block of the carrier."""
    layout = parameters.layout
    bandwidth_khz = layout.prbs * 12 * layout.scs_khz
    usable = bandwidth_khz * parameters.link.dl_share * (1 - parameters.effects.scheduler_overhead.share)
    return usable * spectral_efficiency(sinr_db, parameters.link)


def block_error_rate(fading_db: Floats, p: Link) -> Floats:
    """First-transmission error rate: the target when the channel is as reported, more in a fade.

    >>> import numpy as np
    >>> from infra.network.parameters import Parameters
    >>> block_error_rate(np.array([0.0]), Parameters.load().link)
    array([0.09])
    """
    out: Floats = np.minimum(p.bler_target * np.exp(-0.25 * fading_db), 1.0)
    return out


def cqi(sinr_db: Floats) -> Floats:
    """Wideband CQI, 0 (out of range) to 15."""
    return np.searchsorted(CQI_SINR_DB, sinr_db, side="right").astype(float)

"""How slices share a cell: RRMPolicyRatio of TS 28.541, and what each slice may have of the carrier's time.

Two slices: people's files (eMBB) and machines' packets (URLLC), on axis K in the order of ``S_NSSAIS``. Of each slice
a policy says three shares of a cell's resource blocks, dedicated <= min <= max: the dedicated share is kept for it even
if it is not used, the min share is its own whenever it wants it, more than the max share it never gets.
"""

import numpy as np

from infra.network.arrays import Floats
from infra.network.parameters import Parameters
from schemas.counters import EMBB, S_NSSAIS, URLLC
from schemas.topology import NetworkSlice

RATIOS = ("rRMPolicyMaxRatio", "rRMPolicyMinRatio", "rRMPolicyDedicatedRatio")
MAXIMUM, MINIMUM, DEDICATED = range(3)
FILES, PACKETS = S_NSSAIS.index(EMBB), S_NSSAIS.index(URLLC)
SLICES = (NetworkSlice(s_nssai=EMBB, name="eMBB"), NetworkSlice(s_nssai=URLLC, name="URLLC"))


def initial_ratios(parameters: Parameters, cells: int) -> Floats:
    """[3, K, C] percent, in the order of RATIOS."""
    p = parameters.slices
    by_slice = [[r.max_ratio, r.min_ratio, r.dedicated_ratio] for r in (p.embb, p.urllc)]
    return np.repeat(np.array(by_slice, float).T[:, :, None], cells, axis=2)


def problem_with_ratios(cell: str, ratios: Floats) -> str | None:
    """Why a cell cannot have these ratios ([3, K] percent), or None if it can.

    >>> problem_with_ratios("ManagedElement=g,NRCellDU=1", np.array([[100, 5], [0, 10], [0, 0]]))
    'RRMPolicyRatio=2-000001 of ManagedElement=g,NRCellDU=1: dedicated 0 <= min 10 <= max 5 does not hold'
    """
    for s_nssai, (most, least, own) in zip(S_NSSAIS, ratios.T.tolist(), strict=True):
        if not own <= least <= most:
            return (
                f"RRMPolicyRatio={s_nssai} of {cell}: dedicated {own:g} <= min {least:g} <= max {most:g} does not hold"
            )
    # Dedicated shares cannot exceed 100 % together where min shares do not.
    together = float(ratios[MINIMUM].sum())
    if together > 100:
        return f"rRMPolicyMinRatio of all slices of {cell} is {together:g} % together, more than the cell has"
    return None


def packet_share(ratios: Floats, senders: Floats, readers: Floats, busy: Floats) -> Floats:
    """[C] how fast packets are served while any wait, as a share of the whole carrier.

    While files wait too, users of both slices share equally, but the packets get no less than their min share and what
    the files' max leaves, and no more than what is neither above their max nor the files' own by min. While no file
    waits, packets may have all but the files' dedicated share, up to their max.

    Parameters
    ----------
    ratios
        [3, K, C] percent.
    senders, readers
        [C] users with packets, users who wait for files.
    busy
        [C] share of the time in which files wait.
    """
    most, least = ratios[MAXIMUM, PACKETS] / 100, ratios[MINIMUM, PACKETS] / 100
    alone = np.minimum(most, 1 - ratios[DEDICATED, FILES] / 100)
    equal = senders / np.maximum(senders + readers, 1)
    least = np.maximum(least, 1 - ratios[MAXIMUM, FILES] / 100)
    contended = np.minimum(np.maximum(equal, least), np.minimum(most, 1 - ratios[MINIMUM, FILES] / 100))
    out: Floats = alone + busy * (contended - alone)
    return out


def file_share(ratios: Floats, packets: Floats) -> Floats:
    """[C, T] share of the carrier's time that files may have in each of T slices of time.

    What packets leave of it, without their dedicated share even if they left that, and no more than the files' max.

    Parameters
    ----------
    packets
        [C, T] share of time that packets used.
    """
    kept = np.maximum(packets, ratios[DEDICATED, PACKETS][:, None] / 100)
    out: Floats = np.minimum(1 - kept, ratios[MAXIMUM, FILES][:, None] / 100)
    return out

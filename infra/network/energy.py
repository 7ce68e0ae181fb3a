"""Power that a site draws: a base, and per cell a sleeping or an active part plus the amplifier's."""

import numpy as np

from infra.network.arrays import Flags, Floats
from infra.network.parameters import Energy


def cell_power_w(off: Flags, power_mw: Floats, activity: Floats, p: Energy) -> Floats:
    """[C] watts of each cell at its present activity.

    >>> from infra.network.parameters import Parameters
    >>> p = Parameters.load().energy
    >>> cell_power_w(np.array([True, False]), np.array([4e4, 3.1e4]), np.array([0.0, 1.0]), p)
    array([ 17., 218.])
    """
    out: Floats = np.where(off, p.cell_sleep_w, p.cell_active_w + power_mw / 1000 / p.amplifier_efficiency * activity)
    return out

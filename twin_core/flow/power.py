"""Energy of a cell: relative power of TR 38.864 scaled to watts.

TR 38.864 5.1 category 1 set 1 gives power relative to deep sleep: 1 deep sleep, 25 light sleep, 55 micro sleep,
280 downlink active at the reference configuration. Watts are an assumption: one unit is 2.5 W, so that a sector
that sends all the time at rated power takes 700 W and an idle one 137.5 W. Per network and managed element the
numbers are fitted to PEE.AvgPower as it comes.
"""

from dataclasses import dataclass

import torch

DEEP_SLEEP, LIGHT_SLEEP, MICRO_SLEEP, DOWNLINK = 1.0, 25.0, 55.0, 280.0
WATT_PER_UNIT = 2.5
# What a locked cell, an idle cell and full load at rated power take before any telemetry, W.
PRIOR_WATTS = (
    LIGHT_SLEEP * WATT_PER_UNIT,
    MICRO_SLEEP * WATT_PER_UNIT,
    (DOWNLINK - MICRO_SLEEP) * WATT_PER_UNIT,
)


@dataclass(frozen=True, eq=False)
class PowerModel:
    """Watts of one cell asleep, idle, and added at full load, with a factor for each managed element.

    Attributes
    ----------
    watts
        [3] asleep, idle, added by full load at rated power.
    element_factor
        [E] what an element takes relative to that.
    """

    watts: torch.Tensor
    element_factor: torch.Tensor


def dynamic_share(tx_power_dbm: torch.Tensor, rated_dbm: torch.Tensor) -> torch.Tensor:
    """[C] part of the dynamic power that a cell takes at this transmit power, linear (TR 38.864 5.1)."""
    ratio: torch.Tensor = 10 ** ((tx_power_dbm - rated_dbm) / 10)
    return ratio


def cell_power_w(
    model: PowerModel, load: torch.Tensor, on_air: torch.Tensor, share: torch.Tensor, element_of: torch.Tensor
) -> torch.Tensor:
    """Power of each cell, W.

    Parameters
    ----------
    model
        Watts and element factors.
    load
        [..., C] share of resource blocks in use.
    on_air
        [..., C] whether the cell transmits.
    share
        [C] from `dynamic_share`.
    element_of
        [C] index of the managed element.

    Examples
    --------
    >>> model = PowerModel(torch.tensor(PRIOR_WATTS), torch.ones(1))
    >>> load, on = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([True, True, False])
    >>> cell_power_w(model, load, on, torch.ones(3), torch.zeros(3, dtype=torch.long)).tolist()
    [137.5, 700.0, 62.5]
    """
    asleep, idle, full = model.watts.unbind()
    awake = idle + full * share * load
    return torch.where(on_air, awake, asleep.expand_as(awake)) * model.element_factor[element_of]

"""Watts of a cell: asleep, idle, and by load, as telemetry fits them, on a prior from TR 38.864.

TR 38.864 gives power relative to deep sleep (`twin_core.flow.sleep_states`). Watts are an assumption: one unit of
category 1, set 1 is 2.5 W, so that a sector that sends all the time at rated power takes 700 W, an idle one 137.5 W in
micro sleep, and a locked one 62.5 W in light sleep, from which it is back within milliseconds. Per network and managed
element the numbers are fitted to PEE.AvgPower as it comes.
"""

from dataclasses import dataclass

import torch

from twin_core.flow.sleep_states import CATEGORY_1, BaseStation, Sleep

WATT_PER_UNIT = 2.5
# As which base station a cell is taken before any telemetry, and how it sleeps when it is locked.
STATION, LOCKED = CATEGORY_1[0], Sleep.LIGHT


def prior_watts(station: BaseStation = STATION, watt_per_unit: float = WATT_PER_UNIT) -> tuple[float, float, float]:
    """What a locked cell, an idle cell and full load at rated power (added to idle) take, W.

    Examples
    --------
    >>> prior_watts()
    (62.5, 137.5, 562.5)
    """
    asleep, idle = station.sleep[LOCKED], station.static
    return asleep * watt_per_unit, idle * watt_per_unit, (station.downlink - idle) * watt_per_unit


PRIOR_WATTS = prior_watts()


def transition_energy_j(
    station: BaseStation = STATION, watt_per_unit: float = WATT_PER_UNIT, sleep: Sleep = LOCKED
) -> float:
    """What switching a cell off and on again costs beside its power meanwhile, J.

    Examples
    --------
    >>> transition_energy_j(), transition_energy_j(sleep=Sleep.DEEP)
    (0.225, 2.5)
    """
    return station.transition_energy[sleep] * watt_per_unit / 1000


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


def dynamic_share(tx_power_dbm: torch.Tensor, rated_dbm: torch.Tensor, fixed_part: float = 0.0) -> torch.Tensor:
    """[C] part of the power added by load that a cell takes at this transmit power.

    Parameters
    ----------
    tx_power_dbm, rated_dbm
        [C].
    fixed_part
        What sending takes whatever its power: A of TR 38.864 5.1, there 0.4 (`sleep_states.FIXED_PART`). 0 is an
        amplifier alone, the part that a lever of power acts on.

    Examples
    --------
    >>> half = torch.tensor([46.0]), torch.tensor([49.0103])
    >>> [round(float(dynamic_share(*half, fixed)), 2) for fixed in (0.0, 0.4)]
    [0.5, 0.7]
    """
    ratio: torch.Tensor = 10 ** ((tx_power_dbm - rated_dbm) / 10)
    return fixed_part + (1 - fixed_part) * ratio


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

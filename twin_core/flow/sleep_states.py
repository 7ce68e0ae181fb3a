"""Power of a base station's states and what it costs to change between them (TR 38.864 V18.1.0 clause 5.1).

Power is relative to deep sleep, energy in that unit times milliseconds. What a cell takes over time follows from how
its work is spread: between two stretches of work it sleeps as deep as pays within the gap, and synchronisation signals
cut gaps short even where nobody is served.
"""

from dataclasses import dataclass
from enum import IntEnum

import torch

from twin_core.exceptions import InvalidSettings

Tensor = torch.Tensor

# Of the power that sending adds, the part that is there whatever is sent (A of clause 5.1).
FIXED_PART = 0.4
# What a further carrier takes where it adjoins another in its band, relative to one by itself (clause 5.1).
FURTHER_CARRIER = 0.7


class Sleep(IntEnum):
    """How deep a cell sleeps."""

    MICRO = 0
    LIGHT = 1
    DEEP = 2


@dataclass(frozen=True)
class BaseStation:
    """A column of Tables 5.1-3 to 5.1-5, and the reference of Table 5.1-1 that it holds for.

    Attributes
    ----------
    sleep
        Relative power in micro, light and deep sleep.
    downlink, uplink
        Relative power while it sends or receives on all resource blocks, at full power and with all antennas.
    transition_ms
        There and back, by sleep; a gap must be as long.
    transition_energy
        There and back, by sleep, beside the power of the sleep itself.
    bandwidth_mhz, scs_khz, tx_power_dbm, chains
        Of the reference: carrier, total downlink power, transmit and receive units.
    """

    sleep: tuple[float, float, float]
    downlink: float
    uplink: float
    transition_ms: tuple[float, float, float]
    transition_energy: tuple[float, float, float]
    bandwidth_mhz: float
    scs_khz: int
    tx_power_dbm: float
    chains: int

    @property
    def static(self) -> float:
        """Power awake with nothing to do, which sending and receiving add to."""
        return self.sleep[Sleep.MICRO]

    def sending(
        self, blocks: Tensor | float = 1.0, power: Tensor | float = 1.0, chains: Tensor | float = 1.0
    ) -> Tensor:
        """[...] relative power while it sends: P3 + s_a (P4 - P3) (A + (1 - A) s_f s_p / eta), with eta = 1.

        Parameters
        ----------
        blocks, power, chains
            [...] of the resource blocks (s_f), of the power on each (s_p), and of the units in use (s_a), relative to
            the reference.

        Examples
        --------
        >>> [round(float(p), 1) for p in CATEGORY_1[0].sending(torch.tensor([0.0, 0.5, 1.0]))]
        [145.0, 212.5, 280.0]
        """
        load = torch.as_tensor(blocks) * power
        return self.static + chains * (self.downlink - self.static) * (FIXED_PART + (1 - FIXED_PART) * load)

    def ratios(self, bandwidth_mhz: float, tx_power_dbm: float, chains: float) -> tuple[float, float, float]:
        """Ratios `blocks`, `power` and `chains` for `sending` of a cell that is smaller than the reference.

        Raises
        ------
        InvalidSettings
            If it is larger, or is nothing: the report gives no power beyond its references.

        Examples
        --------
        >>> [round(r, 2) for r in CATEGORY_1[0].ratios(40.0, 49.0, 32)]
        [0.4, 0.63, 0.5]
        """
        blocks, active = bandwidth_mhz / self.bandwidth_mhz, chains / self.chains
        radiated = 10 ** ((tx_power_dbm - self.tx_power_dbm) / 10)
        if not (0 < blocks <= 1 and 0 < active <= 1 and 0 < radiated <= 1):
            raise InvalidSettings(
                f"{bandwidth_mhz} MHz, {tx_power_dbm} dBm and {chains} chains do not fit a reference of "
                f"{self.bandwidth_mhz} MHz, {self.tx_power_dbm} dBm and {self.chains} chains; take a larger one"
            )
        return blocks, radiated / blocks, active

    def receiving(self, chains: Tensor | float = 1.0) -> Tensor:
        """[...] relative power while it receives: P3 + s_a (P5 - P3)."""
        return self.static + torch.as_tensor(chains) * (self.uplink - self.static)

    def deepest(self, gap_ms: Tensor) -> Tensor:
        """[...] the sleep (`Sleep`) that costs least in a gap and can be left before its end.

        Examples
        --------
        >>> CATEGORY_1[0].deepest(torch.tensor([5.0, 20.0, 160.0])).tolist()
        [0, 1, 2]
        >>> CATEGORY_2[0].deepest(torch.tensor([160.0, 1000.0, 12e3, 20e3])).tolist()
        [0, 1, 1, 2]
        """
        return self._costs(gap_ms).argmin(dim=-1)

    def gap_energy(self, gap_ms: Tensor, allowed: Sleep = Sleep.DEEP) -> Tensor:
        """[...] energy of a gap slept through as `deepest` says, relative power times milliseconds.

        Parameters
        ----------
        gap_ms
            [...] without work.
        allowed
            No deeper than that.
        """
        return self._costs(gap_ms)[..., : allowed + 1].amin(dim=-1)

    def _costs(self, gap_ms: Tensor) -> Tensor:
        """[..., sleep] energy of a gap, infinite where it is too short."""
        power, least, energy = (gap_ms.new_tensor(v) for v in (self.sleep, self.transition_ms, self.transition_energy))
        gap = gap_ms[..., None]
        return torch.where(gap >= least, power * gap + energy, torch.inf)


def _stations(
    sleeps: tuple[float, float],
    columns: tuple[tuple[float, float, float], ...],
    transition_ms: tuple[float, float, float],
    transition_energy: tuple[float, float, float],
) -> tuple[BaseStation, BaseStation, BaseStation]:
    references = ((100.0, 30, 55.0, 64), (20.0, 15, 49.0, 32), (100.0, 120, 33.0, 2))
    first, second, third = (
        BaseStation((micro, *sleeps), down, up, transition_ms, transition_energy, *reference)
        for (micro, down, up), reference in zip(columns, references, strict=True)
    )
    return first, second, third


# By reference set 1 (FR1 TDD), 2 (FR1 FDD), 3 (FR2). Category 1 sleeps and wakes fast, category 2 is slow at it and
# takes less asleep compared with at work: equipment as it was when the study was made.
CATEGORY_1 = _stations(
    (25.0, 1.0), ((55.0, 280.0, 110.0), (50.0, 200.0, 90.0), (38.0, 152.0, 80.0)), (0.0, 6.0, 50.0), (0.0, 90.0, 1000.0)
)
CATEGORY_2 = _stations(
    (2.1, 1.0),
    ((5.5, 32.0, 6.5), (5.0, 26.0, 5.8), (3.0, 17.6, 4.2)),
    (0.0, 640.0, 10_000.0),
    (0.0, 1088.0, 17_000.0),
)


@dataclass(frozen=True)
class Activity:
    """How a cell's work is spread over time.

    Attributes
    ----------
    ssb_beams, ssb_period_ms
        SS/PBCH blocks a burst and the time between bursts: no gap is longer than that.
    scs_khz, prbs
        Of the carrier: how long a block takes, and which part of the carrier's 20 resource blocks it is.
    stretches
        Of work in each period: 1 where a scheduler gathers all of it behind the burst, so that one gap is left; more
        where it sends as traffic comes.
    filled
        Of the resource blocks in a slot with work: 1 where slots are filled before others are begun. At less than the
        load all slots have work, and load fills them.
    """

    ssb_beams: int = 1
    ssb_period_ms: float = 20.0
    scs_khz: int = 30
    prbs: int = 51
    stretches: float = 1.0
    filled: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no carrier does."""
        if not (0 <= self.ssb_beams <= 64 and 5 <= self.ssb_period_ms <= 1e6 and self.scs_khz >= 15 and self.prbs >= 1):
            raise InvalidSettings(
                f"{self}: give 0 to 64 beams, 5 ms or more between bursts, 15 kHz or more, and a resource block or more"
            )
        if not (self.stretches >= 1 and 0 < self.filled <= 1):
            raise InvalidSettings(f"{self}: give at least one stretch a period, and a filled part above 0 and up to 1")

    @property
    def ssb_share(self) -> float:
        """Share of time in which synchronisation signals are sent."""
        return self.ssb_beams * 4 / (14 * self.scs_khz / 15 * self.ssb_period_ms)


def cell_power(
    station: BaseStation,
    load: Tensor,
    activity: Activity,
    *,
    power: Tensor | float = 1.0,
    chains: Tensor | float = 1.0,
    uplink_load: Tensor | float = 0.0,
    allowed: Sleep = Sleep.DEEP,
) -> Tensor:
    """Mean relative power of a cell that is on the air.

    Parameters
    ----------
    station, activity
        What it is built as, and how it works.
    load
        [...] 0..1 of its resource elements in use for downlink data.
    power, chains
        [...] 0..1 of rated power on each resource block, and of the transmit and receive units in use.
    uplink_load
        [...] 0..1 of the time in which it receives.
    allowed
        No deeper sleep than that.

    Returns
    -------
    Tensor
        [...] never less at more load.

    Examples
    --------
    >>> load = torch.tensor([0.0, 0.3, 1.0])
    >>> [round(float(p), 1) for p in cell_power(CATEGORY_1[0], load, Activity())]
    [30.7, 106.9, 280.0]
    >>> [round(float(p), 1) for p in cell_power(CATEGORY_1[0], load, Activity(), allowed=Sleep.MICRO)]
    [56.0, 123.2, 280.0]
    """
    blocks = torch.clamp(load, min=activity.filled)
    sending = (load / blocks).clamp_max(1.0)
    signals = activity.ssb_share * (1 - sending)
    free = 1 - sending - signals
    receiving = torch.minimum(torch.as_tensor(uplink_load).to(load).expand_as(load), free)
    gap_ms = (free - receiving) * activity.ssb_period_ms / activity.stretches
    asleep = station.gap_energy(gap_ms, allowed) * activity.stretches / activity.ssb_period_ms
    return (
        sending * station.sending(blocks, power, chains)
        + signals * station.sending(min(1.0, 20 / activity.prbs), power, chains)
        + receiving * station.receiving(chains)
        + asleep
    )


def of_carriers(power: Tensor) -> Tensor:
    """[...] power of a base station with several adjoining carriers in one band ([..., carriers], the first in full).

    Examples
    --------
    >>> float(of_carriers(torch.tensor([280.0, 100.0])))
    350.0
    """
    weight = torch.full_like(power, FURTHER_CARRIER)
    weight[..., 0] = 1.0
    return (power * weight).sum(dim=-1)

"""What of a carrier is not there for data: synchronisation, control and reference signals, and the other direction.

Counted in resource elements: 12 subcarriers by 14 symbols a slot for each resource block (TS 38.211 4.4).
"""

from dataclasses import dataclass, fields

import torch

from twin_core.exceptions import InvalidSettings

Tensor = torch.Tensor

_SUBCARRIERS, _SYMBOLS = 12, 14
# One SS/PBCH block (TS 38.211 7.4.3.1).
SSB_BLOCKS, SSB_SYMBOLS = 20, 4
# A burst of tracking signals: 3 elements a resource block in 2 symbols of 2 slots, over no more than 52 resource blocks
# (TS 38.214 5.1.6.1.1).
_TRS_ELEMENTS, _TRS_BLOCKS = 12, 52


@dataclass(frozen=True)
class TddPattern:
    """How slots are shared between directions (tdd-UL-DL-ConfigurationCommon, TS 38.213 11.1).

    The defaults are DDDSU with 10 downlink, 2 guard and 2 uplink symbols in the special slot.

    Attributes
    ----------
    slots
        Of a period.
    downlink_slots, uplink_slots
        Whole ones, at its start and end.
    downlink_symbols, uplink_symbols
        Of the slots between; what is left of those is guard.
    """

    slots: int = 5
    downlink_slots: int = 3
    uplink_slots: int = 1
    downlink_symbols: int = 10
    uplink_symbols: int = 2

    def __post_init__(self) -> None:
        """Refuse a pattern that does not fit its period."""
        if any(getattr(self, f.name) < 0 for f in fields(self)) or self.slots < 1 or self.guard_share < 0:
            raise InvalidSettings(
                f"{self} does not fit: downlink and uplink slots and symbols must not be negative "
                f"and together not exceed {self.slots} slots of {_SYMBOLS} symbols"
            )

    @property
    def downlink_share(self) -> float:
        """Share of the symbols that are downlink.

        Examples
        --------
        >>> round(TddPattern().downlink_share, 3), round(TddPattern().guard_share, 3)
        (0.743, 0.029)
        """
        return (self.downlink_slots * _SYMBOLS + self.downlink_symbols) / (self.slots * _SYMBOLS)

    @property
    def guard_share(self) -> float:
        """Share of the symbols that neither direction has."""
        uplink = (self.uplink_slots * _SYMBOLS + self.uplink_symbols) / (self.slots * _SYMBOLS)
        return 1 - self.downlink_share - uplink


@dataclass(frozen=True)
class Overhead:
    """What a cell sends besides data.

    Attributes
    ----------
    ssb_beams
        SS/PBCH blocks in a burst, at most 4 up to 3 GHz, 8 up to 6 GHz, 64 above (TS 38.213 4.1). 1 is one beam that
        covers the cell, as the twin's antennas have.
    ssb_period_ms
        Of the burst, 5 to 160 (TS 38.331); 20 is what a user in search of a cell may rely on (TS 38.213 4.1).
    pdcch_symbols
        Of each downlink slot that are left to control, 0 to 3 (TS 38.211 7.3.2.2).
    pdcch_share
        Part of the carrier's resource blocks that the control region spans.
    dmrs_elements
        Of a resource block and slot that are not there for data for the sake of demodulation reference signals: 12 for
        one symbol of type 1 with two groups without data, 24 for two (TS 38.211 7.4.1.1, TS 38.214 5.1.6.2).
    csi_rs_ports, csi_rs_period_ms
        One element a port in each resource block and period (TS 38.211 7.4.1.5); 0 ports for none.
    trs_period_ms
        Of the tracking signals, 10 to 80 (TS 38.214 5.1.6.1.1); infinite for none.
    tdd
        Shares of the directions; None leaves all symbols to the downlink, and what TDD takes to the fitted capacity.
    """

    ssb_beams: int = 1
    ssb_period_ms: float = 20.0
    pdcch_symbols: float = 1.0
    pdcch_share: float = 1.0
    dmrs_elements: float = 12.0
    csi_rs_ports: int = 4
    csi_rs_period_ms: float = 20.0
    trs_period_ms: float = 20.0
    tdd: TddPattern | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no carrier has."""
        limits = {
            "ssb_beams": (0, 64),
            "ssb_period_ms": (5, 160),
            "pdcch_symbols": (0, 3),
            "pdcch_share": (0, 1),
            "dmrs_elements": (0, 48),
            "csi_rs_ports": (0, 32),
            "csi_rs_period_ms": (0.5, float("inf")),
            "trs_period_ms": (5, float("inf")),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidSettings(f"Overhead.{name} is {value}; give a number from {low} to {high}")

    @property
    def downlink_share(self) -> float:
        """Share of the symbols that are downlink."""
        return 1.0 if self.tdd is None else self.tdd.downlink_share

    def shares(self, prbs: Tensor, scs_khz: Tensor) -> dict[str, Tensor]:
        """Share of the downlink's resource elements that each signal takes.

        Parameters
        ----------
        prbs, scs_khz
            [...] resource blocks and subcarrier spacing of the carrier.

        Returns
        -------
        dict
            ssb, pdcch, dmrs, csi_rs, trs to [...]. An SS/PBCH block on a carrier narrower than itself takes all of it.

        Examples
        --------
        >>> carrier = torch.tensor(51.0), torch.tensor(30.0)
        >>> {name: round(float(100 * share), 2) for name, share in Overhead().shares(*carrier).items()}
        {'ssb': 0.28, 'pdcch': 7.14, 'dmrs': 7.12, 'csi_rs': 0.06, 'trs': 0.18}
        """
        # Downlink symbols a millisecond, and elements of one resource block in it.
        symbols = _SYMBOLS * scs_khz / 15 * self.downlink_share
        elements = _SUBCARRIERS * symbols
        ssb = self.ssb_beams * SSB_SYMBOLS / (symbols * self.ssb_period_ms) * (SSB_BLOCKS / prbs).clamp_max(1.0)
        pdcch = torch.full_like(ssb, self.pdcch_symbols / _SYMBOLS * self.pdcch_share)
        # Demodulation reference signals go with data: not where synchronisation or control stand.
        per_block = _SYMBOLS * _SUBCARRIERS - self.pdcch_symbols * self.pdcch_share * _SUBCARRIERS
        dmrs = (1 - ssb - pdcch).clamp_min(0) * min(1.0, self.dmrs_elements / per_block)
        csi_rs = (self.csi_rs_ports / (elements * self.csi_rs_period_ms)).expand_as(ssb)
        trs = _TRS_ELEMENTS / (elements * self.trs_period_ms) * (_TRS_BLOCKS / prbs).clamp_max(1.0)
        return {"ssb": ssb, "pdcch": pdcch, "dmrs": dmrs, "csi_rs": csi_rs, "trs": trs}

    def data_share(self, prbs: Tensor, scs_khz: Tensor) -> Tensor:
        """[...] share of all resource elements of the carrier, both directions, that downlink data can have.

        Examples
        --------
        >>> share = Overhead().data_share(torch.tensor([51.0, 106.0, 273.0]), torch.tensor(30.0))
        >>> [round(float(s), 3) for s in share]
        [0.852, 0.854, 0.856]
        """
        taken = torch.stack(list(self.shares(prbs, scs_khz).values())).sum(dim=0)
        return self.downlink_share * (1 - taken).clamp_min(0)

    def idle_share(self, prbs: Tensor, scs_khz: Tensor) -> Tensor:
        """[...] share of the downlink's resource elements that a cell sends without any user: what is periodic.

        Control and demodulation signals go with data. System information is not counted: where it is sent often, it
        adds up to a percent or two.

        Examples
        --------
        >>> round(float(100 * Overhead().idle_share(torch.tensor(51.0), torch.tensor(30.0))), 2)
        0.52
        """
        shares = self.shares(prbs, scs_khz)
        return (shares["ssb"] + shares["csi_rs"] + shares["trs"]).clamp_max(1.0)


def sending_share(load: Tensor, idle_share: Tensor | float) -> Tensor:
    """[...] share of its resource elements that a cell sends, and so disturbs others with, at a load of 0..1.

    What is sent anyway is the least; data shares the rest. Linear in load and never above 1, so a load coupling that
    takes it in place of load keeps its properties.

    Examples
    --------
    >>> sending_share(torch.tensor([0.0, 0.5, 1.0]), 0.02).tolist()
    [0.019999999552965164, 0.5099999904632568, 1.0]
    """
    return idle_share + (1 - idle_share) * load

"""What a report holds: names, units, and how cells add up to the network. Names that begin with TL. are derived.

Units that are easily misread: powers of carriers are in 0.1 dBm, delays in 0.1 ms, volumes in kbit, RRU.PrbTotDl in
percent but RRU.PrbUsedDl and PrbAvailDl in resource blocks, PEE.AvgPower in W but PEE.Energy in kWh.
"""

from enum import StrEnum
from typing import NamedTuple

from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, SLICED
from twin_core.reporting.crowd import PERCENTILES

PERCENTILE_NAMES = tuple(f"TL.UEThpDl.P{p}" for p in PERCENTILES)
MEAN_THROUGHPUT = "TL.UEThpDl.Mean"


class Whole(StrEnum):
    """How the network's number comes from those of its cells."""

    SUM = "sum"
    USERS = "mean over users"
    OWN = "reckoned for the network"
    NONE = "none"


class Kpi(NamedTuple):
    """One KPI: its name, unit, where it is given, and how the network's comes about."""

    name: str
    unit: str
    level: str
    whole: Whole
    source: str


CELL, ELEMENT = "cell", "managed element"
_T = "TS 28.552"
# Counters of each cell, in the order in which they are shown.
_COUNTERS = {
    "RRU.PrbTotDl": Whole.OWN,
    "RRU.PrbUsedDl": Whole.SUM,
    "RRU.PrbAvailDl": Whole.SUM,
    "DRB.PdcpSduVolumeDL": Whole.SUM,
    "DRB.UEThpDl": Whole.OWN,
    "DRB.MeanActiveUeDl": Whole.SUM,
    "RRC.ConnMean": Whole.SUM,
    "CARR.MaxTxPwr": Whole.NONE,
    "CARR.MeanTxPwr": Whole.NONE,
    "TB.TotNbrDl": Whole.SUM,
    "TB.ErrTotNbrDl": Whole.SUM,
    "TL.MeanCqiDl": Whole.USERS,
}
_DERIVED = (
    Kpi("TL.MeanSinrDl", "dB", CELL, Whole.USERS, "derived: mean of decibels over users"),
    Kpi("TL.MeanSsRsrp", "dBm", CELL, Whole.USERS, "derived from L1M.SS-RSRP"),
    *(Kpi(f"TL.UEThpDl.P{p}", "kbit/s", CELL, Whole.OWN, f"derived: {p}th percentile of users") for p in PERCENTILES),
    Kpi(MEAN_THROUGHPUT, "kbit/s", CELL, Whole.OWN, "derived: mean of users, each counting the same"),
    Kpi("TL.OfferedVolumeDL", "kbit", CELL, Whole.SUM, "derived: what covered and uncovered users ask for"),
    Kpi("TL.UnservedRatio", "1", CELL, Whole.OWN, "derived: part of TL.OfferedVolumeDL not delivered in its period"),
    Kpi("TL.UncoveredUsers", "UE", CELL, Whole.SUM, "derived: would be here, but find no coverage"),
)
MOBILITY = (
    "MM.HoExeInterReq",
    "MM.HoExeInterSucc",
    "MM.HoExeInterFail",
    "MM.HoExeIntraReq",
    "MM.HoExeIntraSucc",
    "HO.IntraSys.TooEarly",
    "HO.IntraSys.TooLate",
    "HO.IntraSys.ToWrongCell",
    "TL.HoPingPong",
)


def _counter(name: str, whole: Whole) -> Kpi:
    counter = CELL_COUNTERS[name]
    return Kpi(name, counter.unit, CELL, whole, counter.source)


BY_CELL: dict[str, Kpi] = {
    k.name: k
    for k in (
        *(_counter(name, whole) for name, whole in _COUNTERS.items()),
        *_DERIVED,
        *(_counter(name, Whole.SUM) for name in MOBILITY),
    )
}
# Of each cell and slice; sub-counters are named by `schemas.counters.sliced`.
_OF_SLICES = (*SLICED, *PERCENTILE_NAMES, MEAN_THROUGHPUT)
BY_SLICE: dict[str, Kpi] = {
    name: (BY_CELL.get(name) or _counter(name, Whole.OWN))._replace(level="cell and slice") for name in _OF_SLICES
}
BY_ELEMENT: dict[str, Kpi] = {
    c.name: Kpi(c.name, c.unit, ELEMENT, Whole.SUM, c.source) for c in ELEMENT_COUNTERS.values()
}
# Of each cell, by bin.
DISTRIBUTIONS: dict[str, Kpi] = {
    k.name: k
    for k in (
        Kpi("CARR.WBCQIDist", "UE", CELL, Whole.SUM, f"{_T} 5.1.1.11.1"),
        Kpi("L1M.SS-RSRP", "UE", CELL, Whole.SUM, f"{_T} 5.1.1.22.1"),
    )
}

_NO_UPLINK = "the engine has no uplink"
_NO_PACKETS = "the engine has flows, not packets; RlcSduDelayDl is given of slices"
_NO_CONNECTIONS = "the engine has connected users, not their coming and going"
# Counters of the catalogue that no report holds, and why.
NEVER: dict[str, str] = {
    **dict.fromkeys(("RRU.PrbTotUl", "DRB.UEThpUl", "DRB.PdcpSduVolumeUL"), _NO_UPLINK),
    **dict.fromkeys(("DRB.RlcSduDelayDl", "DRB.AirIfDelayDl", "DRB.RlcPacketDropRateDl"), _NO_PACKETS),
    **dict.fromkeys(("RRC.ConnMax", "RRC.ConnEstabAtt", "RRC.ConnEstabSucc", "RRC.ReEstabAtt"), _NO_CONNECTIONS),
}


def unit_of(name: str) -> str:
    """Unit of a KPI by its name, a slice's sub-counter included.

    Examples
    --------
    >>> unit_of("CARR.MeanTxPwr"), unit_of("DRB.RlcSduDelayDl.1-000001"), unit_of("TL.UEThpDl.P5.2-000001")
    ('0.1 dBm', '0.1 ms', 'kbit/s')
    """
    for table in (BY_CELL, BY_ELEMENT, DISTRIBUTIONS):
        if name in table:
            return table[name].unit
    return BY_SLICE[name.rpartition(".")[0]].unit

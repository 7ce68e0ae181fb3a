"""PM counters (TS 28.552): names, units, ranges, kinds, and the layouts in which they travel.

A PM report carries, per cell, one array of doubles whose positions a *layout* names. A producer that lacks
counters sends NaN there; a producer with other counters registers a layout of its own.
"""

from enum import StrEnum
from typing import NamedTuple

from schemas.exceptions import UnknownLayout


class Kind(StrEnum):
    """How a counter is collected, which says how it may be aggregated (TS 32.404)."""

    CC = "CC"  # cumulative counter: sums over cells and time
    SI = "SI"  # status inspection: means over time
    DER = "DER"  # event registration or ratio: weighted mean only


class Counter(NamedTuple):
    """One PM counter: its 3GPP name, unit, collection kind and the range outside which a value is absurd."""

    name: str
    unit: str
    kind: Kind
    low: float
    high: float
    source: str


_T = "TS 28.552"
CELL_COUNTERS: dict[str, Counter] = {
    c.name: c
    for c in (
        Counter("RRU.PrbTotDl", "%", Kind.SI, 0, 100, f"{_T} 5.1.1.2.1"),
        Counter("RRU.PrbTotUl", "%", Kind.SI, 0, 100, f"{_T} 5.1.1.2.2"),
        Counter("RRU.PrbUsedDl", "PRB", Kind.SI, 0, 1100, f"{_T} 5.1.1.2.5"),
        Counter("RRU.PrbAvailDl", "PRB", Kind.SI, 0, 1100, f"{_T} 5.1.1.2.6"),
        Counter("DRB.UEThpDl", "kbit/s", Kind.DER, 0, 1e8, f"{_T} 5.1.1.3.1"),
        Counter("DRB.UEThpUl", "kbit/s", Kind.DER, 0, 1e8, f"{_T} 5.1.1.3.3"),
        Counter("DRB.PdcpSduVolumeDL", "kbit", Kind.CC, 0, 1e12, f"{_T} 5.1.2.1.1.1"),
        Counter("DRB.PdcpSduVolumeUL", "kbit", Kind.CC, 0, 1e12, f"{_T} 5.1.2.1.2.1"),
        Counter("DRB.MeanActiveUeDl", "UE", Kind.SI, 0, 1e5, f"{_T} 5.1.1.23.1"),
        Counter("DRB.RlcSduDelayDl", "0.1 ms", Kind.DER, 0, 1e7, f"{_T} 5.1.3.3.2"),
        Counter("DRB.AirIfDelayDl", "0.1 ms", Kind.DER, 0, 1e7, f"{_T} 5.1.1.1.1"),
        Counter("DRB.RlcPacketDropRateDl", "1e-6", Kind.DER, 0, 1e6, f"{_T} 5.1.3.2.2"),
        Counter("RRC.ConnMean", "UE", Kind.SI, 0, 1e5, f"{_T} 5.1.1.4.1"),
        Counter("RRC.ConnMax", "UE", Kind.SI, 0, 1e5, f"{_T} 5.1.1.4.2"),
        Counter("RRC.ConnEstabAtt", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.15.1"),
        Counter("RRC.ConnEstabSucc", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.15.2"),
        Counter("RRC.ReEstabAtt", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.17.1"),
        Counter("MM.HoExeInterReq", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.6.1.7"),
        Counter("MM.HoExeInterSucc", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.6.1.8"),
        Counter("MM.HoExeInterFail", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.6.1.9"),
        Counter("MM.HoExeIntraReq", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.6.2.1"),
        Counter("MM.HoExeIntraSucc", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.6.2.2"),
        Counter("HO.IntraSys.TooEarly", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.25.1"),
        Counter("HO.IntraSys.TooLate", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.25.2"),
        Counter("HO.IntraSys.ToWrongCell", "1", Kind.CC, 0, 1e9, f"{_T} 5.1.1.25.3"),
        Counter("TB.TotNbrDl", "1", Kind.CC, 0, 1e12, f"{_T} 5.1.1.7.1"),
        Counter("TB.ErrTotNbrDl", "1", Kind.CC, 0, 1e12, f"{_T} 5.1.1.7.2"),
        Counter("CARR.MaxTxPwr", "0.1 dBm", Kind.SI, -600, 700, f"{_T} 5.1.1.29.1"),
        Counter("CARR.MeanTxPwr", "0.1 dBm", Kind.SI, -600, 700, f"{_T} 5.1.1.29.2"),
        Counter("TL.MeanCqiDl", "1", Kind.DER, 0, 15, "derived from CARR.WBCQIDist (TS 28.552 5.1.1.11)"),
        Counter("TL.HoPingPong", "1", Kind.CC, 0, 1e9, "derived: return to the source cell within 5 s"),
    )
}
# Slices whose sub-counters are in the catalogue, by S-NSSAI (SST-SD, TS 23.003 28.4.2): SST 1 is eMBB, 2 is URLLC.
EMBB, URLLC = S_NSSAIS = ("1-000001", "2-000001")
SLICED = ("RRU.PrbUsedDl", "DRB.UEThpDl", "DRB.PdcpSduVolumeDL", "DRB.RlcSduDelayDl", "DRB.MeanActiveUeDl")


def sliced(counter: str, s_nssai: str) -> str:
    """Name of a counter's sub-counter for one slice.

    >>> sliced("DRB.UEThpDl", "1-000001")
    'DRB.UEThpDl.1-000001'
    """
    return f"{counter}.{s_nssai}"


CELL_COUNTERS |= {
    sliced(name, s_nssai): CELL_COUNTERS[name]._replace(name=sliced(name, s_nssai))
    for s_nssai in S_NSSAIS
    for name in SLICED
}
ELEMENT_COUNTERS: dict[str, Counter] = {
    c.name: c
    for c in (
        Counter("PEE.AvgPower", "W", Kind.SI, 0, 1e6, f"{_T} 5.1.1.19.2.1"),
        Counter("PEE.Energy", "kWh", Kind.CC, 0, 1e6, f"{_T} 5.1.1.19.3"),
    )
}
# Cumulative counters of real equipment are 32 bit and wrap; a smaller value than before that is not a wrap is a reset.
WRAP_MODULUS = float(2**32)


class Layout(NamedTuple):
    """Which counter stands at which position of a PM report's arrays."""

    name: str
    cell: tuple[str, ...]
    element: tuple[str, ...] = ()


_LAYOUTS: dict[str, Layout] = {}


def register_layout(layout: Layout) -> Layout:
    """Make a layout known to this process.

    Raises
    ------
    UnknownLayout
        If it names a counter outside the catalogue, or redefines a layout under the same name.
    """
    unknown = [n for n in layout.cell if n not in CELL_COUNTERS]
    unknown += [n for n in layout.element if n not in ELEMENT_COUNTERS]
    if unknown:
        raise UnknownLayout(f"layout {layout.name!r} names counters outside the catalogue: {', '.join(unknown)}")
    if _LAYOUTS.setdefault(layout.name, layout) != layout:
        raise UnknownLayout(f"layout {layout.name!r} is already defined otherwise; give the new one its own name")
    return layout


def layout(name: str) -> Layout:
    """The layout of that name.

    Raises
    ------
    UnknownLayout
        If nobody registered it.

    Examples
    --------
    >>> layout("nr-cell-v1").cell[0]
    'RRU.PrbTotDl'
    """
    try:
        return _LAYOUTS[name]
    except KeyError:
        raise UnknownLayout(
            f"counter layout {name!r} is not registered; known: {', '.join(sorted(_LAYOUTS))}"
        ) from None


def layouts() -> tuple[Layout, ...]:
    """All registered layouts."""
    return tuple(_LAYOUTS.values())


NR_CELL_V1 = register_layout(
    Layout(
        "nr-cell-v1",
        cell=(
            "RRU.PrbTotDl",
            "RRU.PrbUsedDl",
            "RRU.PrbAvailDl",
            "DRB.UEThpDl",
            "DRB.PdcpSduVolumeDL",
            "DRB.MeanActiveUeDl",
            "DRB.RlcSduDelayDl",
            "DRB.RlcPacketDropRateDl",
            "RRC.ConnMean",
            "RRC.ConnMax",
            "RRC.ConnEstabAtt",
            "RRC.ConnEstabSucc",
            "RRC.ReEstabAtt",
            "MM.HoExeInterReq",
            "MM.HoExeInterSucc",
            "MM.HoExeInterFail",
            "HO.IntraSys.TooEarly",
            "HO.IntraSys.TooLate",
            "HO.IntraSys.ToWrongCell",
            "TB.TotNbrDl",
            "TB.ErrTotNbrDl",
            "CARR.MaxTxPwr",
            "CARR.MeanTxPwr",
            "TL.MeanCqiDl",
            "TL.HoPingPong",
        ),
        element=("PEE.AvgPower", "PEE.Energy"),
    )
)
NR_CELL_SLICES_V1 = register_layout(
    Layout(
        "nr-cell-slices-v1",
        cell=(*NR_CELL_V1.cell, *(sliced(name, s_nssai) for s_nssai in S_NSSAIS for name in SLICED)),
        element=NR_CELL_V1.element,
    )
)


def common_layout(*, sliced: bool) -> Layout:
    """The layout that all of twinloop reads of a network with slices, or of one without."""
    return NR_CELL_SLICES_V1 if sliced else NR_CELL_V1

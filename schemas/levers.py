"""Levers: the configuration attributes of TS 28.541 that an operator may set, with units and ranges."""

from bisect import bisect_left
from typing import NamedTuple

from schemas.names import parse

LOCKED, UNLOCKED, SHUTTING_DOWN = "LOCKED", "UNLOCKED", "SHUTTING_DOWN"
ADMINISTRATIVE_STATES = (LOCKED, UNLOCKED, SHUTTING_DOWN)

# Q-OffsetRange, TS 38.331: the only values a cellIndividualOffset can take, in dB.
CIO_GRID_DB = (-24, -22, -20, -18, -16, -14, -12, -10, -8, -6, -5, -4, -3, -2, -1,
               0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24)  # fmt: skip


class Lever(NamedTuple):
    """One settable attribute: the class of object that carries it, its unit and its range (or its words)."""

    attribute: str
    cls: str
    unit: str
    low: float = 0
    high: float = 0
    words: tuple[str, ...] = ()
    whole: bool = False  # a number that names something

    @property
    def takes(self) -> str:
        """What it can be set to, in words.

        >>> LEVERS["digitalTilt"].takes, LEVERS["coverageShape"].takes
        ('a number in 0.1 degree', 'a whole number')
        """
        if self.words:
            return ", ".join(self.words)
        return "a whole number" if self.whole else f"a number in {self.unit}"


# Shares of a cell's resource blocks: kept for a slice alone <= guaranteed to it <= the most it may use.
DEDICATED, MINIMUM, MAXIMUM = RATIOS = ("rRMPolicyDedicatedRatio", "rRMPolicyMinRatio", "rRMPolicyMaxRatio")
LEVERS: dict[str, Lever] = {
    lever.attribute: lever
    for lever in (
        Lever("configuredMaxTxPower", "NRSectorCarrier", "mW", 1, 200_000),
        Lever("digitalTilt", "CommonBeamformingFunction", "0.1 degree", -900, 900),
        Lever("digitalAzimuth", "CommonBeamformingFunction", "0.1 degree", -1800, 1800),
        Lever("coverageShape", "CommonBeamformingFunction", "", 0, 65535, whole=True),
        Lever("cellIndividualOffset", "NRCellRelation", "dB", -24, 24),
        Lever("administrativeState", "NRCellDU", "", words=ADMINISTRATIVE_STATES),
        *(Lever(attribute, "RRMPolicyRatio", "%", 0, 100) for attribute in RATIOS),
    )
}


def quantise_cio(value_db: float) -> float:
    """The nearest value that a cellIndividualOffset can take (TS 38.331 Q-OffsetRange).

    >>> quantise_cio(6.7), quantise_cio(7.2), quantise_cio(-99)
    (6.0, 8.0, -24.0)
    """
    i = bisect_left(CIO_GRID_DB, value_db)
    near = CIO_GRID_DB[max(i - 1, 0) : i + 1] or CIO_GRID_DB[-1:]
    return float(min(near, key=lambda g: (abs(g - value_db), abs(g))))


def problem_with(dn: str, attribute: str, value: float | str) -> str | None:
    """Why this value cannot be set on that object, or None if it can.

    >>> problem_with("ManagedElement=g1,GNBDUFunction=1,NRCellDU=1", "administrativeState", "OFF")
    "administrativeState takes LOCKED, UNLOCKED, SHUTTING_DOWN, not 'OFF'"
    """
    lever = LEVERS.get(attribute)
    if lever is None:
        return f"unknown attribute {attribute!r}; known: {', '.join(LEVERS)}"
    if parse(dn)[-1].cls != lever.cls:
        return f"{attribute} is an attribute of {lever.cls}, not of {dn}"
    if lever.words:
        return None if value in lever.words else f"{attribute} takes {lever.takes}, not {value!r}"
    if isinstance(value, str):
        return f"{attribute} takes {lever.takes}, not {value!r}"
    if not lever.low <= value <= lever.high:
        return f"{attribute} must lie in {f'[{lever.low:g}, {lever.high:g}] {lever.unit}'.rstrip()}, not {value:g}"
    if lever.whole and value != int(value):
        return f"{attribute} takes {lever.takes}, not {value:g}"
    if attribute == "cellIndividualOffset" and value not in CIO_GRID_DB:
        return f"cellIndividualOffset {value:g} dB is not on the grid of TS 38.331; nearest is {quantise_cio(value):g}"
    return None

"""3GPP distinguished names (TS 32.300): how managed objects are called.

A cell is ``SubNetwork=1,ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3``. The objects that carry its levers
hang beside it under the same managed element, and share its last value by convention of this project:
``NRSectorCarrier=3`` (power), ``CommonBeamformingFunction`` below it (tilt), ``GNBCUCPFunction=1,NRCellCU=3``
and its ``NRCellRelation=gnb2-1`` (handover bias towards cell 1 of gnb2). Below the cell itself hangs one
``RRMPolicyRatio=1-000001`` for each slice, named by its S-NSSAI.
"""

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from schemas.exceptions import InvalidName

# Rel-18 spells some classes differently; names are canonical in Rel-19 spelling.
ALIASES = {"NrCellDu": "NRCellDU", "NrCellCu": "NRCellCU", "NrSectorCarrier": "NRSectorCarrier"}

_CLASS = re.compile(r"[A-Z][A-Za-z0-9]{0,63}\Z")
_VALUE = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")


class Rdn(NamedTuple):
    """One step of a distinguished name: class and value."""

    cls: str
    value: str


def parse(dn: str) -> tuple[Rdn, ...]:
    """Split a distinguished name into its steps, canonical in Rel-19 spelling.

    Raises
    ------
    InvalidName
        If a step is not ``Class=value``, or a class or value has characters outside their alphabet.

    Examples
    --------
    >>> parse("ManagedElement=gnb7,GNBDUFunction=1,NrCellDu=3")[-1]
    Rdn(cls='NRCellDU', value='3')
    """
    steps = []
    for part in dn.split(","):
        cls, sep, value = part.partition("=")
        cls = ALIASES.get(cls, cls)
        if not sep or not _CLASS.match(cls) or not _VALUE.match(value):
            raise InvalidName(f"{dn!r}: {part!r} is not Class=value; write e.g. ManagedElement=gnb7,NRCellDU=3")
        steps.append(Rdn(cls, value))
    return tuple(steps)


def join(steps: tuple[Rdn, ...]) -> str:
    """Write steps as a distinguished name.

    >>> join((Rdn("ManagedElement", "gnb7"), Rdn("NRCellDU", "3")))
    'ManagedElement=gnb7,NRCellDU=3'
    """
    return ",".join(f"{cls}={value}" for cls, value in steps)


def canonical(dn: str) -> str:
    """The same name in Rel-19 spelling; raises InvalidName if malformed.

    >>> canonical("ManagedElement=gnb7,NrCellDu=3")
    'ManagedElement=gnb7,NRCellDU=3'
    """
    return join(parse(dn))


def managed_element_of(dn: str) -> str:
    """The managed element an object belongs to.

    >>> managed_element_of("SubNetwork=1,ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3")
    'SubNetwork=1,ManagedElement=gnb7'
    """
    steps = parse(dn)
    for i, step in enumerate(steps):
        if step.cls == "ManagedElement":
            return join(steps[: i + 1])
    raise InvalidName(f"{dn!r} has no ManagedElement; a network object lives under one")


def cell_dn(managed_element: str, cell: str | int) -> str:
    """Name of cell ``cell`` of a managed element.

    >>> cell_dn("SubNetwork=1,ManagedElement=gnb7", 3)
    'SubNetwork=1,ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3'
    """
    return f"{managed_element},GNBDUFunction=1,NRCellDU={cell}"


def short_name(cell: str) -> str:
    """How people call a cell, as in the name of a relation towards it.

    >>> short_name("SubNetwork=1,ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3")
    'gnb7-3'
    """
    return f"{parse(managed_element_of(cell))[-1].value}-{parse(cell)[-1].value}"


def sector_carrier_dn(cell: str) -> str:
    """The object that carries the transmit power of a cell.

    >>> sector_carrier_dn("ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3")
    'ManagedElement=gnb7,GNBDUFunction=1,NRSectorCarrier=3'
    """
    steps = parse(cell)
    return join((*steps[:-1], Rdn("NRSectorCarrier", steps[-1].value)))


def beam_dn(cell: str) -> str:
    """The object that carries the tilt of a cell.

    >>> beam_dn("ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3")
    'ManagedElement=gnb7,GNBDUFunction=1,NRSectorCarrier=3,CommonBeamformingFunction=1'
    """
    return f"{sector_carrier_dn(cell)},CommonBeamformingFunction=1"


def relation_dn(source: str, target: str) -> str:
    """The object that carries the handover bias from a cell towards another.

    >>> relation_dn("ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3", "ManagedElement=gnb2,GNBDUFunction=1,NRCellDU=1")
    'ManagedElement=gnb7,GNBCUCPFunction=1,NRCellCU=3,NRCellRelation=gnb2-1'
    """
    element = managed_element_of(source)
    theirs = parse(managed_element_of(target))[-1].value
    return (
        f"{element},GNBCUCPFunction=1,NRCellCU={parse(source)[-1].value},"
        f"NRCellRelation={theirs}-{parse(target)[-1].value}"
    )


def slice_policy_dn(cell: str, s_nssai: str) -> str:
    """The object that carries a slice's shares of a cell's resource blocks.

    >>> slice_policy_dn("ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3", "1-000001")
    'ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3,RRMPolicyRatio=1-000001'
    """
    return f"{cell},RRMPolicyRatio={s_nssai}"


def slice_of(dn: str) -> str:
    """The S-NSSAI that an RRMPolicyRatio is about.

    >>> slice_of("ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3,RRMPolicyRatio=1-000001")
    '1-000001'
    """
    last = parse(dn)[-1]
    if last.cls != "RRMPolicyRatio":
        raise InvalidName(f"{dn!r} is no RRMPolicyRatio=<S-NSSAI>")
    return last.value


def cell_of(dn: str) -> str:
    """The cell to which a lever object belongs (for a relation: the cell it starts from).

    >>> cell_of("ManagedElement=gnb7,GNBCUCPFunction=1,NRCellCU=3,NRCellRelation=gnb2-1")
    'ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3'
    """
    for step in parse(dn):
        if step.cls in ("NRCellDU", "NRCellCU", "NRSectorCarrier"):
            return cell_dn(managed_element_of(dn), step.value)
    raise InvalidName(f"{dn!r} belongs to no cell; name an NRCellDU, NRSectorCarrier or NRCellCU")


def relation_target_of(dn: str) -> str:
    """The cell towards which a relation points.

    >>> relation_target_of("SubNetwork=1,ManagedElement=g7,GNBCUCPFunction=1,NRCellCU=3,NRCellRelation=g2-1")
    'SubNetwork=1,ManagedElement=g2,GNBDUFunction=1,NRCellDU=1'
    """
    steps = parse(dn)
    element, sep, cell = steps[-1].value.rpartition("-")
    if steps[-1].cls != "NRCellRelation" or not sep:
        raise InvalidName(f"{dn!r} is no NRCellRelation=<ManagedElement>-<NRCellDU>")
    mine = parse(managed_element_of(dn))
    return cell_dn(join((*mine[:-1], Rdn("ManagedElement", element))), cell)


def _managed_element(dn: str) -> str:
    steps = parse(dn)
    if steps[-1].cls != "ManagedElement":
        raise InvalidName(f"{dn!r} is no managed element; its last step must be ManagedElement=…")
    return join(steps)


def _cell(dn: str) -> str:
    steps = parse(dn)
    if steps[-1].cls != "NRCellDU":
        raise InvalidName(f"{dn!r} is no cell; its last step must be NRCellDU=…")
    managed_element_of(dn)
    return join(steps)


Dn = Annotated[str, AfterValidator(canonical), Field(max_length=400, description="3GPP distinguished name")]
ManagedElementDn = Annotated[
    str, AfterValidator(_managed_element), Field(max_length=400, description="DN of a managed element")
]
CellDn = Annotated[str, AfterValidator(_cell), Field(max_length=400, description="DN of a cell (NRCellDU)")]
NetworkId = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Which network of this installation"),
]

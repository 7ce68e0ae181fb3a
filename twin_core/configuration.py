"""What an operator may set: transmit power, tilt, azimuth, handover bias, cell state. As tensors, and by 3GPP name."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from schemas.levers import LOCKED, UNLOCKED, problem_with
from schemas.names import beam_dn, canonical, cell_of, relation_dn, relation_target_of, sector_carrier_dn
from schemas.strategies import ConfigChange
from twin_core.exceptions import InvalidConfiguration, UnknownObject
from twin_core.network import DEFAULT_TILT_DEG, Network, Place

Value = float | str
_TENSOR = {
    "administrativeState": "active",
    "configuredMaxTxPower": "tx_power_dbm",
    "digitalTilt": "tilt_deg",
    "digitalAzimuth": "azimuth_deg",
    "cellIndividualOffset": "cio_db",
}


class Difference(NamedTuple):
    """One attribute in which two configurations differ."""

    object: str
    attribute: str
    before: Value
    after: Value


@dataclass(frozen=True, eq=False)
class Configuration:
    """The levers of all cells.

    Attributes
    ----------
    tx_power_dbm
        [C] configured maximum transmit power.
    tilt_deg
        [C] electrical down-tilt.
    azimuth_deg
        [C] electrical azimuth against the mechanical one, clockwise.
    cio_db
        [C, C] cell individual offset from the serving cell (row) towards a neighbour (column).
    active
        [C] whether the cell is unlocked.
    """

    tx_power_dbm: torch.Tensor
    tilt_deg: torch.Tensor
    azimuth_deg: torch.Tensor
    cio_db: torch.Tensor
    active: torch.Tensor

    @classmethod
    def default(cls, network: Network) -> "Configuration":
        """Everything on at rated power, 6 degrees of tilt, no bias: what is assumed until the network reports."""
        n = len(network.cells)
        return cls(
            tx_power_dbm=network.rated_dbm.clone(),
            tilt_deg=torch.full((n,), DEFAULT_TILT_DEG, dtype=torch.float64),
            azimuth_deg=torch.zeros(n, dtype=torch.float64),
            cio_db=torch.zeros(n, n, dtype=torch.float64),
            active=torch.ones(n, dtype=torch.bool),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """All fields by name."""
        return dict(vars(self))

    def with_changes(self, network: Network, changes: Sequence[ConfigChange]) -> "Configuration":
        """The configuration after these changes; later ones win.

        Raises
        ------
        UnknownObject
            If an object is not one of this network's.
        InvalidConfiguration
            If a value is out of range.

        Examples
        --------
        >>> from twin_core.layouts import hexagonal
        >>> network = Network.of(hexagonal(sites=1))
        >>> off = ConfigChange(change_id="c", object=network.cells[1], attribute="administrativeState", value="LOCKED")
        >>> Configuration.default(network).with_changes(network, [off]).active.tolist()
        [True, False, True]
        """
        return self.with_values(network, (((c.object, c.attribute), c.value) for c in changes))

    def with_values(
        self, network: Network, values: Mapping[tuple[str, str], Value] | Iterable[tuple[tuple[str, str], Value]]
    ) -> "Configuration":
        """The configuration after setting attributes of objects by name; raises as `with_changes` does."""
        arrays = {name: tensor.numpy() for name, tensor in vars(self).items()}
        changed: set[str] = set()
        for (dn, attribute), value in values.items() if isinstance(values, Mapping) else values:
            known = network.places.get((dn, attribute))
            if known is None:
                problem = problem_with(dn, attribute, value)
                if problem:
                    raise InvalidConfiguration(problem)
                known = network.places[dn, attribute] = _place(network, dn, attribute)
            name, place = known
            # A full report repeats what is known; only what differs is worth checking.
            number = _number(attribute, value)
            if arrays[name][place] == number:
                continue
            problem = problem_with(dn, attribute, value)
            if problem:
                raise InvalidConfiguration(problem)
            if name not in changed:
                arrays[name] = arrays[name].copy()
                changed.add(name)
            arrays[name][place] = number
        return replace(self, **{name: torch.from_numpy(arrays[name]) for name in changed})

    def value_of(self, network: Network, dn: str, attribute: str) -> Value:
        """The present value of an attribute, in the attribute's unit.

        Raises
        ------
        UnknownObject
            If the network has no such object, or the object no such attribute.
        """
        _, place = _place(network, canonical(dn), attribute)
        if attribute == "administrativeState":
            return UNLOCKED if bool(self.active[place]) else LOCKED
        if attribute == "configuredMaxTxPower":
            return round(10 ** (float(self.tx_power_dbm[place]) / 10), 6)
        if attribute == "digitalTilt":
            return round(10 * float(self.tilt_deg[place]), 6)
        if attribute == "digitalAzimuth":
            return round(10 * float(self.azimuth_deg[place]), 6)
        return float(self.cio_db[place])

    def differences(self, network: Network, other: "Configuration") -> list[Difference]:
        """What must be set to get from this configuration to another, in cell order."""
        named = []
        for i, cell in enumerate(network.cells):
            if self.active[i] != other.active[i]:
                named.append((cell, "administrativeState"))
            if self.tx_power_dbm[i] != other.tx_power_dbm[i]:
                named.append((sector_carrier_dn(cell), "configuredMaxTxPower"))
            if self.tilt_deg[i] != other.tilt_deg[i]:
                named.append((beam_dn(cell), "digitalTilt"))
            if self.azimuth_deg[i] != other.azimuth_deg[i]:
                named.append((beam_dn(cell), "digitalAzimuth"))
            biased = torch.nonzero(self.cio_db[i] != other.cio_db[i])[:, 0].tolist()
            named += [(relation_dn(cell, network.cells[j]), "cellIndividualOffset") for j in biased]
        return [
            Difference(dn, attribute, self.value_of(network, dn, attribute), other.value_of(network, dn, attribute))
            for dn, attribute in named
        ]

    def same_as(self, other: "Configuration") -> bool:
        """Whether every lever has the same value."""
        return all(torch.equal(mine, getattr(other, name)) for name, mine in vars(self).items())

    def with_active(self, active: torch.Tensor) -> "Configuration":
        """The same with other cells on ([C] bool)."""
        return replace(self, active=active)


def _number(attribute: str, value: Value) -> float | bool:
    """A lever's value as it stands in the tensors; NaN for what is no number and so differs from everything."""
    if attribute == "administrativeState":
        return value == UNLOCKED
    if isinstance(value, str):
        return math.nan
    if attribute == "configuredMaxTxPower":
        return 10 * math.log10(value) if value > 0 else math.nan
    return value if attribute == "cellIndividualOffset" else value / 10


def _place(network: Network, dn: str, attribute: str) -> tuple[str, Place]:
    """Which tensor holds an attribute, and where: at a cell, or at a serving cell and a neighbour."""
    if attribute not in _TENSOR:
        raise UnknownObject(f"the twin knows no attribute {attribute!r} of {dn}; it knows {', '.join(_TENSOR)}")
    try:
        source = network.cell_index(cell_of(dn))
        if attribute == "cellIndividualOffset":
            target = network.cell_index(relation_target_of(dn))
            if source == target:
                raise UnknownObject(f"{dn} is a relation of a cell to itself; name a neighbour")
            return _TENSOR[attribute], (source, target)
    except ValueError as error:
        raise UnknownObject(f"{dn} is no object of this network: {error}") from error
    cell = network.cells[source]
    carrier = {"administrativeState": cell, "configuredMaxTxPower": sector_carrier_dn(cell)}.get(attribute)
    carrier = carrier or beam_dn(cell)
    if dn != carrier:
        raise UnknownObject(f"{attribute} of this cell is carried by {carrier}, not by {dn}")
    return _TENSOR[attribute], source

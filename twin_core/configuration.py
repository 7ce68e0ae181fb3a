"""What an operator may set: power, beams, handover bias, cell state, slice shares. As tensors, by 3GPP name."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from schemas.levers import LOCKED, RATIOS, UNLOCKED, problem_with
from schemas.names import (
    beam_dn,
    canonical,
    cell_of,
    relation_dn,
    relation_target_of,
    sector_carrier_dn,
    slice_of,
    slice_policy_dn,
)
from schemas.strategies import ConfigChange
from twin_core.exceptions import InvalidConfiguration, UnknownObject
from twin_core.flow.slices import Ratios
from twin_core.network import DEFAULT_TILT_DEG, Network, Place
from twin_core.radio.antenna import OWN_SHAPE, SHAPES_DEG

Value = float | str
_TENSOR = {
    "administrativeState": "active",
    "configuredMaxTxPower": "tx_power_dbm",
    "digitalTilt": "tilt_deg",
    "digitalAzimuth": "azimuth_deg",
    "coverageShape": "shape",
    "cellIndividualOffset": "cio_db",
    "rRMPolicyDedicatedRatio": "dedicated_ratio",
    "rRMPolicyMinRatio": "min_ratio",
    "rRMPolicyMaxRatio": "max_ratio",
}
# Tensors of the levers that form a cell's beam: a difference in one is another gain.
BEAM = ("tilt_deg", "azimuth_deg", "shape")
_RATIOS = {_TENSOR[attribute]: attribute for attribute in RATIOS}


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
    shape
        [C] coverageShape of the common beam: the panel's own (0), or one of `twin_core.radio.antenna.SHAPES_DEG`.
    cio_db
        [C, C] cell individual offset from the serving cell (row) towards a neighbour (column).
    active
        [C] whether the cell is unlocked.
    dedicated_ratio, min_ratio, max_ratio
        [C, K] RRMPolicyRatio of each slice, percent.
    """

    tx_power_dbm: torch.Tensor
    tilt_deg: torch.Tensor
    azimuth_deg: torch.Tensor
    shape: torch.Tensor
    cio_db: torch.Tensor
    active: torch.Tensor
    dedicated_ratio: torch.Tensor
    min_ratio: torch.Tensor
    max_ratio: torch.Tensor

    @classmethod
    def default(cls, network: Network) -> "Configuration":
        """All on at rated power, 6 degrees of tilt, panels' own beams, no bias, slices free.

        This is what is assumed until the network reports.
        """
        n, k = len(network.cells), len(network.slices)
        return cls(
            tx_power_dbm=network.rated_dbm.clone(),
            tilt_deg=torch.full((n,), DEFAULT_TILT_DEG, dtype=torch.float64),
            azimuth_deg=torch.zeros(n, dtype=torch.float64),
            shape=torch.full((n,), OWN_SHAPE, dtype=torch.float64),
            cio_db=torch.zeros(n, n, dtype=torch.float64),
            active=torch.ones(n, dtype=torch.bool),
            dedicated_ratio=torch.zeros(n, k, dtype=torch.float64),
            min_ratio=torch.zeros(n, k, dtype=torch.float64),
            max_ratio=torch.full((n, k), 100.0, dtype=torch.float64),
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
            If a value is out of range, a coverageShape is one of which the twin knows no widths, or a cell's slice
            shares do not fit together after all changes.

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
                problem = _problem_with(dn, attribute, value)
                if problem:
                    raise InvalidConfiguration(problem)
                known = network.places[dn, attribute] = _place(network, dn, attribute)
            name, place = known
            # A full report repeats what is known; only what differs is worth checking.
            number = _number(attribute, value)
            if arrays[name][place] == number:
                continue
            problem = _problem_with(dn, attribute, value)
            if problem:
                raise InvalidConfiguration(problem)
            if name not in changed:
                arrays[name] = arrays[name].copy()
                changed.add(name)
            arrays[name][place] = number
        made = replace(self, **{name: torch.from_numpy(arrays[name]) for name in changed})
        if changed & _RATIOS.keys():
            made.check_ratios(network)
        return made

    def check_finite(self) -> None:
        """Refuse levers that were set past `with_values` to what is no number.

        Raises
        ------
        InvalidConfiguration
            Naming the lever.
        """
        for name, tensor in vars(self).items():
            if not bool(torch.isfinite(tensor).all()):
                raise InvalidConfiguration(f"{name} holds a value that is not finite; set levers by with_values")

    def check_ratios(self, network: Network) -> None:
        """Refuse slice shares of a cell that do not fit together.

        Raises
        ------
        InvalidConfiguration
            Unless dedicated <= min <= max for each slice, and the min shares of a cell are at most 100 % together.
        """
        wrong = (self.dedicated_ratio > self.min_ratio) | (self.min_ratio > self.max_ratio)
        for cell, k in torch.nonzero(wrong).tolist():
            low, least, most = (float(t[cell, k]) for t in (self.dedicated_ratio, self.min_ratio, self.max_ratio))
            raise InvalidConfiguration(
                f"slice {network.slices[k]} of {network.cells[cell]}: dedicated {low:g} <= min {least:g} <= max "
                f"{most:g} does not hold; change the ratios together"
            )
        for cell in torch.nonzero(self.min_ratio.sum(dim=1) > 100)[:, 0].tolist():
            together = float(self.min_ratio[cell].sum())
            raise InvalidConfiguration(
                f"rRMPolicyMinRatio of all slices of {network.cells[cell]} is {together:g} % together; there is 100 %"
            )

    @property
    def ratios(self) -> Ratios:
        """Slice shares as parts of a cell's time."""
        return Ratios(self.dedicated_ratio / 100, self.min_ratio / 100, self.max_ratio / 100)

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
        if attribute == "coverageShape":
            return float(self.shape[place])
        if attribute in RATIOS:
            return float(getattr(self, _TENSOR[attribute])[place])
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
            if self.shape[i] != other.shape[i]:
                named.append((beam_dn(cell), "coverageShape"))
            biased = torch.nonzero(self.cio_db[i] != other.cio_db[i])[:, 0].tolist()
            named += [(relation_dn(cell, network.cells[j]), "cellIndividualOffset") for j in biased]
            for name, attribute in _RATIOS.items():
                moved = torch.nonzero(getattr(self, name)[i] != getattr(other, name)[i])[:, 0].tolist()
                named += [(slice_policy_dn(cell, network.slices[k]), attribute) for k in moved]
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


def _problem_with(dn: str, attribute: str, value: Value) -> str | None:
    """Why the twin cannot take a value: no network could, or the twin does not know what it looks like."""
    problem = problem_with(dn, attribute, value)
    if problem is None and attribute == "coverageShape" and value != OWN_SHAPE and value not in SHAPES_DEG:
        known = ", ".join(map(str, SHAPES_DEG))
        return (
            f"the twin knows no beam of coverageShape {value:g} ({dn}); it knows {OWN_SHAPE}, the panel's own, "
            f"and {known}: their widths stand in docs/radio.md"
        )
    return problem


def _number(attribute: str, value: Value) -> float | bool:
    """A lever's value as it stands in the tensors; NaN for what is no number and so differs from everything."""
    if attribute == "administrativeState":
        return value == UNLOCKED
    if isinstance(value, str):
        return math.nan
    if attribute == "configuredMaxTxPower":
        return 10 * math.log10(value) if value > 0 else math.nan
    return value / 10 if attribute in ("digitalTilt", "digitalAzimuth") else value


def _place(network: Network, dn: str, attribute: str) -> tuple[str, Place]:
    """Which tensor holds an attribute, and where: at a cell; a serving cell and a neighbour; a cell and a slice."""
    if attribute not in _TENSOR:
        raise UnknownObject(f"the twin knows no attribute {attribute!r} of {dn}; it knows {', '.join(_TENSOR)}")
    try:
        source = network.cell_index(cell_of(dn))
        if attribute == "cellIndividualOffset":
            target = network.cell_index(relation_target_of(dn))
            if source == target:
                raise UnknownObject(f"{dn} is a relation of a cell to itself; name a neighbour")
            return _TENSOR[attribute], (source, target)
        if attribute in RATIOS:
            if slice_of(dn) not in network.slices:
                known = ", ".join(network.slices) or "none"
                raise UnknownObject(f"{dn}: the network has no slice {slice_of(dn)}; it has {known}")
            return _TENSOR[attribute], (source, network.slices.index(slice_of(dn)))
    except ValueError as error:
        raise UnknownObject(f"{dn} is no object of this network: {error}") from error
    cell = network.cells[source]
    carrier = {"administrativeState": cell, "configuredMaxTxPower": sector_carrier_dn(cell)}.get(attribute)
    carrier = carrier or beam_dn(cell)
    if dn != carrier:
        raise UnknownObject(f"{attribute} of this cell is carried by {carrier}, not by {dn}")
    return _TENSOR[attribute], source

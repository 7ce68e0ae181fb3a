"""What differs between two twins, in words a person can read."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from twin_core.twin import Twin

# Differences below these are noise of the estimate, not news: share of the larger value, and decibels.
_LEAST_SHARE, _LEAST_DB, _LEAST_SCORE = 0.05, 0.5, 0.01
_DEMAND = (("RRC.ConnMean", "UE"), ("DRB.PdcpSduVolumeDL", "kbit"))


class TwinDifference(NamedTuple):
    """One thing that is not the same: ``topic`` is configuration, service, demand, offset or fidelity."""

    topic: str
    where: str
    what: str
    before: float | str | bool
    after: float | str | bool
    unit: str = ""

    def __str__(self) -> str:
        change = f"{_text(self.before)} -> {_text(self.after)} {self.unit}".rstrip()
        return f"{self.topic}: {self.what} of {self.where} {change}"


def twin_diff(before: Twin, after: Twin) -> list[TwinDifference]:
    """What differs: configuration, cells in service, demand, radio offsets, fidelity; in this order.

    Demand is what each twin expects of the next period. Differences within the noise of an estimate are left out.

    Raises
    ------
    ValueError
        If the twins are of different networks.
    """
    if before.network.topology != after.network.topology:
        raise ValueError("the twins are of different networks or topologies, so nothing in them can be compared")
    cells = before.network.topology.cell_names
    out = [
        TwinDifference("configuration", d.object, d.attribute, d.before, d.after)
        for d in before.configuration.differences(before.network, after.configuration)
    ]
    one, other = before.environment, after.environment
    for cell, was, now in zip(cells, one.in_service.tolist(), other.in_service.tolist(), strict=True):
        if was != now:
            out.append(TwinDifference("service", cell, "in service", was, now))
    for kpi, unit in _DEMAND:
        for cell, was, now in _changed(cells, before.predicted[kpi], after.predicted[kpi], share=_LEAST_SHARE):
            out.append(TwinDifference("demand", cell, f"expected {kpi}", was, now, unit))
    for cell, was, now in _changed(cells, one.gain_db, other.gain_db, least=_LEAST_DB):
        out.append(TwinDifference("offset", cell, "received level over expected", was, now, "dB"))
    for kpi in sorted(before.fidelity.keys() & after.fidelity.keys()):
        was, now = before.fidelity[kpi].score, after.fidelity[kpi].score
        if math.isnan(was) != math.isnan(now) or abs(was - now) >= _LEAST_SCORE:
            out.append(TwinDifference("fidelity", "network", kpi, was, now))
    if before.gate_open != after.gate_open:
        out.append(TwinDifference("fidelity", "network", "gate open", before.gate_open, after.gate_open))
    return out


def _changed(
    cells: Sequence[str], before: torch.Tensor, after: torch.Tensor, *, share: float = 0.0, least: float = 0.0
) -> Iterator[tuple[str, float, float]]:
    """Cells whose values differ by more than a share of the larger one and more than a least amount."""
    for cell, was, now in zip(cells, before.tolist(), after.tolist(), strict=True):
        if abs(was - now) > max(least, share * max(abs(was), abs(now))):
            yield cell, was, now


def _text(value: float | str | bool) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

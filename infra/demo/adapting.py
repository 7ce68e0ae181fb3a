"""The demo's strategies for a network they were not written for.

The default plan names cells of the reference network. Beside another network, strategies that do not fit are replaced
by the same ideas in that network's cells: one that switches its centre off, and one that trims its first site's power.
"""

import math
from pathlib import Path
from typing import Any

import yaml

from infra.demo.plan import DemoPlan
from infra.roles.schedule import Entry
from loops.agents.from_file import load_strategy
from loops.exceptions import BadStrategyFile
from schemas.names import managed_element_of
from schemas.topology import CellSite, Topology

_CENTRE_SHARE = 0.3
_DECIBEL = 10**-0.1
_POWER, _STATE = "configuredMaxTxPower", "administrativeState"


def adapt(plan: DemoPlan, topology: Topology, levers: list[str], folder: Path) -> tuple[tuple[Entry, ...], list[str]]:
    """Strategies that fit the network, and what was left out or put in its place, in words.

    Parameters
    ----------
    levers
        Attributes that the network can set.
    folder
        Where strategies that are made are written.
    """
    fitting, left_out = [], []
    for entry in plan.strategies:
        try:
            load_strategy(entry.file, topology)
            fitting.append(entry)
        except BadStrategyFile:
            left_out.append(entry)
    said = [f"{entry.file.name} names cells that this network does not have; left out" for entry in left_out]
    made = [s for s in (_centre_off(topology), _trim(topology)) if s["changes"][0]["attribute"] in levers]
    for entry, content in zip(left_out, made, strict=False):
        path = folder / f"made-{entry.file.name}"
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        fitting.append(Entry(at_period=entry.at_period, file=path))
        said.append(f"in its place: {content['title']}")
    return tuple(fitting), said


def _centre_off(topology: Topology) -> dict[str, Any]:
    """Lock the cells nearest to the middle: what nobody should do."""
    x, y = (sum(getattr(c, axis) for c in topology.cells) / len(topology.cells) for axis in ("x_m", "y_m"))
    nearest = sorted(topology.cells, key=lambda c: (math.hypot(c.x_m - x, c.y_m - y), c.cell))
    chosen = nearest[: max(1, round(_CENTRE_SHARE * len(nearest)))]
    return _strategy("Switch the centre of the network off", "hasty", 0.02, chosen, _STATE, lambda _: "LOCKED")


def _trim(topology: Topology) -> dict[str, Any]:
    """Take a decibel off the rated power of the first managed element's cells."""
    first = [c for c in topology.cells if managed_element_of(c.cell) == topology.managed_elements[0]]
    return _strategy(
        "Trim a site's power by one decibel",
        "anna",
        0.001,
        first,
        _POWER,
        lambda c: round(c.max_tx_power_mw * _DECIBEL),
    )


def _strategy(title: str, by: str, gain: float, cells: list[CellSite], attribute: str, value: Any) -> dict[str, Any]:
    carrier = "NRSectorCarrier" if attribute == _POWER else "NRCellDU"
    return {
        "title": title,
        "by": by,
        "objective": {"kpi": "PEE.AvgPower", "direction": "down", "min_gain": gain},
        "changes": [
            {"object": c.cell.replace("NRCellDU=", f"{carrier}="), "attribute": attribute, "value": value(c)}
            for c in cells
        ],
    }

"""The running state in a file, from which another process goes on as this one would.

An ``.npz`` archive: one array per part of the state and a JSON header with version, parameters, seed, faults.
Terrain and radio maps are not in it: they follow from seed, parameters and tilts.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from infra.network.exceptions import BadState
from infra.network.layout import Sites
from infra.network.parameters import Parameters
from infra.network.reporting import Reporting
from infra.network.simulation import Simulation

_VERSION = 2


def _components(sim: Simulation, reporting: Reporting) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Every object that holds state, with the names of its arrays."""
    parts: dict[str, Any] = {
        "simulation": sim,
        "configuration": sim.configuration,
        "world": sim.world,
        "mobility": sim.world.mobility,
        "packets": sim.world.packets,
        "connections": sim.connections,
        "paths": sim.paths,
        "tally": sim.tally,
    }
    return {name: (part, part.STATE) for name, part in parts.items()} | {"reporting": (reporting, Reporting.ARRAYS)}


def save(path: Path, sim: Simulation, reporting: Reporting, applied: dict[str, str]) -> None:
    """Write the state.

    Parameters
    ----------
    applied
        Ids of the commands that have been applied, with their managed element.
    """
    arrays = {
        f"{part}.{name}": getattr(holder, name)
        for part, (holder, names) in _components(sim, reporting).items()
        for name in names
    }
    arrays |= {f"measurements.{name}": column for name, column in sim.measurements.held().items()}
    header = {
        "version": _VERSION,
        "parameters": sim.p.model_dump(mode="json"),
        "network_id": sim.sites.topology.network_id,
        "seed": sim.seed,
        "start_ms": sim.start_ms,
        "scalars": {name: getattr(sim, name) for name in Simulation.SCALARS},
        "faults": sim.faults.to_json(),
        "held": reporting.held(),
        "applied": applied,
    }
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, header=text, **arrays)


def load(path: Path) -> tuple[Simulation, Reporting, dict[str, str]]:
    """Read a state back.

    Raises
    ------
    BadState
        If the file is missing, damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise BadState(f"cannot read state {path}: {error}", "fork the running network again") from error
    if header.get("version") != _VERSION:
        raise BadState(
            f"state {path} has version {header.get('version')}, this network reads {_VERSION}",
            "continue it with the version that wrote it",
        )
    parameters = Parameters.model_validate(header["parameters"])
    sites = Sites.build(parameters, header["network_id"])
    sim = Simulation(sites, parameters, header["seed"], header["start_ms"])
    reporting = Reporting(sim)
    for part, (holder, names) in _components(sim, reporting).items():
        for name in names:
            setattr(holder, name, arrays[f"{part}.{name}"])
    for name, value in header["scalars"].items():
        setattr(sim, name, value)
    prefix = "measurements."
    sim.measurements.hold({k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})
    sim.faults.from_json(header["faults"])
    reporting.hold(header["held"])
    sim.radio.set_tilts(sim.configuration.tilt_tenths)
    sim.paths.refresh()
    return sim, reporting, header["applied"]

"""Twins as bytes: safetensors, with everything else as JSON in its header.

The header's one metadata entry, `twinloop`, holds the format version, the values that are no tensors, and the state
hash. One entry, because safetensors keeps several in no fixed order. What follows from the topology (grid, expected
path loss) is not stored; a survey is, and so are beams' shapes where any is not the panel's own. Then the version is
another, so that no reader passes over them, and all other twins have the bytes and hashes that they always had.
"""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from schemas.topology import Topology
from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.exceptions import InvalidSurvey, SnapshotCorrupt, SnapshotVersion
from twin_core.fidelity import KpiScore
from twin_core.flow.slices import SliceState
from twin_core.learned.memory import Memory
from twin_core.learned.models import Model
from twin_core.learned.reading import KINDS
from twin_core.network import Network
from twin_core.radio.antenna import OWN_SHAPE
from twin_core.settings import TwinSettings

FORMAT = "twinloop-twin"
# With a survey; with shapes of beams, surveyed or not.
VERSIONS = FORMAT_VERSION, SURVEYED_VERSION, SHAPED_VERSION = 3, 4, 5
_KEY, _SURVEY, _SHAPE = "twinloop", "network.survey_db", "configuration.shape"


@dataclass(frozen=True, eq=False)
class State:
    """The stored part of a twin; see `twin_core.twin.Twin` for the fields."""

    network: Network
    configuration: Configuration
    environment: Environment
    settings: TwinSettings
    revision: int
    frontier: Mapping[str, int]
    period_end_ms: int
    fidelity: Mapping[str, KpiScore]
    marks: Mapping[str, int]
    model_versions: Mapping[str, str]
    memory: Memory
    slices: SliceState
    models: Mapping[str, Model]


FIELDS = tuple(State.__dataclass_fields__)


def _arrays(state: State) -> dict[str, np.ndarray[Any, Any]]:
    tensors = {f"configuration.{k}": v for k, v in state.configuration.tensors().items()}
    if not bool(tensors[_SHAPE].any()):
        del tensors[_SHAPE]
    tensors |= {f"environment.{k}": v for k, v in state.environment.tensors().items()}
    tensors |= {f"memory.{k}": v for k, v in state.memory.tensors().items()}
    tensors |= {f"slices.{k}": v for k, v in state.slices.tensors().items()}
    if state.network.survey_db is not None:
        tensors[_SURVEY] = state.network.survey_db
    for model in state.models.values():
        tensors |= {f"{model.NAME}.{k}": v for k, v in model.tensors().items()}
    return {name: np.ascontiguousarray(tensors[name].numpy()) for name in sorted(tensors)}


def _plain(state: State) -> dict[str, Any]:
    scores = {
        kpi: {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(score).items()}
        for kpi, score in state.fidelity.items()
    }
    return {
        "topology": state.network.topology.model_dump(mode="json"),
        "settings": state.settings.to_json(),
        "revision": state.revision,
        "frontier": dict(state.frontier),
        "period_end_ms": state.period_end_ms,
        "fidelity": scores,
        "marks": dict(state.marks),
        "model_versions": dict(state.model_versions),
        "models": {name: model.version for name, model in state.models.items()},
    }


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _hash(plain: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    digest = blake2b(digest_size=32)
    digest.update(_canonical(plain))
    for name, array in arrays.items():
        digest.update(f"\n{name}:{array.dtype.str}:{array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _with_nan(score: dict[str, Any]) -> dict[str, Any]:
    return {k: math.nan if v is None else v for k, v in score.items()}


def digest(state: State) -> str:
    """Hash of a state; independent of how it is stored."""
    return _hash(_plain(state), _arrays(state))


def _version(names: Collection[str]) -> int:
    """Of a snapshot with these tensors."""
    if _SHAPE in names:
        return SHAPED_VERSION
    return SURVEYED_VERSION if _SURVEY in names else FORMAT_VERSION


def dump(state: State) -> bytes:
    """Write a state."""
    plain, arrays = _plain(state), _arrays(state)
    header = {"format": FORMAT, "version": _version(arrays), "state_hash": _hash(plain, arrays), **plain}
    return save_tensors(arrays, metadata={_KEY: _canonical(header).decode()})


def _header(data: bytes) -> dict[str, Any]:
    """The JSON in the header, read without trusting anything."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
        known = isinstance(header, dict) and header["format"] == FORMAT
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise SnapshotCorrupt(
            f"these {len(data)} bytes are no twin snapshot or are truncated ({error}); restore an older one and replay"
        ) from error
    if not known:
        raise SnapshotCorrupt("this file was not written by a twin; check which snapshot was loaded")
    if header.get("version") not in VERSIONS:
        raise SnapshotVersion(
            f"the snapshot has format version {header.get('version')}, this twinloop reads {VERSIONS[0]} to "
            f"{VERSIONS[-1]}; replay the telemetry from its start, or use the twinloop that wrote it"
        )
    return dict(header)


def load(data: bytes) -> State:
    """Read a state.

    Raises
    ------
    SnapshotVersion
        If another format version wrote it.
    SnapshotCorrupt
        If it is truncated or altered.
    """
    header = _header(data)
    try:
        arrays = load_tensors(data)
        expected, version = header.pop("state_hash"), header.pop("version")
        del header["format"]
        found = _hash(header, {name: arrays[name] for name in sorted(arrays)})
    except (SafetensorError, KeyError, ValueError) as error:
        raise SnapshotCorrupt(
            f"the snapshot's tensors cannot be read ({error}); restore an older one and replay"
        ) from error
    if found != expected or version != _version(arrays):
        raise SnapshotCorrupt("the snapshot's content does not match its hash; restore an older one and replay")
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    settings = TwinSettings.from_json(header["settings"])
    network = Network.of(Topology.model_validate(header["topology"]), settings.physics.pixels_per_isd)
    if _SURVEY in tensors:
        try:
            network = network.surveyed(tensors[_SURVEY])
        except InvalidSurvey as error:
            raise SnapshotCorrupt(f"the snapshot's survey is none: {error}; restore an older one and replay") from error
    own = torch.full((len(network.cells),), OWN_SHAPE, dtype=torch.float64)
    scores = {kpi: KpiScore(**_with_nan(score)) for kpi, score in header["fidelity"].items()}
    return State(
        network=network,
        configuration=Configuration(**{"shape": own} | part("configuration.")),
        environment=Environment(**part("environment.")),
        settings=settings,
        revision=header["revision"],
        frontier=header["frontier"],
        period_end_ms=header["period_end_ms"],
        fidelity=scores,
        marks=header["marks"],
        model_versions=header["model_versions"],
        memory=Memory(**part("memory.")),
        slices=SliceState(**part("slices.")),
        models={name: KINDS[name].of(version, part(f"{name}.")) for name, version in header["models"].items()},
    )

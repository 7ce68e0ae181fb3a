"""The state of learners as bytes: JSON and arrays in one safetensors file. No pickles."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from loops.exceptions import BadLearnerState

Arrays = dict[str, NDArray[Any]]
_KEY, _VERSION = "twinloop-learner", 1


def pack(plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write; equal states give equal bytes."""
    header = json.dumps({"version": _VERSION, **plain}, sort_keys=True, separators=(",", ":"))
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    return bytes(save(ordered, metadata={_KEY: header}))


def unpack(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """Read what `pack` wrote.

    Raises
    ------
    BadLearnerState
        If the bytes are something else, or of another version.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        plain = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
        arrays = {name: np.array(array) for name, array in load(data).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadLearnerState(
            f"these {len(data)} bytes are no state of a learner ({error}); delete its row, and it learns from the start"
        ) from error
    if plain.pop("version") != _VERSION:
        raise BadLearnerState("another version of twinloop wrote the learner's state; delete its row to learn anew")
    return plain, arrays


def prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays under names that begin with ``prefix/``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def part(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays whose names begin with ``prefix/``, without it."""
    return {n.removeprefix(f"{prefix}/"): a for n, a in arrays.items() if n.startswith(f"{prefix}/")}

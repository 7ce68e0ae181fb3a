"""Operator states as bytes: arrays in safetensors, the rest as JSON in its header. Never pickle."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from processors.exceptions import WrongState

Array = NDArray[Any]
_FIELD = "twinloop"  # one metadata field: the order of several is not defined, and equal states must be equal bytes


def pack(kind: str, version: int, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Write a state.

    Parameters
    ----------
    kind, version : str, int
        Which operator's state this is, in which form.
    header : mapping
        Whatever JSON can hold; keys are sorted.
    arrays : mapping
        NumPy arrays by name.
    """
    text = json.dumps(
        {"kind": kind, "version": version, "header": header}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save_tensors(contiguous, metadata={_FIELD: text})


def unpack(kind: str, version: int, data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a state: its header and arrays.

    Raises
    ------
    WrongState
        If the bytes are no state of that kind and version.

    Examples
    --------
    >>> unpack("demo", 1, pack("demo", 1, {"a": 1}, {}))
    ({'a': 1}, {})
    """
    try:
        size = int.from_bytes(data[:8], "little")
        outer = json.loads(data[8 : 8 + size])["__metadata__"][_FIELD]
        meta = json.loads(outer)
        arrays = load_tensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as e:
        raise WrongState(f"these bytes are no saved {kind} state: {e}", "restore an older snapshot") from e
    if (meta["kind"], meta["version"]) != (kind, version):
        raise WrongState(
            f"saved state is {meta['kind']} version {meta['version']}, expected {kind} version {version}",
            "restore a snapshot of this version or replay from the start",
        )
    header: dict[str, Any] = meta["header"]
    return header, arrays

"""Learned models as the twin holds them: versions and parameters, nothing that learns.

A model is a set of tensors. It comes and goes as safetensors, or as JSON of the same names, and is refused whole if a
number in it is not finite, a shape does not fit the network, or a name is missing. What a model says is bounded, and
fades to nothing outside the range of inputs that it has seen.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from twin_core.exceptions import InvalidModel

Tensor = torch.Tensor

# Numbers beyond this are no parameters of anything here.
_LARGEST = 1e6
# How far outside the seen range, in widths of it, a model has faded to nothing.
_FADE = 0.25


class Model(ABC):
    """Parameters of a learned model: a frozen dataclass of tensors behind its version."""

    NAME: ClassVar[str]
    version: str

    def tensors(self) -> dict[str, Tensor]:
        """Its parameters by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    @classmethod
    def of(cls, version: str, tensors: Mapping[str, Tensor]) -> Self:
        """From its parameters.

        Raises
        ------
        InvalidModel
            If one is missing, unknown, not finite or absurdly large.
        """
        wanted = {f.name for f in fields(cls) if f.name != "version"}  # type: ignore[arg-type]
        if tensors.keys() != wanted:
            raise InvalidModel(
                f"a model {cls.NAME} has the parameters {', '.join(sorted(wanted))}, this one has "
                f"{', '.join(sorted(tensors)) or 'none'}; train it with this version of twinloop"
            )
        given = {name: tensor.detach().double().contiguous() for name, tensor in tensors.items()}
        for name, tensor in given.items():
            if not bool(torch.isfinite(tensor).all()):
                raise InvalidModel(f"{cls.NAME} {version}: {name} holds NaN or infinity; train it again")
            if tensor.numel() and float(tensor.abs().max()) > _LARGEST:
                raise InvalidModel(f"{cls.NAME} {version}: {name} holds numbers beyond {_LARGEST:g}; train it again")
        return cls(version=version, **given)  # type: ignore[call-arg]

    @abstractmethod
    def check(self, cells: int) -> None:
        """Raise InvalidModel if the shapes do not fit one another or a network of so many cells."""

    def expect(self, name: str, *shape: int) -> None:
        """Raise InvalidModel if a parameter has another shape."""
        found = tuple(getattr(self, name).shape)
        if found != shape:
            raise InvalidModel(
                f"{self.NAME} {self.version}: {name} has shape {found} where {shape} is needed; "
                "use a model that was trained for this network"
            )


def dump(model: Model) -> bytes:
    """A model's parameters as safetensors; equal models give equal bytes."""
    tensors = model.tensors()
    return bytes(save_tensors({name: tensors[name].clone().contiguous() for name in sorted(tensors)}))


def to_json(model: Model) -> dict[str, Any]:
    """A model's parameters as plain JSON values."""
    return {name: tensor.tolist() for name, tensor in sorted(model.tensors().items())}


def read(kind: type[Model], version: str, data: bytes, cells: int) -> Model:
    """A model from safetensors or JSON, checked.

    Parameters
    ----------
    kind
        Which model it is.
    version
        Its version.
    data
        What `dump` wrote, or the JSON of `to_json`.
    cells
        Of the network it shall serve.

    Raises
    ------
    InvalidModel
        If it cannot be read, or must not be used.
    """
    model = kind.of(version, tensors_of(kind, version, data))
    model.check(cells)
    return model


def tensors_of(kind: type[Model], version: str, data: bytes) -> dict[str, Tensor]:
    """The tensors in safetensors or JSON, unchecked; raises InvalidModel if there are none."""
    try:
        if data.lstrip()[:1] == b"{":
            document = json.loads(data)
            return {str(k): torch.from_numpy(np.asarray(v, dtype=np.float64)) for k, v in document.items()}
        return dict(load_tensors(data))
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidModel(
            f"{kind.NAME} {version}: these {len(data)} bytes are neither safetensors nor JSON of numbers ({error}); "
            "give the file that `twinloop models show --parameters` writes"
        ) from error


def within(inputs: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far inputs lie in the range that was seen: 1 inside, falling to 0 at a quarter of its width outside.

    Parameters
    ----------
    inputs
        [..., F].
    low, high
        [F].

    Returns
    -------
    Tensor
        [...], by the input that is furthest outside.

    Examples
    --------
    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> within(torch.tensor([[0.5], [1.125], [2.0]]), zero, one).tolist()
    [1.0, 0.5, 0.0]
    """
    width = (high - low).clamp_min(1e-9)
    outside = torch.maximum(low - inputs, inputs - high).clamp_min(0) / (_FADE * width)
    return (1 - outside.amax(dim=-1)).clamp_min(0)

"""Which learned models a twin can hold, by name."""

from collections.abc import Mapping

from twin_core.exceptions import InvalidModel
from twin_core.learned.demand_model import DemandModel
from twin_core.learned.models import Model, read
from twin_core.learned.residual_model import ResidualModel

KINDS: Mapping[str, type[Model]] = {
    DemandModel.NAME: DemandModel,
    ResidualModel.NAME: ResidualModel,
}


def read_model(name: str, version: str, data: bytes, cells: int) -> Model:
    """A model of that name from safetensors or JSON, checked for a network of so many cells.

    Raises
    ------
    InvalidModel
        If there is no such model, or it must not be used.

    Examples
    --------
    >>> read_model("kpi-residual", "1", b'{"mean": [NaN]}', 3)
    Traceback (most recent call last):
        ...
    twin_core.exceptions.InvalidModel: a model kpi-residual has the parameters constant, direct_weight, \
hidden_constant, hidden_weight, high, low, mean, out_weight, scale, this one has mean; train it with this version of \
twinloop
    """
    if name not in KINDS:
        raise InvalidModel(f"no learned model {name!r}; there are {', '.join(KINDS)}")
    return read(KINDS[name], version, data, cells)

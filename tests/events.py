"""Any event of any topic, for Hypothesis: built from the constraints that the models state."""

import math
import types
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from schemas import names
from schemas.counters import EMBB
from schemas.levers import CIO_GRID_DB
from schemas.strategies import Condition, ConfigChange, Guard, Rule, ScheduleEntry, Strategy
from schemas.telemetry import MeasurementReport

_INT64 = 2**63 - 1
_LIMITS = ("ge", "gt", "le", "min_length", "max_length")  # as annotated_types calls them
_VALUES = st.text("abcXYZ019._:-", min_size=1, max_size=12)
_TEXT = st.characters(exclude_categories=["Cs"])

managed_elements = st.builds("SubNetwork={},ManagedElement={}".format, _VALUES, _VALUES)
cells = st.builds(names.cell_dn, managed_elements, _VALUES)
_BY_VALIDATOR: dict[Any, st.SearchStrategy[Any]] = {
    names.canonical: st.builds("{},GNBDUFunction={}".format, managed_elements, _VALUES),
    names._managed_element: managed_elements,
    names._cell: cells,
}


def same(a: object, b: object) -> bool:
    """Equality of events, under which NaN equals NaN and 1 is not 1.0."""
    if isinstance(a, BaseModel) and type(a) is type(b):
        return all(same(getattr(a, name), getattr(b, name)) for name in type(a).model_fields)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and a == b


@cache
def events(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Instances of a model."""
    if model is MeasurementReport:
        return _measurement_reports()
    if model is ConfigChange:
        return _config_changes()
    if model is Guard:
        return (
            _any(Guard)
            .filter(lambda fields: fields["absolute"] is not None or fields["relative"] is not None)
            .map(Guard.model_validate)
        )
    if model is Condition:
        return (
            _any(Condition)
            .filter(lambda fields: (fields["above"] is None) != (fields["below"] is None))
            .map(Condition.model_validate)
        )
    if model is Strategy:
        return st.one_of(_strategies("changes"), _strategies("schedule"), _strategies("rules"))
    return _any(model).map(model.model_validate)


def _strategies(part: str) -> st.SearchStrategy[Strategy]:
    """Strategies of one kind: one of the three parts is filled, the others are empty."""
    kinds = {"changes": "change", "schedule": "schedule", "rules": "policy"}
    models: dict[str, type[BaseModel]] = {"changes": ConfigChange, "schedule": ScheduleEntry, "rules": Rule}
    given: dict[str, st.SearchStrategy[Any]] = {name: st.just([]) for name in kinds}
    given[part] = st.lists(events(models[part]), min_size=1, max_size=2)
    if part != "changes":
        given["parent"] = st.just("")
    return _any(Strategy, kind=st.just(kinds[part]), **given).map(Strategy.model_validate)


def _any(model: type[BaseModel], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {n: given.get(n, _of(info.annotation, info.metadata)) for n, info in model.model_fields.items()}
    return st.fixed_dictionaries(fields)


def _of(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner: list[Any] = []
        for item in annotation.__metadata__:
            inner += item.metadata if isinstance(item, FieldInfo) else [item]
        return _of(args[0], inner + metadata)
    for item in metadata:
        if isinstance(item, AfterValidator):
            return _BY_VALIDATOR[item.func]
        if getattr(item, "pattern", None):
            return st.from_regex("[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
    limits = {name: getattr(item, name) for item in metadata for name in _LIMITS if hasattr(item, name)}
    if any(isinstance(item, BeforeValidator) for item in metadata):
        return st.floats()
    if annotation is int:
        low = limits["gt"] + 1 if "gt" in limits else limits.get("ge", -_INT64 - 1)
        return st.integers(low, limits.get("le", _INT64))
    if annotation is float:
        low, high = limits.get("ge"), limits.get("le")
        return st.floats(low, high, allow_nan=low is None and high is None)
    shortest = limits.get("min_length", 0)
    size = {"min_size": shortest, "max_size": min(limits.get("max_length", 4), shortest + 3)}
    if annotation is str:
        return st.text(_TEXT, min_size=shortest, max_size=20)
    if annotation is bool:
        return st.booleans()
    if annotation is bytes:
        return st.binary(max_size=30)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if arg is type(None) else _of(arg, metadata) for arg in args])
    if origin in (list, tuple):
        return st.lists(_of(args[0], []), **size)
    if origin is dict:
        return st.dictionaries(_of(args[0], []), _of(args[1], []), max_size=3)
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    return events(annotation)


@st.composite
def _measurement_reports(draw: st.DrawFn) -> MeasurementReport:
    n, c = draw(st.integers(0, 3)), draw(st.integers(1, 3))

    def column(of: st.SearchStrategy[Any], size: int = n) -> st.SearchStrategy[Any]:
        return st.lists(of, min_size=size, max_size=size)

    fields = _any(
        MeasurementReport,
        cells=column(cells, c),
        ue=column(st.text(_TEXT, max_size=8)),
        report_ms=column(st.integers(-_INT64, _INT64)),
        serving=column(st.integers(0, c - 1)),
        rsrp_dbm=column(st.floats(), n * c),
        **{name: column(st.floats()) for name in ("x_m", "y_m", "sinr_db")},
    )
    return MeasurementReport.model_validate(draw(fields))


@st.composite
def _config_changes(draw: st.DrawFn) -> ConfigChange:
    cell, other = draw(cells), draw(cells)
    where, attribute, value = draw(
        st.sampled_from(
            [
                (names.sector_carrier_dn(cell), "configuredMaxTxPower", draw(st.floats(1, 200_000))),
                (names.beam_dn(cell), "digitalTilt", draw(st.floats(-900, 900))),
                (names.relation_dn(cell, other), "cellIndividualOffset", float(draw(st.sampled_from(CIO_GRID_DB)))),
                (cell, "administrativeState", draw(st.sampled_from(["LOCKED", "UNLOCKED", "SHUTTING_DOWN"]))),
                (names.slice_policy_dn(cell, EMBB), "rRMPolicyMinRatio", draw(st.floats(0, 100))),
            ]
        )
    )
    return ConfigChange(
        change_id=draw(st.text(_TEXT, min_size=1, max_size=20)), object=where, attribute=attribute, value=value
    )

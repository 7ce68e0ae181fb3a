"""Avro schemas, derived from the pydantic models that define every topic.

==================  =====================================================================
pydantic            Avro
==================  =====================================================================
model               record ``io.twinloop.<module>.<Class>``, doc from the docstring
``str``, DN         string
StrEnum, Literal    string: an Avro enum could not grow under FULL_TRANSITIVE
``int``             long
``float``, Number   double, NaN where missing
``bool``            boolean
``bytes``           bytes
list, tuple         array
``dict[str, X]``    map
``X | None``        union [null, X], default null
``float | str``     union [double, string]
default             default, so that either side of a stream may lack the field
==================  =====================================================================
"""

import json
import math
import types
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.exceptions import UnsupportedType
from schemas.topics import TOPICS, Topic

NAMESPACE = "io.twinloop"
_PRIMITIVES: dict[Any, str] = {str: "string", int: "long", float: "double", bool: "boolean", bytes: "bytes"}

# An Avro schema in JSON form: a name, a union, or an object.
Schema = str | list[Any] | dict[str, Any]


def full_name(model: type[BaseModel]) -> str:
    """Avro name of a model: namespace, module, class.

    >>> from schemas.telemetry import PmReport
    >>> full_name(PmReport)
    'io.twinloop.telemetry.PmReport'
    """
    return f"{NAMESPACE}.{model.__module__.rpartition('.')[2]}.{model.__name__}"


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The Avro schema of a model, self-contained: records it nests are defined where they first occur.

    Raises
    ------
    UnsupportedType
        If a field has a type outside the table above, or a default that Avro cannot express.
    """
    return _record(model, set())


def schema_text(model: type[BaseModel]) -> str:
    """The schema as text: the same bytes in every process, so that registering twice changes nothing.

    >>> from schemas.telemetry import PartitionOffset
    >>> schema_text(PartitionOffset)[:59]
    '{"type":"record","name":"io.twinloop.telemetry.PartitionOff'
    """
    return json.dumps(schema_of(model), separators=(",", ":"), ensure_ascii=False)


def topic_schemas() -> dict[Topic, str]:
    """Text of the schema of every topic's values, in the order of the table of topics."""
    return {topic: schema_text(topic.event) for topic in TOPICS}


def _record(model: type[BaseModel], defined: set[str]) -> dict[str, Any]:
    name = full_name(model)
    defined.add(name)
    doc = " ".join((model.__doc__ or "").split())
    fields = [_field(model, key, info, defined) for key, info in model.model_fields.items()]
    return {"type": "record", "name": name, **({"doc": doc} if doc else {}), "fields": fields}


def _field(model: type[BaseModel], name: str, info: FieldInfo, defined: set[str]) -> dict[str, Any]:
    where = f"{full_name(model)}.{name}"
    out: dict[str, Any] = {"name": name, "type": _type(info.annotation, where, defined)}
    doc = "; ".join(part for part in (info.description or "", _choices(info.annotation)) if part)
    if doc:
        out["doc"] = doc
    if _is_optional(info.annotation):
        # An Avro default belongs to the first branch of a union, which is null here.
        if info.get_default(call_default_factory=True) not in (None, ...) and not info.is_required():
            raise UnsupportedType(f"{where}: an optional field can only default to None in Avro")
        out["default"] = None
    elif not info.is_required():
        out["default"] = _default(info.get_default(call_default_factory=True), where)
    return out


def _type(annotation: Any, where: str, defined: set[str]) -> Schema:
    origin = get_origin(annotation)
    args = get_args(annotation)
    if origin is Annotated:
        return _type(args[0], where, defined)
    if annotation in _PRIMITIVES:
        return _PRIMITIVES[annotation]
    if origin is Literal and all(isinstance(word, str) for word in args):
        return "string"
    if origin in (Union, types.UnionType):
        # null first, so that null can be the default.
        parts = sorted(args, key=lambda arg: arg is not type(None))
        return ["null" if part is type(None) else _type(part, where, defined) for part in parts]
    if origin is list or (origin is tuple and len(args) == 2 and args[1] is Ellipsis):
        return {"type": "array", "items": _type(args[0], where, defined)}
    if origin is dict and args[0] is str:
        return {"type": "map", "values": _type(args[1], where, defined)}
    if isinstance(annotation, type):
        if issubclass(annotation, Enum) and issubclass(annotation, str):
            return "string"
        if issubclass(annotation, BaseModel):
            name = full_name(annotation)
            return name if name in defined else _record(annotation, defined)
    raise UnsupportedType(f"{where}: {annotation!r} has no Avro form; use one of the types in schemas.avro's table")


def _default(value: Any, where: str) -> Any:
    if isinstance(value, BaseModel):
        return {key: _default(getattr(value, key), where) for key in type(value).model_fields}
    if isinstance(value, (list, tuple)):
        return [_default(item, where) for item in value]
    if isinstance(value, dict):
        return {key: _default(item, where) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        raise UnsupportedType(f"{where}: {value} cannot stand as a default, JSON has no such number")
    if isinstance(value, bytes):
        return value.decode("latin-1")  # Avro 1.11, «Complex types»: code points 0-255 stand for bytes
    return value


def _strip(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_optional(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)


def _choices(annotation: Any) -> str:
    """Words that an enumeration has today: documentation, since on the wire it is a string."""
    annotation = _strip(annotation)
    if get_origin(annotation) is Literal:
        words = [str(word) for word in get_args(annotation)]
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        words = [str(member.value) for member in annotation]
    else:
        return ""
    return f"one of: {', '.join(words)}"

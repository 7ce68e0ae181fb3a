"""What changed between two versions of an Avro schema, in words a person can act on."""

import json
from typing import Any, NamedTuple


class _Field(NamedTuple):
    type: str
    default: str | None


def differences(old: str, new: str) -> list[str]:
    """Fields added, removed and retyped, at any depth; documentation does not count.

    Examples
    --------
    >>> record = '{"type": "record", "name": "R", "fields": [%s]}'
    >>> differences(record % '', record % '{"name": "x", "type": "int"}')
    ['adds R.x without a default']
    """
    before, after = _fields(json.loads(old)), _fields(json.loads(new))
    out = [f"removes {n}{_default(f)}" for n, f in before.items() if n not in after]
    out += [f"adds {n}{_default(f)}" for n, f in after.items() if n not in before]
    for name in before.keys() & after.keys():
        was, now = before[name], after[name]
        if was.type != now.type:
            out.append(f"changes {name} from {was.type} to {now.type}")
        elif was.default != now.default:
            out.append(f"changes the default of {name} from {was.default} to {now.default}")
    return sorted(out)


def _default(field: _Field) -> str:
    return " without a default" if field.default is None else ""


def _fields(schema: Any) -> dict[str, _Field]:
    """Every field of every record, by record and name."""
    out: dict[str, _Field] = {}
    if isinstance(schema, list):
        for branch in schema:
            out |= _fields(branch)
    elif isinstance(schema, dict):
        for field in schema.get("fields", ()):
            name = f"{schema['name'].rpartition('.')[2]}.{field['name']}"
            default = json.dumps(field["default"]) if "default" in field else None
            out[name] = _Field(_short(field["type"]), default)
            out |= _fields(field["type"])
        for part in ("items", "values", "type"):
            out |= _fields(schema.get(part))
    return out


def _short(schema: Any) -> str:
    """A type in few words: records by name, for their fields are compared on their own."""
    if isinstance(schema, list):
        return f"union of {', '.join(map(_short, schema))}"
    if isinstance(schema, dict):
        if "name" not in schema:
            inner = schema.get("items", schema.get("values"))
            return str(schema["type"]) if inner is None else f"{schema['type']} of {_short(inner)}"
        schema = schema["name"]
    # Registries write a name's namespace as a field of its own.
    return str(schema).rpartition(".")[2]

"""The reference page of the schemas, as Markdown: topics, fields, counters, levers. Generated, never edited."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from schemas.avro import schema_of
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, Counter, layouts
from schemas.levers import LEVERS
from schemas.topics import TOPICS

_INTRODUCTION = """\
# Schemas

Every event is a pydantic model in `schemas/`; its Avro schema is derived from it and travels in the Confluent wire
format under the subject `<topic>-value`. `twinloop schemas export DIR` writes the `.avsc` files for other producers.
Keys are text: `network_id` and the key fields, joined by `|`. Times are Unix epoch milliseconds, UTC. A missing number
is NaN on Kafka and `null` in JSON. This page is generated from the code.
"""


def reference() -> str:
    """The whole page.

    >>> reference().startswith("# Schemas")
    True
    """
    parts = [
        _INTRODUCTION,
        "## Topics",
        topics_table(),
        "## Events",
        *(f"### {name}\n\n{text}" for name, text in _events()),
        "## Records inside events",
        *(f"### {name}\n\n{text}" for name, text in _records()),
        "## PM counters of a cell",
        counters_table(CELL_COUNTERS.values()),
        "## PM counters of a managed element",
        counters_table(ELEMENT_COUNTERS.values()),
        "## Counter layouts",
        "Positions of the counters in `values` (cell) and `element_values` (managed element) of a PM report.",
        layouts_table(),
        "## Levers",
        levers_table(),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def topics_table() -> str:
    """Topics with their events, keys, partitions and compatibility rules."""
    rows = (
        (
            f"`{t.name}`",
            f"[{t.event.__name__}](#{t.event.__name__.lower()})",
            "|".join(["network_id", *t.key]),
            str(t.partitions),
            t.compatibility.value,
        )
        for t in TOPICS
    )
    return _table(("Topic", "Event", "Key", "Partitions", "Compatibility"), rows)


def fields_table(model: type[BaseModel]) -> str:
    """Fields of a model, as its Avro schema has them.

    >>> from schemas.telemetry import PartitionOffset
    >>> print(fields_table(PartitionOffset).splitlines()[2])
    | `topic` | string | required |  |
    """
    return _fields_table(schema_of(model)["fields"])


def counters_table(counters: Iterable[Counter]) -> str:
    """Counters with units, collection kinds, plausible ranges and sources."""
    rows = ((f"`{c.name}`", c.unit, c.kind.value, f"{c.low:g} … {c.high:g}", c.source) for c in counters)
    return _table(("Counter", "Unit", "Kind", "Plausible", "Source"), rows)


def layouts_table() -> str:
    """Counter layouts and the order of their counters."""
    rows = ((f"`{layout.name}`", ", ".join(layout.cell), ", ".join(layout.element)) for layout in layouts())
    return _table(("Layout", "Cell", "Managed element"), rows)


def levers_table() -> str:
    """Attributes that can be set, with the class that carries them, units and ranges."""
    rows = (
        (
            f"`{lever.attribute}`",
            f"`{lever.cls}`",
            lever.unit,
            ", ".join(lever.words) if lever.words else f"{lever.low:g} … {lever.high:g}",
        )
        for lever in LEVERS.values()
    )
    return _table(("Attribute", "Class", "Unit", "Values"), rows)


def _events() -> Iterator[tuple[str, str]]:
    for event in dict.fromkeys(t.event for t in TOPICS):
        schema = schema_of(event)
        yield event.__name__, f"{schema.get('doc', '')}\n\n{_fields_table(schema['fields'])}"


def _records() -> Iterator[tuple[str, str]]:
    """Records nested in events, by name; events that are nested in others stand above."""
    found: dict[str, dict[str, Any]] = {}
    for topic in TOPICS:
        _collect(schema_of(topic.event)["fields"], found)
    for event in {t.event for t in TOPICS}:
        found.pop(event.__name__, None)
    for name, schema in sorted(found.items()):
        yield name, f"{schema.get('doc', '')}\n\n{_fields_table(schema['fields'])}"


def _collect(schema: Any, found: dict[str, dict[str, Any]]) -> None:
    if isinstance(schema, list):
        for part in schema:
            _collect(part, found)
    elif isinstance(schema, dict):
        if schema.get("type") == "record":
            found.setdefault(_last(schema["name"]), schema)
        for key in ("type", "items", "values", "fields"):
            _collect(schema.get(key), found)


def _fields_table(fields: Iterable[dict[str, Any]]) -> str:
    rows = ((f"`{f['name']}`", _type(f["type"]), _default(f), f.get("doc", "")) for f in fields)
    return _table(("Field", "Type", "Default", "Meaning"), rows)


def _type(schema: Any) -> str:
    if isinstance(schema, list):
        return " or ".join(map(_type, schema))
    if isinstance(schema, str):
        return schema if "." not in schema else _link(schema)
    if schema["type"] == "array":
        return f"array of {_type(schema['items'])}"
    if schema["type"] == "map":
        return f"map of {_type(schema['values'])}"
    return _link(schema["name"])


def _link(name: str) -> str:
    return f"[{_last(name)}](#{_last(name).lower()})"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "required"
    default = field["default"]
    return "none" if default is None else f"`{default!r}`" if default != "" else "empty"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(' --- ' for _ in head)}|"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """One line, in which a bar does not end the cell."""
    return " ".join(text.split()).replace("|", "\\|")

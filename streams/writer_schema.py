"""Writer schemas: what the bytes of a message were written with, ours or a foreign producer's."""

import json
from typing import Any

import fastavro
from fastavro.schema import to_parsing_canonical_form

from streams.exceptions import Undecodable


class WriterSchema:
    """A parsed schema, and whether bytes written with it read like bytes written with ours.

    Raises
    ------
    Undecodable
        If the text is no Avro schema, or one whose values could take unbounded time or stack to read.
    """

    def __init__(self, text: str, ours: str | None = None) -> None:
        try:
            plain = json.loads(text)
            _check_bounded(plain)
            self.parsed: Any = fastavro.parse_schema(plain, named_schemas={})
            # Documentation and defaults do not change how bytes are laid out.
            self.same_as_ours = ours is None or _form(text) == _form(ours)
        except Undecodable:
            raise
        except Exception as error:  # fastavro reports broken schemas by many types
            raise Undecodable(f"the writer's schema is no Avro schema: {error}", "register a valid schema") from error


def _form(text: str) -> str:
    return str(to_parsing_canonical_form(json.loads(text)))


def _check_bounded(schema: Any, open_names: tuple[str, ...] = ()) -> bool:
    """Refuse schemas whose values have no bound in the bytes they take; True if a value may take no byte at all.

    An array of nulls of length 2**60 takes ten bytes to write and forever to read, and a record that holds itself
    can be nested deeper than the reader's stack.
    """
    if isinstance(schema, str):
        if schema.rpartition(".")[2] in open_names:
            raise Undecodable(f"the writer's schema nests {schema!r} in itself", "use a schema that is not recursive")
        return schema == "null"
    if isinstance(schema, list):
        for branch in schema:
            _check_bounded(branch, open_names)
        return False  # the index of the branch takes a byte
    kind = schema.get("type")
    if kind == "array":
        if _check_bounded(schema["items"], open_names):
            raise Undecodable("the writer's schema has an array whose items take no bytes", "give the items content")
        return False
    if kind == "map":
        _check_bounded(schema["values"], open_names)
        return False
    if kind == "record":
        inside = (*open_names, str(schema.get("name", "")).rpartition(".")[2])
        empty = True
        for field in schema.get("fields", []):
            empty &= _check_bounded(field["type"], inside)
        return empty
    if kind == "fixed":
        return bool(schema.get("size") == 0)
    return False if kind == "enum" else _check_bounded(kind, open_names)

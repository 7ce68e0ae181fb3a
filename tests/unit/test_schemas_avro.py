"""Avro schemas say what the pydantic models say."""

import io
import json
import subprocess
import sys
from enum import StrEnum
from typing import Any, Literal

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from schemas.avro import full_name, schema_of, schema_text, topic_schemas
from schemas.exceptions import UnsupportedType
from schemas.telemetry import PmReport
from schemas.topics import TELEMETRY, TOPICS, Topic
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.events import events, same

_SERDE = Serde(LocalIds())


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_every_event_survives_the_way_through_avro(topic: Topic, data: st.DataObject) -> None:
    event = data.draw(events(topic.event))
    assert same(_SERDE.decode(topic, _SERDE.encode(topic, event)), event)


def test_the_text_of_a_schema_is_the_same_in_every_process() -> None:
    script = (
        "from schemas.avro import topic_schemas; import sys; sys.stdout.write('\\n'.join(topic_schemas().values()))"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "4711"}
    )
    assert fresh.stdout == "\n".join(topic_schemas().values())


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_names_live_in_our_namespace_and_fields_carry_their_descriptions(topic: Topic) -> None:
    schema = json.loads(schema_text(topic.event))
    assert schema["name"] == full_name(topic.event)
    assert schema["name"].startswith("io.twinloop.")
    described = {n: i.description for n, i in topic.event.model_fields.items() if i.description}
    assert all(f["doc"].startswith(described[f["name"]]) for f in schema["fields"] if f["name"] in described)


@pytest.mark.parametrize("topic", TELEMETRY, ids=lambda t: t.name)
def test_a_telemetry_event_without_a_defaulted_field_can_be_read(topic: Topic) -> None:
    """So that a producer may leave it out, and an older one need not know it: FULL_TRANSITIVE."""
    schema = schema_of(topic.event)
    defaulted = {n for n, info in topic.event.model_fields.items() if not info.is_required()}
    assert {f["name"] for f in schema["fields"] if "default" in f} >= defaulted
    older = schema | {"fields": [f for f in schema["fields"] if "default" not in f]}
    ids = LocalIds()
    foreign_id = ids.add(json.dumps(older))
    example = _example(topic)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(older, named_schemas={}), example)
    value = b"\0" + foreign_id.to_bytes(4, "big") + out.getvalue()
    assert same(Serde(ids).decode(topic, value), topic.event.model_validate(example))


def _example(topic: Topic) -> dict[str, Any]:
    element = "SubNetwork=1,ManagedElement=g1"
    common = {"network_id": "net", "event_id": "e1", "managed_element": element}
    time: dict[str, Any] = {"time_ms": 60_000}
    return (
        common
        | {
            "telemetry.pm": {"period_end_ms": 60_000, "granularity_s": 60, "layout": "nr-cell-v1", "cells": []},
            "telemetry.mr": time
            | {n: [] for n in ("cells", "report_ms", "ue", "x_m", "y_m", "serving", "sinr_db", "rsrp_dbm")},
            "telemetry.fm": time | {"alarm_id": "a", "object": element, "probable_cause": "power", "severity": "MAJOR"},
            "telemetry.cm": time | {"kind": "change", "values": []},
        }[topic.name]
    )


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    n: int = 3


class Everything(BaseModel):
    """One field of each kind."""

    text: str = Field(description="Some text")
    colour: Colour = Field(default=Colour.RED, description="Its colour")
    word: Literal["up", "down"] = "up"
    real: float = 0
    whole: int
    flag: bool = False
    raw: bytes = b"\xff"
    items: tuple[int, ...] = ()
    table: dict[str, float] = Field(default_factory=dict)
    maybe: int | None = None
    must_say: str | None
    either: float | str
    inner: Inner = Inner()
    more: list[Inner] = Field(default_factory=list)


def test_each_kind_of_field_has_its_avro_form() -> None:
    inner = {"type": "record", "name": full_name(Inner), "fields": [{"name": "n", "type": "long", "default": 3}]}
    assert schema_of(Everything)["fields"] == [
        {"name": "text", "type": "string", "doc": "Some text"},
        {"name": "colour", "type": "string", "doc": "Its colour; one of: red, blue", "default": "red"},
        {"name": "word", "type": "string", "doc": "one of: up, down", "default": "up"},
        {"name": "real", "type": "double", "default": 0},
        {"name": "whole", "type": "long"},
        {"name": "flag", "type": "boolean", "default": False},
        {"name": "raw", "type": "bytes", "default": "\xff"},
        {"name": "items", "type": {"type": "array", "items": "long"}, "default": []},
        {"name": "table", "type": {"type": "map", "values": "double"}, "default": {}},
        {"name": "maybe", "type": ["null", "long"], "default": None},
        {"name": "must_say", "type": ["null", "string"], "default": None},
        {"name": "either", "type": ["double", "string"]},
        {"name": "inner", "type": inner, "default": {"n": 3}},
        {"name": "more", "type": {"type": "array", "items": full_name(Inner)}, "default": []},
    ]


def test_what_has_no_avro_form_is_named() -> None:
    class Odd(BaseModel):
        pair: tuple[int, str]

    class Missing(BaseModel):
        number: float = float("nan")

    class Optional(BaseModel):
        maybe: int | None = 4

    with pytest.raises(UnsupportedType, match=r"Odd\.pair"):
        schema_of(Odd)
    with pytest.raises(UnsupportedType, match=r"Missing\.number"):
        schema_of(Missing)
    with pytest.raises(UnsupportedType, match=r"Optional\.maybe"):
        schema_of(Optional)


def test_counters_are_plain_doubles_so_that_they_decode_as_columns() -> None:
    fields = {f["name"]: f["type"] for f in schema_of(PmReport)["fields"]}
    cell = {f["name"]: f["type"] for f in fields["cells"]["items"]["fields"]}
    assert cell["values"] == fields["element_values"] == {"type": "array", "items": "double"}

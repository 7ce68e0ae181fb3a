"""Bytes of messages: the wire format, foreign writers, and what cannot be decoded."""

import io
import json
from typing import Any

import fastavro
import pytest

from schemas.avro import schema_of, schema_text
from schemas.dead_letters import Reason
from schemas.telemetry import Alarm, PmReport, Severity
from schemas.topics import TOPICS, Topic, topic
from streams.exceptions import BadEvent, EncodingFailed, InvalidEvent, SchemaUnregistered, Undecodable
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.wire import frame
from tests import telemetry
from tests.telemetry import FM, PM


@pytest.fixture
def serde() -> Serde:
    return Serde(LocalIds())


def written(schema: Any, fields: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas={}), fields)
    return out.getvalue()


def test_a_value_is_a_zero_byte_the_schema_id_and_plain_avro(serde: Serde) -> None:
    report = telemetry.pm(1, 0)
    value = serde.encode(PM, report)
    assert value[0] == 0
    assert int.from_bytes(value[1:5], "big") == serde.ids.id_of(PM)
    plain = fastavro.schemaless_reader(io.BytesIO(value[5:]), json.loads(schema_text(PmReport)), None)
    assert isinstance(plain, dict)
    assert plain["managed_element"] == report.managed_element
    assert len(plain["cells"]) == 3


def test_a_producer_with_a_field_that_we_do_not_know_is_read(serde: Serde) -> None:
    schema = schema_of(Alarm)
    schema["fields"].insert(3, {"name": "vendor", "type": "string", "default": ""})
    ids = LocalIds()
    alarm = telemetry.alarm(1, 0, 1, Severity.MAJOR)
    value = frame(ids.add(json.dumps(schema)), written(schema, alarm.model_dump() | {"vendor": "acme"}))
    assert Serde(ids).decode(FM, value) == alarm


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\0\0\0",
        b"plain text",
        b"\1\0\0\0\1rest",
        b'{"network_id": "demo"}',
        frame(999_999, b"body"),
        frame(2**32 - 1, b""),
    ],
)
def test_what_is_not_in_the_wire_format_is_undecodable(serde: Serde, value: bytes | None) -> None:
    with pytest.raises(Undecodable) as caught:
        serde.decode(PM, value)
    assert caught.value.reason is Reason.UNDECODABLE
    assert caught.value.remedy


def test_cut_or_continued_bytes_are_undecodable(serde: Serde) -> None:
    value = serde.encode(PM, telemetry.pm(1, 0))
    for cut in range(len(value)):
        with pytest.raises(BadEvent):
            serde.decode(PM, value[:cut])
    with pytest.raises(Undecodable, match="left over"):
        serde.decode(PM, value + b"\0")


def test_another_topics_event_is_undecodable(serde: Serde) -> None:
    with pytest.raises(Undecodable):
        serde.decode(FM, serde.encode(PM, telemetry.pm(1, 0)))


def test_broken_constraints_are_invalid_and_their_values_are_not_shown(serde: Serde) -> None:
    secret = "imsi-262011234567890"
    fields = telemetry.pm(1, 0).model_dump() | {"network_id": "NOT OK " + secret, "granularity_s": -1}
    with pytest.raises(InvalidEvent, match="network_id") as caught:
        serde.decode(PM, frame(serde.ids.id_of(PM), written(schema_of(PmReport), fields)))
    assert caught.value.reason is Reason.INVALID
    assert "granularity_s" in str(caught.value)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("an array of nulls", {"type": "array", "items": "null"}),
        ("an array of empty records", {"type": "array", "items": {"type": "record", "name": "Void", "fields": []}}),
        ("a list in itself", {"type": "record", "name": "Node", "fields": [{"name": "n", "type": ["null", "Node"]}]}),
    ],
)
def test_writers_whose_values_could_take_for_ever_are_refused(name: str, extra: Any) -> None:
    schema = schema_of(Alarm)
    schema["fields"].append({"name": "trap", "type": ["null", extra], "default": None})
    ids = LocalIds()
    bomb = frame(ids.add(json.dumps(schema)), b"\x02" + b"\xfe" * 8 + b"\x7f")
    with pytest.raises(Undecodable, match="writer's schema"):
        Serde(ids).decode(FM, bomb)


def test_a_schema_that_is_none_is_undecodable() -> None:
    ids = LocalIds()
    for text in ("not json", "{}", '{"type": "record"}', '{"type": "record", "name": "X", "fields": [{}]}'):
        with pytest.raises(Undecodable):
            Serde(ids).decode(PM, frame(ids.add(text), b"body"))


def test_only_a_topics_own_event_is_encoded_on_it(serde: Serde) -> None:
    with pytest.raises(EncodingFailed, match="Alarm"):
        serde.encode(FM, telemetry.pm(1, 0))


def test_a_number_beyond_64_bits_is_named(serde: Serde) -> None:
    event = telemetry.pm(1, 0).model_copy(update={"granularity_s": 2**70})
    with pytest.raises(EncodingFailed, match="pm-0-1"):
        serde.encode(PM, event)


def test_a_topic_without_a_schema_says_what_to_do() -> None:
    with pytest.raises(SchemaUnregistered):
        Serde(LocalIds([FM])).encode(PM, telemetry.pm(1, 0))


def test_decode_as_gives_the_type_that_was_asked_for(serde: Serde) -> None:
    value = serde.encode(PM, telemetry.pm(1, 0))
    assert serde.decode_as(PM, value, PmReport).managed_element == telemetry.ELEMENTS[0]
    with pytest.raises(TypeError, match="PmReport"):
        serde.decode_as(PM, value, Alarm)


@pytest.mark.parametrize("where", TOPICS, ids=lambda t: t.name)
def test_local_ids_are_those_of_the_table_of_topics(where: Topic) -> None:
    ids = LocalIds()
    assert ids.schema_of(ids.id_of(where)) == schema_text(where.event)
    assert ids.id_for(topic(where.name), schema_text(where.event)) == ids.id_of(where)

"""PM reports as columns say what the ordinary decoder says, about any bytes."""

import io
import json
import math
import random
from collections.abc import Sequence
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.avro import schema_of, schema_text
from schemas.telemetry import CellCounters, PmReport
from streams.exceptions import BadEvent
from streams.pm_columns import PmColumns
from streams.pm_structure import check_model, read_structure
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import Message
from streams.wire import frame
from tests.events import events, same
from tests.telemetry import PM

_SERDE = Serde(LocalIds())
_ID = _SERDE.ids.id_of(PM)


def report(element: int, period: int, n_cells: int = 3, counters: int = 4, **changes: Any) -> PmReport:
    rng = random.Random(1000 * element + period)
    name = f"SubNetwork=1,ManagedElement=g{element}"
    fields: dict[str, object] = {
        "network_id": "net",
        "event_id": f"pm-{element}-{period}",
        "managed_element": name,
        "period_end_ms": 1_700_000_040_000 + 60_000 * period,
        "granularity_s": 60,
        "layout": "nr-cell-v1",
        "cells": [
            CellCounters(
                cell=f"{name},GNBDUFunction=1,NRCellDU={i}",
                values=[math.nan if rng.random() < 0.2 else rng.uniform(-1e9, 1e9) for _ in range(counters)],
                suspect=rng.random() < 0.3,
            )
            for i in range(n_cells)
        ],
        "element_values": [rng.random()],
    }
    return PmReport.model_validate(fields | changes)


def messages(values: Sequence[bytes | None]) -> list[Message]:
    return [Message(PM.name, 0, i, b"key", value, 0) for i, value in enumerate(values)]


def reports(columns: PmColumns) -> dict[int, PmReport]:
    """The reports that the columns stand for, by position in the batch."""
    out = {}
    for i, position in enumerate(columns.message.tolist()):
        form = columns.forms[columns.form[i]]
        rows = range(columns.row_start[i], columns.row_start[i + 1])
        cells = [
            CellCounters(
                cell=form.cells[k],
                values=columns.values[columns.value_start[row] : columns.value_start[row + 1]].tolist(),
                suspect=bool(columns.suspect[row]),
            )
            for k, row in enumerate(rows)
        ]
        out[position] = PmReport(
            network_id=form.network_id,
            event_id=columns.event_id[i],
            managed_element=form.managed_element,
            period_end_ms=int(columns.period_end_ms[i]),
            granularity_s=form.granularity_s,
            layout=form.layout,
            collection=form.collection,
            cells=cells,
            element_values=columns.element_values[columns.element_start[i] : columns.element_start[i + 1]].tolist(),
        )
    return out


def assert_same_as_one_by_one(values: Sequence[bytes | None], serde: Serde = _SERDE) -> PmColumns:
    """The columns hold exactly the events, and the errors, that the ordinary decoder gives."""
    columns = serde.decode_pm_columns(messages(values))
    expected: dict[int, PmReport] = {}
    errors: dict[int, str] = {}
    for i, value in enumerate(values):
        try:
            expected[i] = serde.decode_as(PM, value, PmReport)
        except BadEvent as error:
            errors[i] = str(error)
    got = reports(columns)
    assert got.keys() == expected.keys()
    assert all(same(got[i], expected[i]) for i in got)
    assert {i: str(error) for i, error in columns.errors} == errors
    assert len(columns) == len(expected)
    return columns


def test_a_batch_of_many_elements_and_periods_is_read_in_its_order() -> None:
    values = [_SERDE.encode(PM, report(e, p, n_cells=1 + e % 3)) for p in range(5) for e in range(12)]
    random.Random(1).shuffle(values)
    columns = assert_same_as_one_by_one(values)
    assert columns.message.tolist() == list(range(60))
    assert len(columns.forms) == 12


def test_rows_of_one_width_are_a_matrix_and_name_their_cells() -> None:
    batch = [report(0, 0), report(1, 0, counters=2), report(0, 1)]
    columns = _SERDE.decode_pm_columns(messages([_SERDE.encode(PM, r) for r in batch]))
    rows, matrix = columns.matrix(4)
    names, codes = columns.cells()
    expected = [c for r in (batch[0], batch[2]) for c in r.cells]
    np.testing.assert_array_equal(matrix, [c.values for c in expected])
    assert [names[code] for code in codes[rows]] == [c.cell for c in expected]
    assert columns.rows_of()[rows].tolist() == [0, 0, 0, 2, 2, 2]
    alike = _SERDE.decode_pm_columns(messages([_SERDE.encode(PM, r) for r in (batch[0], batch[2])]))
    assert np.shares_memory(alike.matrix(4)[1], alike.values)
    assert alike.matrix(7)[1].shape == (0, 7)


def test_an_empty_batch_has_empty_columns() -> None:
    columns = _SERDE.decode_pm_columns([])
    assert len(columns) == 0
    assert columns.values.size == columns.suspect.size == 0
    assert columns.cells()[0] == ()
    assert columns.matrix(4)[1].shape == (0, 4)


def test_reports_of_known_elements_are_not_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    serde = Serde(LocalIds())
    serde.decode_pm_columns(messages([serde.encode(PM, report(e, 0)) for e in range(5)]))
    later = messages([serde.encode(PM, report(e, p)) for p in range(1, 9) for e in range(5)])
    monkeypatch.setattr(serde, "decode", lambda *_: pytest.fail("decoded one by one"))
    assert len(serde.decode_pm_columns(later)) == 40


def test_the_reader_knows_the_present_model() -> None:
    check_model()


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": "größer-als-ascii"},
        {"period_end_ms": 0},
        {"period_end_ms": 253_402_300_799_999},
        {"cells": []},
        {"element_values": []},
        {"cells": [CellCounters(cell="ManagedElement=g,NRCellDU=1", values=[])], "element_values": []},
        {"collection": "cumulative"},
    ],
)
def test_unusual_reports_among_usual_ones(changes: dict[str, Any]) -> None:
    usual = [_SERDE.encode(PM, report(e, p)) for e in range(3) for p in range(3)]
    assert_same_as_one_by_one([*usual, _SERDE.encode(PM, report(1, 7, **changes)), *usual])


def test_invalid_reports_that_look_like_valid_ones() -> None:
    """Same length and structure, but a value that the model does not allow."""
    good = _SERDE.encode(PM, report(1, 1))
    structure = read_structure(good)
    assert structure is not None
    bad = []
    for position, byte in (
        (int(structure.suspect[0]), 7),  # a boolean that is neither
        (structure.event_id[0], 0xFF),  # not UTF-8
        (structure.period_end[0], 0xFF),  # another time
        (structure.period_end[1] - 1, 0xFF),  # a varint that goes on
        (structure.period_end[0] + 1, 0x01),  # a varint that ends early
    ):
        changed = bytearray(good)
        changed[position] = byte
        bad.append(bytes(changed))
    odd = bytearray(good)
    odd[structure.period_end[0]] |= 1  # a time before the epoch
    upper = good.replace(b"net", b"NET", 1)
    assert_same_as_one_by_one([good, *bad, bytes(odd), upper, upper, None, b"", b"\0\0", frame(4711, good[5:]), good])
    assert_same_as_one_by_one([upper, *bad, good])


def test_a_known_form_is_not_taken_for_a_message_with_another_name() -> None:
    """Names of equal length must not be confused, whichever comes first."""
    one, two = report(1, 1), report(2, 1)
    for batch in ([one, two], [two, one], [one, one, two, one]):
        assert_same_as_one_by_one([_SERDE.encode(PM, r) for r in batch])


def test_arrays_in_several_blocks_are_read() -> None:
    """Legal Avro that common writers do not produce."""
    value = _SERDE.encode(PM, report(1, 1, n_cells=1, counters=2))
    structure = read_structure(value)
    assert structure is not None
    ((start, _),) = structure.values
    doubles = value[start : start + 16]
    blocks = (
        value[: start - 1] + b"\x02" + doubles[:8] + b"\x02" + doubles[8:] + value[start + 16 :],
        value[: start - 1] + b"\x03\x20" + doubles + value[start + 16 :],  # minus two items, sixteen bytes
    )
    for other in blocks:
        with pytest.raises(BadEvent):
            _SERDE.decode(PM, other[:-3])
    assert_same_as_one_by_one([blocks[0], value])
    twice = value[: start - 1] + b"\x03\x20" + doubles + value[start + 16 :]
    assert len(assert_same_as_one_by_one([twice, value])) == 2


def test_a_foreign_writers_schema_is_resolved() -> None:
    schema = schema_of(PmReport)
    schema["fields"] = [f for f in schema["fields"] if f["name"] != "collection"]
    schema["fields"].insert(0, {"name": "vendor", "type": "string", "default": ""})
    ids = LocalIds()
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(schema, named_schemas={}), report(1, 1).model_dump() | {"vendor": "acme"}
    )
    foreign = frame(ids.add(json.dumps(schema)), out.getvalue())
    serde = Serde(ids)
    own = serde.encode(PM, report(1, 1))
    columns = assert_same_as_one_by_one([foreign, own, foreign], serde)
    assert len(columns.forms) == 1


def test_a_schema_that_differs_in_words_alone_is_read_as_ours() -> None:
    schema = schema_of(PmReport) | {"doc": "Another description"}
    ids = LocalIds()
    other = ids.add(json.dumps(schema))
    serde = Serde(ids)
    own = serde.encode(PM, report(1, 1))
    assert_same_as_one_by_one([own, frame(other, own[5:])], serde)
    serde.decode_pm_columns(messages([own]))
    assert serde._is_plain_pm(other)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(events(PmReport).map(lambda e: _SERDE.encode(PM, e)), max_size=4), st.randoms(use_true_random=False))
def test_any_reports_however_damaged_are_read_as_the_ordinary_decoder_reads_them(
    values: list[bytes], rng: random.Random
) -> None:
    batch: list[bytes | None] = []
    for value in [*values, *(_SERDE.encode(PM, report(e % 3, e)) for e in range(4))]:
        batch.append(value)
        for _ in range(4):
            damaged = bytearray(value)
            for _ in range(rng.randint(1, 3)):
                damaged[rng.randrange(5, len(damaged))] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            batch.append(bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))]))
    rng.shuffle(batch)
    assert_same_as_one_by_one(batch)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60).map(lambda b: frame(_ID, b)) | st.binary(max_size=20), max_size=6))
def test_arbitrary_bytes_raise_nothing(values: list[bytes]) -> None:
    assert_same_as_one_by_one(values)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=80))
def test_where_fastavro_decodes_we_decode_or_say_what_is_invalid(body: bytes) -> None:
    stream = io.BytesIO(body)
    try:
        fastavro.schemaless_reader(stream, json.loads(schema_text(PmReport)), None)
        whole = not stream.read(1)
    except Exception:  # whatever fastavro raises on corrupt bytes
        whole = False
    columns = _SERDE.decode_pm_columns(messages([frame(_ID, body)]))
    if not whole:
        assert [type(e).__name__ for _, e in columns.errors] == ["Undecodable"]
    else:
        assert len(columns) == 1 or type(columns.errors[0][1]).__name__ == "InvalidEvent"


def test_a_batch_made_to_be_slow_is_read_in_bounded_time() -> None:
    """Messages of one length and as many structures as there are messages."""
    values = [
        _SERDE.encode(PM, report(1, 1, event_id="x" * (1 + i), layout="y" * (200 - i), n_cells=1)) for i in range(199)
    ]
    assert len({len(v) for v in values}) < 5
    assert_same_as_one_by_one(values)

"""PM reports straight into columns: no object per counter, and nothing read that a neighbour message already told.

Messages of equal length are laid under each other as a matrix of bytes. One of them is read to learn where its parts
stand (:mod:`streams.pm_structure`); the others are compared with it, column by column, and those built alike give up
their doubles as one slice. What repeats (names, layout) is decoded and validated once per managed element and then
recognised by its bytes. Whatever does not fit goes message by message through the ordinary decoder, so that both
always say the same about the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from schemas.base import MAX_EPOCH_MS, Event
from schemas.telemetry import PmReport
from streams.exceptions import BadEvent
from streams.pm_structure import Structure, check_model, read_structure
from streams.wire import HEADER, MAGIC

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_Bytes = npt.NDArray[np.uint8]

# Lengths coincide by chance in few structures; more of them in one batch is somebody who wants us to be slow.
_STRUCTURES_PER_LENGTH = 16
# Forms remembered between batches: some hundred bytes each, one for each managed element.
_FORMS_KEPT = 50_000


class PmForm(NamedTuple):
    """What reports of one managed element have in common. ``widths[i]`` counters are reported for ``cells[i]``."""

    network_id: str
    managed_element: str
    granularity_s: int
    layout: str
    collection: str
    cells: tuple[str, ...]
    widths: tuple[int, ...]
    element_width: int


@dataclass(frozen=True)
class PmColumns:
    """N decoded reports with R cell rows in all, in the order of their messages.

    Attributes
    ----------
    message
        [N] position of the report's message in the batch.
    forms, form
        The distinct forms, and [N] which of them each report has.
    event_id
        [N] identifiers.
    period_end_ms
        [N] event times.
    row_start
        [N + 1]; report i has the cell rows ``row_start[i]`` up to ``row_start[i + 1]``.
    suspect
        [R] suspect flag of each row.
    value_start
        [R + 1]; row r has the counters ``value_start[r]`` up to ``value_start[r + 1]``.
    values
        Counters of all rows, NaN where missing.
    element_start, element_values
        [N + 1] and the counters of the managed elements themselves.
    errors
        Position and error of each message that is no PM report.
    """

    message: Ints
    forms: tuple[PmForm, ...]
    form: Ints
    event_id: list[str]
    period_end_ms: Ints
    row_start: Ints
    suspect: Bools
    value_start: Ints
    values: Floats
    element_start: Ints
    element_values: Floats
    errors: list[tuple[int, BadEvent]]

    def __len__(self) -> int:
        return len(self.message)

    def cells(self) -> tuple[tuple[str, ...], Ints]:
        """The distinct cell names, and [R] which of them each row is about."""
        codes: dict[str, int] = {}
        per_form = [np.array([codes.setdefault(c, len(codes)) for c in f.cells], dtype=np.int64) for f in self.forms]
        rows = [per_form[i] for i in self.form]
        return tuple(codes), np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)

    def rows_of(self) -> Ints:
        """[R] the report that each row belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.row_start))

    def matrix(self, width: int) -> tuple[Ints, Floats]:
        """The rows that have ``width`` counters: [r] their positions, and their counters [r, width]."""
        widths = np.diff(self.value_start)
        if len(widths) and (widths == width).all():
            return np.arange(len(widths), dtype=np.int64), self.values.reshape(len(widths), width)
        rows = np.flatnonzero(widths == width)
        return rows, self.values[self.value_start[rows][:, None] + np.arange(width)]


@dataclass
class _Part:
    """Reports of equal structure: positions of their messages, and their columns."""

    message: Ints
    form: Ints
    event_id: list[str]
    period_end_ms: Ints
    widths: Ints
    suspect: Bools
    values: Floats
    element_values: Floats


@dataclass
class _Batch:
    """What one call has gathered so far."""

    messages: Sequence[bytes | None]
    parts: list[_Part] = field(default_factory=list)
    forms: dict[PmForm, int] = field(default_factory=dict)
    errors: list[tuple[int, BadEvent]] = field(default_factory=list)

    def code(self, form: PmForm) -> int:
        return self.forms.setdefault(form, len(self.forms))


class PmDecoder:
    """Decodes batches of PM reports.

    Parameters
    ----------
    is_plain
        Whether bytes written with the schema of that id are laid out as ours.
    decode
        The ordinary decoder of one message; raises BadEvent.
    """

    def __init__(self, is_plain: Callable[[int], bool], decode: Callable[[bytes | None], Event]) -> None:
        check_model()
        self._is_plain = is_plain
        self._decode_one = decode
        self._known: dict[bytes, PmForm] = {}

    def decode(self, messages: Sequence[bytes | None]) -> PmColumns:
        """Columns of all reports among the messages."""
        batch = _Batch(messages)
        alike: dict[tuple[int, bytes], list[int]] = {}
        for i, value in enumerate(messages):
            key = (len(value), value[: HEADER.size]) if value is not None else (0, b"")
            alike.setdefault(key, []).append(i)
        for (_, header), members in alike.items():
            if len(header) == HEADER.size and header[0] == MAGIC and self._is_plain(int.from_bytes(header[1:], "big")):
                self._decode_alike(batch, members)
            else:
                self._decode_singly(batch, members)
        return _assemble(batch)

    def _decode_alike(self, batch: _Batch, members: list[int]) -> None:
        """Messages of one length and schema."""
        values = [cast(bytes, batch.messages[i]) for i in members]
        rows = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), -1)
        left = np.array(members, dtype=np.int64)
        for _ in range(_STRUCTURES_PER_LENGTH):
            structure = read_structure(rows[0].tobytes())
            if structure is None:
                self._decode_singly(batch, left[:1].tolist())
                same = np.zeros(len(left), dtype=bool)
                same[0] = True
            else:
                same = (rows[:, structure.lengths] == rows[0, structure.lengths]).all(axis=1)
                sound = same & _sound(structure, rows)
                self._decode_structure(batch, structure, left[sound], rows[sound])
                self._decode_singly(batch, left[same & ~sound].tolist())
            left, rows = left[~same], rows[~same]
            if not len(left):
                return
        self._decode_singly(batch, left.tolist())

    def _decode_structure(self, batch: _Batch, structure: Structure, members: Ints, rows: _Bytes) -> None:
        """Messages of one structure."""
        if not len(members):
            return
        forms, unknown = self._forms(batch, structure, members, rows)
        if unknown.any():
            self._decode_singly(batch, members[unknown].tolist())
            members, rows, forms = members[~unknown], rows[~unknown], forms[~unknown]
            if not len(members):
                return
        begin, end = structure.event_id
        text = np.ascontiguousarray(rows[:, begin:end]).tobytes().decode("ascii")
        width = end - begin
        batch.parts.append(
            _Part(
                members,
                forms,
                [text[i * width : (i + 1) * width] for i in range(len(members))],
                _varints(rows[:, slice(*structure.period_end)]),
                np.array([n for _, n in structure.values], dtype=np.int64),
                rows[:, structure.suspect] != 0,
                _doubles(rows, structure.values),
                _doubles(rows, (structure.element,)),
            )
        )

    def _forms(self, batch: _Batch, structure: Structure, members: Ints, rows: _Bytes) -> tuple[Ints, Bools]:
        """[n] form of each message, and [n] whether it has none because its first message was refused."""
        raw = rows[:, structure.literal].tobytes()
        width = len(structure.literal)
        codes = np.empty(len(members), dtype=np.int64)
        refused: set[bytes] = set()
        for j in range(len(members)):
            literal = raw[j * width : (j + 1) * width]
            form = self._known.get(literal)
            if form is None and literal not in refused:
                try:
                    form = _form_of(self._decode_one(batch.messages[members[j]]))
                except BadEvent:
                    refused.add(literal)
                else:
                    if len(self._known) >= _FORMS_KEPT:
                        self._known.clear()
                    self._known[literal] = form
            codes[j] = -1 if form is None else batch.code(form)
        return codes, codes < 0

    def _decode_singly(self, batch: _Batch, members: Sequence[int]) -> None:
        for i in members:
            try:
                report = cast(PmReport, self._decode_one(batch.messages[i]))
            except BadEvent as error:
                batch.errors.append((i, error))
                continue
            values = list(chain.from_iterable(c.values for c in report.cells))
            batch.parts.append(
                _Part(
                    np.array([i], dtype=np.int64),
                    np.array([batch.code(_form_of(report))], dtype=np.int64),
                    [report.event_id],
                    np.array([report.period_end_ms], dtype=np.int64),
                    np.array([len(c.values) for c in report.cells], dtype=np.int64),
                    np.array([[c.suspect for c in report.cells]], dtype=bool),
                    np.array([values], dtype=np.float64),
                    np.array([report.element_values], dtype=np.float64),
                )
            )


def _form_of(event: Event) -> PmForm:
    report = cast(PmReport, event)
    return PmForm(
        report.network_id,
        report.managed_element,
        report.granularity_s,
        report.layout,
        report.collection,
        tuple(c.cell for c in report.cells),
        tuple(len(c.values) for c in report.cells),
        len(report.element_values),
    )


def _sound(structure: Structure, rows: _Bytes) -> Bools:
    """[n] whether the parts that change hold what the model allows, given that all lengths are those of structure."""
    ascii_only = rows[:, slice(*structure.event_id)] < 0x80  # beyond ASCII, UTF-8 must be checked
    begin, end = structure.period_end
    period = _varints(rows[:, begin:end])
    checks = (
        ascii_only.all(axis=1),
        (rows[:, structure.suspect] <= 1).all(axis=1),
        (rows[:, begin : end - 1] >= 0x80).all(axis=1),
        rows[:, end - 1] < 0x80,
        (period >= 0) & (period <= MAX_EPOCH_MS),
    )
    sound: Bools = np.logical_and.reduce(checks)
    return sound


def _varints(columns: _Bytes) -> Ints:
    """[n] zigzag numbers of up to 63 bits in [n, bytes]."""
    shifts = np.arange(columns.shape[1], dtype=np.uint64) * np.uint64(7)
    raw = ((columns & np.uint8(0x7F)).astype(np.uint64) << shifts).sum(axis=1, dtype=np.uint64)
    sign = (raw & np.uint64(1)).astype(np.int64)
    numbers: Ints = (raw >> np.uint64(1)).astype(np.int64) ^ -sign
    return numbers


def _doubles(rows: _Bytes, spans: Sequence[tuple[int, int]]) -> Floats:
    """[n, sum of widths] little-endian doubles at (start, number) in each row."""
    total = sum(n for _, n in spans)
    raw = np.empty((len(rows), total * 8), dtype=np.uint8)
    at = 0
    for start, n in spans:
        raw[:, at : at + 8 * n] = rows[:, start : start + 8 * n]
        at += 8 * n
    # The explicit shape: a view of a matrix without columns does not know its own.
    return (
        raw.view("<f8").astype(np.float64, copy=False).reshape(len(rows), total) if total else np.empty((len(rows), 0))
    )


def _assemble(batch: _Batch) -> PmColumns:
    """Put the parts in the order of their messages."""
    message = np.sort(np.concatenate([p.message for p in batch.parts])) if batch.parts else np.zeros(0, dtype=np.int64)
    n = len(message)
    places = [np.searchsorted(message, p.message) for p in batch.parts]
    counts = np.zeros((3, n), dtype=np.int64)  # cell rows, counters, counters of the element
    for place, part in zip(places, batch.parts, strict=True):
        counts[:, place] = [[part.suspect.shape[1]], [part.values.shape[1]], [part.element_values.shape[1]]]
    row_start, values_at, element_start = (np.concatenate(([0], np.cumsum(c))) for c in counts)
    form = np.empty(n, dtype=np.int64)
    period = np.empty(n, dtype=np.int64)
    event_id = [""] * n
    widths = np.empty(row_start[-1], dtype=np.int64)
    suspect = np.empty(row_start[-1], dtype=bool)
    values = np.empty(values_at[-1])
    element = np.empty(element_start[-1])
    for place, part in zip(places, batch.parts, strict=True):
        form[place] = part.form
        period[place] = part.period_end_ms
        for i, identifier in zip(place.tolist(), part.event_id, strict=True):
            event_id[i] = identifier
        _scatter(suspect, row_start, place, part.suspect)
        _scatter(widths, row_start, place, np.broadcast_to(part.widths, part.suspect.shape))
        _scatter(values, values_at, place, part.values)
        _scatter(element, element_start, place, part.element_values)
    return PmColumns(
        message=message,
        forms=tuple(batch.forms),
        form=form,
        event_id=event_id,
        period_end_ms=period,
        row_start=row_start,
        suspect=suspect,
        value_start=np.concatenate(([0], np.cumsum(widths))),
        values=values,
        element_start=element_start,
        element_values=element,
        errors=sorted(batch.errors, key=lambda e: e[0]),
    )


def _scatter(out: npt.NDArray[Any], start: Ints, place: Ints, block: npt.NDArray[Any]) -> None:
    """Copy [n, width] to where the reports at ``place`` have it in the flat array."""
    width = block.shape[1]
    if width and (np.diff(start) == width).all():
        out.reshape(-1, width)[place] = block  # all reports are alike
    elif width:
        out[start[place][:, None] + np.arange(width)] = block

"""Dead letters: list and show them, and send them again once what was wrong is mended.

A letter is sent again once, whatever dies in between:

1. one transaction notes the intention, with the ends of the letter's topic at that moment (table ``audit``);
2. the event is produced to where it came from, marked as re-injected and with the letter's id;
3. the note is marked as sent.

A note that was never marked is looked up on the topic, from the ends it holds on: if its event is there, only the mark
is missing. Governance judges a re-injected event like any other; alarms and configuration apply in the epoch in which
they come, with their own event time; measurements of a closed period count as late.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from enum import StrEnum
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from infra.exceptions import InfraError
from infra.roles.base import Context
from infra.storage.database import Connection, Database, claim
from schemas.dead_letters import DeadLetter, Reason
from schemas.exceptions import UnknownTopic
from schemas.topics import DLQ, topic
from streams.dead_letters import Reinjection, reinjection
from streams.exceptions import BadEvent
from streams.frontier import from_keys, to_keys
from streams.transport import Message, Transport

# Says which letter a re-injected event is; beside the transport's own mark, which says which attempt.
ORIGIN = "twinloop-origin"
_ACTION = "reinject"
_POLL, _FLUSH_S = 5000, 30.0


class UnknownLetter(InfraError, LookupError):
    """There is no dead letter of that id."""


class ReplayUnderWay(InfraError):
    """Another process sends letters of this network again."""


class Letter(NamedTuple):
    """A dead letter, and how often it was sent again."""

    letter: DeadLetter
    reinjected: int


class LetterView(NamedTuple):
    """All that can be said about a dead letter.

    ``event`` is its content as JSON where it can be decoded at all; ``history`` has one entry for each re-injection.
    """

    letter: DeadLetter
    event: dict[str, Any] | None
    history: tuple[dict[str, Any], ...]


class Outcome(StrEnum):
    """What became of a request to send a letter again."""

    SENT = "sent"
    ALREADY = "already sent"
    IMPOSSIBLE = "impossible"


class Reinjected(NamedTuple):
    """The answer for one letter."""

    letter_id: str
    outcome: Outcome
    detail: str


def list_letters(context: Context, reasons: Collection[Reason] = ()) -> list[Letter]:
    """The network's dead letters, oldest first, of some reasons or of all. Repeats of an id are one letter."""
    with context.database("dlq") as database, database.transaction() as connection:
        counts = dict(
            connection.execute(
                "SELECT subject, count(*) FROM audit WHERE network_id = %s AND action = %s GROUP BY subject",
                (context.network_id, _ACTION),
            ).fetchall()
        )
    found = _letters(context)
    return [Letter(x, counts.get(x.event_id, 0)) for x in found.values() if not reasons or x.reason in reasons]


def show_letter(context: Context, letter_id: str) -> LetterView:
    """Everything about one letter.

    Raises
    ------
    UnknownLetter
        If there is none of that id.
    """
    letter = _one(context, letter_id)
    event = None
    if letter.value:
        try:
            event = context.serde.decode(topic(letter.origin.topic), letter.value).model_dump(mode="json")
        except (BadEvent, UnknownTopic):
            event = None
    with context.database("dlq") as database, database.transaction() as connection:
        history = tuple(note.detail for note in _notes(connection, context.network_id, letter_id))
    return LetterView(letter, event, history)


def replay_letters(
    context: Context, ids: Sequence[str] = (), reasons: Collection[Reason] = (), *, actor: str, again: bool = False
) -> list[Reinjected]:
    """Send dead letters to where they came from.

    Parameters
    ----------
    ids
        Which; empty means all (of the reasons, if given).
    actor
        Who asks for it; stands in the audit table.
    again
        Also those that were sent before.

    Raises
    ------
    UnknownLetter
        If one of the ids is none; nothing is sent then.
    ReplayUnderWay
        If another process is sending letters of this network.
    DeliveryFailed
        If Kafka does not take them; call it again, each is sent once.
    """
    letters = _letters(context)
    missing = [i for i in ids if i not in letters]
    if missing:
        raise UnknownLetter(f"no dead letter has the id {missing[0]}", "`twinloop dlq list` shows all ids")
    chosen = [letters[i] for i in ids] if ids else [x for x in letters.values() if not reasons or x.reason in reasons]
    with (
        context.database("dlq") as database,
        closing(context.transport.producer("dlq")) as producer,
    ):
        with database.transaction() as connection:
            if not claim(connection, f"{_ACTION}|{context.network_id}"):
                raise ReplayUnderWay(
                    f"dead letters of network {context.network_id} are being sent again by another process",
                    "wait for it to end; the same letter must not be sent twice",
                )
        out = []
        for letter in chosen:
            note, answer = _intend(context, database, letter, actor, again)
            if note is not None:
                message = _message(letter, note.attempt)
                producer.send(*message)
                producer.flush(_FLUSH_S)
                _mark_sent(database, context.network_id, note)
            out.append(answer)
    return out


class _Note(NamedTuple):
    """A row of the audit table: one re-injection of one letter."""

    id: int
    letter_id: str
    detail: dict[str, Any]

    @property
    def attempt(self) -> int:
        return int(self.detail["attempt"])


def _intend(
    context: Context, database: Database, letter: DeadLetter, actor: str, again: bool
) -> tuple[_Note | None, Reinjected]:
    """Step 1: the note to act on, if there is something to do, and the answer that it will then be."""
    network, letter_id = context.network_id, letter.event_id
    try:
        reinjection(letter)
    except ValueError as error:
        return None, Reinjected(letter_id, Outcome.IMPOSSIBLE, str(error))
    with database.transaction() as connection:
        notes = _notes(connection, network, letter_id)
        for note in notes:
            if not note.detail["sent"]:
                if not _is_on_topic(context.transport, letter, note):
                    return note, Reinjected(letter_id, Outcome.SENT, f"attempt {note.attempt}, begun before")
                _set_sent(connection, network, note)
        if notes and not again:
            return None, Reinjected(letter_id, Outcome.ALREADY, f"{len(notes)} times; --again sends it once more")
        detail = {
            "attempt": letter.attempt + len(notes) + 1,
            "sent": False,
            "from": to_keys(context.transport.end_offsets([letter.origin.topic])),
        }
        row = connection.execute(
            "INSERT INTO audit (network_id, at_ms, actor, action, subject, detail) VALUES (%s, %s, %s, %s, %s, %s) "
            "RETURNING id",
            (network, context.clock.now_ms(), actor, _ACTION, letter_id, Jsonb(detail)),
        ).fetchone()
    assert row is not None, "INSERT … RETURNING gives a row"
    return _Note(row[0], letter_id, detail), Reinjected(letter_id, Outcome.SENT, f"attempt {detail['attempt']}")


def _message(letter: DeadLetter, attempt: int) -> Reinjection:
    """Step 2: what to produce."""
    message = reinjection(letter.model_copy(update={"attempt": attempt - 1}))
    return message._replace(headers=(*message.headers, (ORIGIN, f"{letter.event_id}#{attempt}".encode())))


def _mark_sent(database: Database, network_id: str, note: _Note) -> None:
    """Step 3."""
    with database.transaction() as connection:
        _set_sent(connection, network_id, note)


def _set_sent(connection: Connection, network_id: str, note: _Note) -> None:
    connection.execute(
        "UPDATE audit SET detail = detail || '{\"sent\": true}' WHERE network_id = %s AND id = %s",
        (network_id, note.id),
    )


def _notes(connection: Connection, network_id: str, letter_id: str) -> list[_Note]:
    rows = connection.execute(
        "SELECT id, subject, detail FROM audit WHERE network_id = %s AND action = %s AND subject = %s ORDER BY id",
        (network_id, _ACTION, letter_id),
    )
    return [_Note(*row) for row in rows]


def _is_on_topic(transport: Transport, letter: DeadLetter, note: _Note) -> bool:
    mark = f"{letter.event_id}#{note.attempt}".encode()
    return any(m.header(ORIGIN) == mark for m in _read(transport, letter.origin.topic, note.detail["from"]))


def _one(context: Context, letter_id: str) -> DeadLetter:
    letter = _letters(context).get(letter_id)
    if letter is None:
        raise UnknownLetter(f"no dead letter has the id {letter_id}", "`twinloop dlq list` shows all ids")
    return letter


def _letters(context: Context) -> dict[str, DeadLetter]:
    """The network's letters by id, in the order in which they were first refused."""
    out: dict[str, DeadLetter] = {}
    for message in _read(context.transport, DLQ.name):
        try:
            letter = context.serde.decode_as(DLQ, message.value, DeadLetter)
        except BadEvent:
            continue  # somebody else's bytes on our topic
        if letter.network_id == context.network_id:
            out.setdefault(letter.event_id, letter)
    return dict(sorted(out.items(), key=lambda item: (item[1].time_ms, item[1].origin.topic, item[1].origin.offset)))


def _read(transport: Transport, name: str, start: dict[str, int] | None = None) -> Iterator[Message]:
    """Everything on a topic from some offsets on."""
    with closing(transport.consumer("dlq")) as consumer:
        consumer.assign(transport.begin_offsets([name]) | from_keys(start or {}))
        while not consumer.at_end():
            yield from consumer.poll(_POLL, 0.5)

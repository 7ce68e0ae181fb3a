"""Late events and dead letters on their way out."""

from collections.abc import Iterable

from schemas.dead_letters import DeadLetter, LateEvent
from schemas.topics import DLQ, LATE
from streams.serde import Serde
from streams.transport import Producer

# Whoever reads the topics without our code drops repeats by this header.
EVENT_ID = "event_id"


def send_refusals(
    producer: Producer, serde: Serde, late: Iterable[LateEvent], dead_letters: Iterable[DeadLetter]
) -> None:
    """Send late events and dead letters; they are safe after the producer's ``flush``.

    Their ids derive from the offset of what they hold, so that doing it again adds nothing for who looks at ids.
    """
    for event in late:
        producer.send(
            LATE.name,
            LATE.key_of(event),
            serde.encode(LATE, event),
            [(EVENT_ID, event.event_id.encode())],
            timestamp_ms=event.closed_ms,
        )
    for letter in dead_letters:
        producer.send(
            DLQ.name,
            DLQ.key_of(letter),
            serde.encode(DLQ, letter),
            [(EVENT_ID, letter.event_id.encode())],
            timestamp_ms=letter.time_ms,
        )

"""Dead letters and late events: what could not be used, byte for byte, with where it came from; and the way back.

Their ids are derived from the offset of the event they hold, so that an operator which dies and does its work again
writes the same letter, and whoever reads it drops the second one.
"""

from typing import NamedTuple

from schemas.dead_letters import DeadLetter, LateEvent, Reason
from schemas.telemetry import PartitionOffset
from streams.transport import REINJECTED, Headers, Message

_DETAIL_CHARACTERS = 4000  # DeadLetter.detail


def event_id_of(message: Message) -> str:
    """Id of the letter about a message.

    >>> event_id_of(Message("telemetry.pm", 2, 17, None, None, 0))
    'telemetry.pm/2/17'
    """
    return f"{message.topic}/{message.partition}/{message.offset}"


def attempt_of(message: Message) -> int:
    """Which attempt this message is: 1, plus how often it was re-injected.

    >>> attempt_of(Message("telemetry.pm", 0, 0, None, None, 0, ((REINJECTED, b"2"),)))
    2
    """
    raw = message.header(REINJECTED)
    # Anyone may send headers: what is no attempt number counts as a first attempt.
    return max(int(raw), 1) if raw is not None and raw.isdigit() and len(raw) < 6 else 1


def is_reinjected(message: Message) -> bool:
    """Whether the message is a dead letter that was sent again."""
    return message.header(REINJECTED) is not None


def dead_letter(
    message: Message, reason: Reason, detail: str, *, stage: str, network_id: str, time_ms: int
) -> DeadLetter:
    """The letter about a message that cannot be used.

    Parameters
    ----------
    detail
        What is wrong; cut to 4000 characters. Must not hold a subscriber's identity.
    stage
        The operator that refused it.
    network_id
        The network that its key names, or the one that adopts events without a readable key.
    time_ms
        End of the period in which it was refused: event time.
    """
    # The value is what would identify the subscriber; the rest of the letter says enough to find the producer.
    value = b"" if reason is Reason.NOT_PSEUDONYMOUS else message.value or b""
    return DeadLetter(
        network_id=network_id,
        event_id=event_id_of(message),
        origin=_origin(message),
        key=message.key or b"",
        value=value,
        reason=reason,
        detail=detail[:_DETAIL_CHARACTERS],
        stage=stage,
        attempt=attempt_of(message),
        time_ms=time_ms,
    )


def late_event(
    message: Message, *, network_id: str, managed_element: str, period_end_ms: int, closed_ms: int
) -> LateEvent:
    """The record of an event that came after its period was closed."""
    return LateEvent(
        network_id=network_id,
        event_id=event_id_of(message),
        origin=_origin(message),
        key=message.key or b"",
        value=message.value or b"",
        managed_element=managed_element,
        period_end_ms=period_end_ms,
        closed_ms=closed_ms,
    )


class Reinjection(NamedTuple):
    """A dead letter on its way back to where it came from; the arguments of ``Producer.send``."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int


def reinjection(letter: DeadLetter, value: bytes | None = None) -> Reinjection:
    """What to send so that a dead letter is tried once more, marked as such.

    Parameters
    ----------
    value
        The repaired event; the letter's own bytes unless given.

    Raises
    ------
    ValueError
        If the letter's bytes were emptied to protect a subscriber and no repaired value is given.
    """
    if value is None and letter.reason is Reason.NOT_PSEUDONYMOUS:
        raise ValueError(
            f"dead letter {letter.event_id} was emptied because it held a subscriber's identity; "
            "let the producer send the event again under a pseudonym"
        )
    return Reinjection(
        letter.origin.topic,
        letter.key or None,
        letter.value if value is None else value,
        ((REINJECTED, str(letter.attempt + 1).encode()),),
        letter.time_ms,
    )


def _origin(message: Message) -> PartitionOffset:
    return PartitionOffset(topic=message.topic, partition=message.partition, offset=message.offset)

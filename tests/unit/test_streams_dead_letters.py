"""Dead letters hold what could not be used, and find their way back."""

import pytest

from schemas.dead_letters import DeadLetter, Reason
from schemas.topics import DLQ, LATE
from streams.dead_letters import attempt_of, dead_letter, is_reinjected, late_event, reinjection
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import REINJECTED, Headers, Message

_TIME = 1_700_000_040_000
_ELEMENT = "SubNetwork=1,ManagedElement=g1"


def message(
    offset: int = 17, key: bytes | None = b"net|x", value: bytes | None = b"\0junk", headers: Headers = ()
) -> Message:
    return Message("telemetry.pm", 2, offset, key, value, _TIME, headers)


def letter_of(m: Message, reason: Reason = Reason.UNDECODABLE, detail: str = "why") -> DeadLetter:
    return dead_letter(m, reason, detail, stage="decode", network_id="net", time_ms=_TIME)


def test_the_same_message_makes_the_same_letter() -> None:
    assert letter_of(message()) == letter_of(message())
    assert letter_of(message()).event_id == "telemetry.pm/2/17"
    assert letter_of(message(18)).event_id != letter_of(message()).event_id


def test_a_letter_holds_the_bytes_and_where_they_came_from() -> None:
    letter = letter_of(message(key=b"\xff", value=None))
    assert (letter.key, letter.value) == (b"\xff", b"")
    assert (letter.origin.topic, letter.origin.partition, letter.origin.offset) == ("telemetry.pm", 2, 17)
    assert letter.attempt == 1
    serde = Serde(LocalIds())
    assert serde.decode(DLQ, serde.encode(DLQ, letter)) == letter


def test_a_long_detail_is_cut() -> None:
    assert len(letter_of(message(), detail="x" * 10_000).detail) == 4000


def test_a_subscribers_identity_is_not_kept() -> None:
    letter = letter_of(message(value=b"imsi-262011234567890"), Reason.NOT_PSEUDONYMOUS)
    assert letter.value == b""
    with pytest.raises(ValueError, match="pseudonym"):
        reinjection(letter)
    assert reinjection(letter, b"repaired").value == b"repaired"


def test_a_letter_goes_back_byte_for_byte_and_counts_its_attempts() -> None:
    first = letter_of(message())
    back = reinjection(first)
    assert (back.topic, back.key, back.value, back.timestamp_ms) == ("telemetry.pm", b"net|x", b"\0junk", _TIME)
    again = message(40, headers=back.headers)
    assert is_reinjected(again)
    assert not is_reinjected(message())
    second = letter_of(again)
    assert second.attempt == 2
    assert attempt_of(message(50, headers=reinjection(second).headers)) == 3


@pytest.mark.parametrize("raw", [b"", b"x", b"-1", b"\xff", b"9" * 5000, b"0"])
def test_a_header_that_is_no_number_counts_as_the_first_attempt(raw: bytes) -> None:
    assert attempt_of(message(headers=((REINJECTED, raw),))) == 1


def test_a_late_event_says_how_late_it_was() -> None:
    late = late_event(
        message(), network_id="net", managed_element=_ELEMENT, period_end_ms=_TIME, closed_ms=_TIME + 60_000
    )
    assert late.event_id == "telemetry.pm/2/17"
    assert late.closed_ms - late.period_end_ms == 60_000
    serde = Serde(LocalIds())
    assert serde.decode(LATE, serde.encode(LATE, late)) == late

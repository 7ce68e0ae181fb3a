"""Moments in a twin's life as a person writes them: a revision's number or a time."""

from datetime import UTC, datetime

import typer


def moment(text: str | None) -> int | None:
    """A revision's number, or an ISO 8601 time as epoch milliseconds (UTC where no zone is named).

    >>> moment("17"), moment("2026-01-12T19:00")
    (17, 1768244400000)
    """
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a revision's number nor a time such as 2026-01-12T19:00"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def clock(at_ms: int) -> str:
    """Event time for a person.

    >>> clock(1768244400000)
    '2026-01-12 19:00:00'
    """
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")

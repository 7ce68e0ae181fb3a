"""What a channel of delivery is: one attempt at a time, never raising for what the other side does."""

from typing import NamedTuple, Protocol

import httpx

from schemas.alerts import Alert

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
# Answers after which trying again may help: timeouts and throttling; the receiver's own errors are 5xx.
_TRY_AGAIN = frozenset({408, 425, 429})


class Attempt(NamedTuple):
    """What came of one attempt. ``detail`` never holds the URL, which may carry a token."""

    delivered: bool
    hopeless: bool
    detail: str


class Channel(Protocol):
    """Where alerts are delivered. Contract suite: tests/contracts/test_alert_channels.py."""

    @property
    def name(self) -> str:
        """Under which deliveries are noted."""

    def attempt(self, told: Alert) -> Attempt:
        """Deliver an alert once."""

    def close(self) -> None:
        """Close connections."""


def post(client: httpx.Client, url: str, body: bytes, headers: dict[str, str]) -> Attempt:
    """Post once, and say what came of it."""
    try:
        answer = client.post(url, content=body, headers=headers)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        return Attempt(False, True, type(error).__name__)
    except httpx.HTTPError as error:
        return Attempt(False, False, type(error).__name__)
    status = answer.status_code
    hopeless = not answer.is_success and status < 500 and status not in _TRY_AGAIN
    return Attempt(answer.is_success, hopeless, f"HTTP {status}")


def client(timeout_s: float) -> httpx.Client:
    """A client that follows no redirects: what is sent goes to whom it was meant for, or nowhere."""
    return httpx.Client(timeout=timeout_s, follow_redirects=False, headers={"User-Agent": "twinloop"})


def pause_s(attempts: int) -> float:
    """How long to wait after so many failed attempts.

    >>> [pause_s(n) for n in (1, 2, 3, 20)]
    [0.5, 1.0, 2.0, 60.0]
    """
    return float(min(_FIRST_PAUSE_S * 2 ** (attempts - 1), _LONGEST_PAUSE_S))

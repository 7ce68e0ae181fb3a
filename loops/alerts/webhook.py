"""Delivery of an alert to a webhook: one attempt at a time, signed, never raising for what the other side does.

The body is a CloudEvents 1.0 document in structured mode. If a secret is set, the header ``X-Twinloop-Signature``
holds ``sha256=`` and the hexadecimal HMAC-SHA256 of the body; a receiver computes the same and compares in constant
time. Delivery is at least once: a receiver drops ids (with source) that it has seen.
"""

import hashlib
import hmac
import json
from types import TracebackType
from typing import NamedTuple, Self

import httpx

from loops.alerts.events import cloud_event
from schemas.alerts import Alert

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SIGNATURE = "X-Twinloop-Signature"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0
# Answers after which trying again may help: timeouts and throttling; the receiver's own errors are 5xx.
_TRY_AGAIN = frozenset({408, 425, 429})


class Attempt(NamedTuple):
    """What came of one attempt. ``detail`` never holds the URL, which may carry a token."""

    delivered: bool
    hopeless: bool
    detail: str


class Webhook:
    """One receiver of alerts.

    Parameters
    ----------
    url
        Where alerts are posted.
    secret
        Key of the signature; None sends none.
    timeout_s
        Of one attempt.
    """

    def __init__(self, url: str, secret: str | None = None, timeout_s: float = 5.0) -> None:
        self._url, self._secret = url, secret
        # Redirects are not followed: a signed body goes to whom it was meant for, or nowhere.
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False, headers={"User-Agent": "twinloop"})

    def attempt(self, told: Alert) -> Attempt:
        """Post an alert once."""
        body = json.dumps(cloud_event(told), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": CONTENT_TYPE}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, body)
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            return Attempt(False, True, type(error).__name__)
        except httpx.HTTPError as error:
            return Attempt(False, False, type(error).__name__)
        status = answer.status_code
        detail = f"HTTP {status}"
        return Attempt(answer.is_success, not answer.is_success and status < 500 and status not in _TRY_AGAIN, detail)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def signature(secret: str, body: bytes) -> str:
    """Value of the signature header.

    >>> signature("key", b"The quick brown fox jumps over the lazy dog")[:23]
    'sha256=f7bc83f430538424'
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def pause_s(attempts: int) -> float:
    """How long to wait after so many failed attempts.

    >>> [pause_s(n) for n in (1, 2, 3, 20)]
    [0.5, 1.0, 2.0, 60.0]
    """
    return float(min(_FIRST_PAUSE_S * 2 ** (attempts - 1), _LONGEST_PAUSE_S))

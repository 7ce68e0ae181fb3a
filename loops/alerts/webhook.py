"""Delivery of an alert to a webhook, signed.

The body is a CloudEvents 1.0 document in structured mode. If a secret is set, the header ``X-Twinloop-Signature``
holds ``sha256=`` and the hexadecimal HMAC-SHA256 of the body; a receiver computes the same and compares in constant
time. Delivery is at least once: a receiver drops ids (with source) that it has seen.
"""

import hashlib
import hmac
import json

from loops.alerts.channel import Attempt, client, post
from loops.alerts.events import cloud_event
from schemas.alerts import Alert

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SIGNATURE = "X-Twinloop-Signature"


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

    name = "webhook"

    def __init__(self, url: str, secret: str | None = None, timeout_s: float = 5.0) -> None:
        self._url, self._secret = url, secret
        self._client = client(timeout_s)

    def attempt(self, told: Alert) -> Attempt:
        """Post an alert once."""
        body = json.dumps(cloud_event(told), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": CONTENT_TYPE}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, body)
        return post(self._client, self._url, body, headers)

    def close(self) -> None:
        """Close connections."""
        self._client.close()


def signature(secret: str, body: bytes) -> str:
    """Value of the signature header.

    >>> signature("key", b"The quick brown fox jumps over the lazy dog")[:23]
    'sha256=f7bc83f430538424'
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

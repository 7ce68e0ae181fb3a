"""User ids that are no pseudonyms: what looks like a subscriber's identity must not enter the twin.

IMSI and SUPI have up to 15 digits, IMEI up to 16 (TS 23.003), MSISDN up to 15 with or without ``+`` (E.164).
"""

import re
from collections.abc import Iterable

_IDENTITY = re.compile(
    r"(?:\d{14,16}"  # a bare IMSI, IMEI or long MSISDN
    r"|\+\d{7,15}"  # MSISDN in international form
    r"|(?:imsi|imei|imeisv|supi|suci|gpsi|msisdn|nai|tel)[-:=].*)\Z",
    re.IGNORECASE,
)
# In bytes that did not decode: long digit strings that stand alone, or a typed identity.
_IDENTITY_BYTES = re.compile(
    rb"(?<!\d)\d{14,16}(?!\d)|\+\d{7,15}(?!\d)|(?:imsi|imei|imeisv|supi|suci|gpsi|msisdn|nai|tel)[-:=]\S", re.IGNORECASE
)


def looks_like_identity(user: str) -> bool:
    """Whether a user id looks like a subscriber's or device's identity.

    >>> [looks_like_identity(u) for u in ("262011234567890", "imsi-26201123456789", "+4915112345678", "u-7f3a", "1234")]
    [True, True, True, False, False]
    """
    return _IDENTITY.match(user) is not None


def count_identities(users: Iterable[str]) -> int:
    """How many of the ids look like identities.

    Examples
    --------
    >>> count_identities(["u-1", "262011234567890"])
    1
    """
    return sum(1 for user in set(users) if _IDENTITY.match(user))


def bytes_may_identify(value: bytes) -> bool:
    """Whether undecodable bytes may contain an identity, so that they must not be kept.

    >>> bytes_may_identify(b"\\x00garbage supi=imsi-26201"), bytes_may_identify(b"\\x00garbage 1700000060000")
    (True, False)
    """
    return _IDENTITY_BYTES.search(value) is not None

"""Identifiers that follow from what they name, so that work done again makes the same ones."""

import hashlib


def digest(*parts: object, length: int = 16) -> str:
    """A short identifier that the same parts always give.

    >>> digest("a", 1) == digest("a", 1), digest("a", 1) == digest("a1")
    (True, False)
    """
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:length]

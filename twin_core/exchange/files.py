"""Text and bytes in and out of files: text as UTF-8, files whole or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path

from twin_core.exceptions import InvalidFile

_SHOWN = 8


def text_of(data: bytes) -> str:
    """Text of a file: UTF-8, with or without a byte-order mark.

    Raises
    ------
    InvalidFile
        If the bytes are something else, or nothing.

    Examples
    --------
    >>> text_of("site;sector".encode("utf-8-sig"))
    'site;sector'
    """
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise InvalidFile("the file is empty; give one with at least one cell")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidFile(
            f"line {line}: byte {data[error.start]:#04x} is no UTF-8; save the file as UTF-8 (in Excel: CSV UTF-8)"
        ) from error


def write(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def refuse(problems: Sequence[str]) -> None:
    """Raise all problems of a file as one error, the first few in full.

    Raises
    ------
    InvalidFile
        If there is any.
    """
    if not problems:
        return
    more = [f"… and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    raise InvalidFile("\n".join([*problems[:_SHOWN], *more]))

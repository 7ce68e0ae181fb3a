"""Optional libraries: imported where they are needed, missed with a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from twin_core.exceptions import MissingLibrary


@contextmanager
def needed_for(purpose: str, install: str = "'twinloop[geo]'") -> Iterator[None]:
    """Turn the ImportError of an optional library into one that names cause and remedy.

    Raises
    ------
    MissingLibrary
        If what is imported inside is not installed.

    Examples
    --------
    >>> with needed_for("a map"):
    ...     import no_such_library
    Traceback (most recent call last):
    twin_core.exceptions.MissingLibrary: a map needs the library no_such_library; pip install 'twinloop[geo]'
    """
    try:
        yield
    except ImportError as error:
        raise MissingLibrary(f"{purpose} needs the library {error.name}; pip install {install}") from error

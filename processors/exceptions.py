"""What can go wrong in a processor.

An event that cannot be used is no exception: it becomes a dead letter or a late event. Exceptions here mean that the
processor itself is wrongly set up, or that its input contradicts what it has already seen.

::

    ProcessorError
    ├── HostUnavailable  a host's library is missing, or what it was given cannot be used
    ├── WrongState       a saved state belongs to another topology, operator or version
    └── BrokenBalance    the counts of an epoch do not add up: a fault of twinloop, never of the input
"""


class ProcessorError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    cause
        What went wrong, with names and numbers.
    remedy
        What a person can do about it.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}\nRemedy: {self.remedy}"


class HostUnavailable(ProcessorError):
    """A host of operators cannot run: its library is not installed, or it was given what it cannot work with."""


class WrongState(ProcessorError):
    """A saved operator state does not fit the operator that should continue from it."""


class BrokenBalance(ProcessorError):
    """ingested = applied + duplicate + late + dead_lettered + in_flight does not hold."""

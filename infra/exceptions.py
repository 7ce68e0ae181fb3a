"""What every error of this package carries: a cause and a remedy.

::

    InfraError
    ├── LocalServiceError    infra.local.exceptions: Kafka, registry, PostgreSQL on this machine
    ├── StorageError         infra.storage.exceptions: the database
    └── SettingsError        a setting is missing or has a value it cannot have
"""


class InfraError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    cause
        What went wrong, with the names and numbers a person needs.
    remedy
        What the person can do about it.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}\nRemedy: {self.remedy}"


class SettingsError(InfraError):
    """A setting is missing or has a value it cannot have."""

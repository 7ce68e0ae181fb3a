"""What can go wrong with the database.

::

    StorageError
    ├── DatabaseUnavailable   it cannot be reached, or the connection was lost
    ├── SchemaOutdated        its tables are not those of this version of twinloop
    ├── MigrationFailed       its tables could not be brought to this version
    ├── UnknownRevision       a revision or snapshot is not kept (also a LookupError)
    └── ProgressTimeout       roles did not finish a period in time
"""

from collections.abc import Mapping

from infra.exceptions import InfraError


class StorageError(InfraError):
    """Base of all errors of the database."""


class DatabaseUnavailable(StorageError):
    """The database cannot be reached, or the connection was lost.

    When it is lost while committing nobody knows whether the transaction took place: repeat it. All our writes are
    upserts under ids derived from their input, so that a repeat changes nothing.
    """


class SchemaOutdated(StorageError):
    """The tables are not those of this version of twinloop."""


class MigrationFailed(StorageError):
    """The tables could not be brought to this version."""


class UnknownRevision(StorageError, LookupError):
    """A revision or snapshot is not kept."""

    def __init__(self, network_id: str, region: str, what: str) -> None:
        super().__init__(
            f"region {region} of network {network_id} has no {what}",
            "see `twinloop twin` for the revisions that are kept; twin.keep_snapshots says how many snapshots are",
        )


class ProgressTimeout(StorageError):
    """Roles did not finish a period in time."""

    def __init__(self, period_end_ms: int, deadline_s: float, missing: Mapping[str, int | None]) -> None:
        behind = ", ".join(
            f"{role} is at {at}" if at is not None else f"{role} has none" for role, at in missing.items()
        )
        super().__init__(
            f"period {period_end_ms} is not finished after {deadline_s:.0f} s: {behind}",
            "see whether those roles run and what their logs say",
        )
        self.missing = dict(missing)

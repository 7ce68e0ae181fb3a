"""What can be wrong with a recording.

::

    DatasetError
    ├── UnknownDataset     no reader of that name
    ├── DatasetMissing     no file or folder there, or no Parquet file in it
    ├── NotParquet         a file that is not Parquet, or a damaged one
    ├── WrongColumns       columns are missing or hold no numbers
    ├── EmptyDataset       no rows, or none that is usable
    └── ReplayIncomplete   what was sent did not come back from the transport
"""

from infra.exceptions import InfraError


class DatasetError(InfraError):
    """Base: a recording cannot be replayed."""


class UnknownDataset(DatasetError):
    """No recording of that name can be read."""


class DatasetMissing(DatasetError):
    """There is nothing to read at the path."""


class NotParquet(DatasetError):
    """The file is no Parquet file."""


class WrongColumns(DatasetError):
    """The file is another kind of recording, or an export that lost columns."""


class EmptyDataset(DatasetError):
    """Nothing is left to replay."""


class ReplayIncomplete(DatasetError):
    """Periods that were sent did not come back in time."""

"""What can go wrong in the reference network.

::

    NetworkError (infra.exceptions.InfraError)
    ├── BadParameters   the parameters file cannot be read or has a value it cannot have
    └── BadState        a saved state cannot be continued here
"""

from infra.exceptions import InfraError


class NetworkError(InfraError):
    """Base of all errors of this package."""


class BadParameters(NetworkError):
    """The parameters file cannot be read or has a value it cannot have."""


class BadState(NetworkError):
    """A saved state cannot be continued here."""

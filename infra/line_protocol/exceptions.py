"""What can go wrong between twinloop and a live network.

::

    LineProtocolError (infra.exceptions.InfraError)
    ├── NetworkDied         the executable ended or cannot be started
    ├── NetworkSilent       it did not answer in time
    ├── WrongProtocol       it speaks another protocol or version
    ├── ProtocolViolation   it wrote something that the protocol does not allow
    ├── RequestRefused      it answered a request with an error
    └── Stopped             we were told to stop while it was at work
"""

from infra.exceptions import InfraError


class LineProtocolError(InfraError):
    """Base of all errors of this package."""


class NetworkDied(LineProtocolError):
    """The executable ended, or cannot be started."""


class NetworkSilent(LineProtocolError):
    """The executable did not answer in time."""


class WrongProtocol(LineProtocolError):
    """The executable speaks another protocol, or another version of it."""


class ProtocolViolation(LineProtocolError):
    """The executable wrote something that the protocol does not allow."""


class RequestRefused(LineProtocolError):
    """The executable answered a request with an error."""


class Stopped(LineProtocolError):
    """We were told to stop while the executable was at work."""

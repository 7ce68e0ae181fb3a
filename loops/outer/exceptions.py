"""What can go wrong in the outer loop. Every message names the cause and what to do about it.

::

    LoopError
    └── OuterError
        ├── IllegalTransition    a plan was asked to go where the table of states does not lead
        ├── UnknownCell          a change names a cell that the topology lacks
        ├── NotApproved          a plan was asked for without an APPROVED verdict on that very strategy
        └── UnknownValue         the actual configuration lacks an attribute that a plan would change
"""

from loops.exceptions import LoopError


class OuterError(LoopError):
    """Base of the outer loop's errors."""


class IllegalTransition(OuterError):
    """The table of transitions does not lead from this state to that one."""


class UnknownCell(OuterError, LookupError):
    """A change touches a cell that the topology does not have."""


class NotApproved(OuterError, ValueError):
    """Only an approved strategy becomes a plan."""


class UnknownValue(OuterError, LookupError):
    """Without the present value of an attribute there is nothing to fall back to."""

"""What governance says about one message before it looks at other messages."""

from typing import Generic, NamedTuple, TypeVar

from schemas.base import Event
from schemas.dead_letters import Reason

E = TypeVar("E", bound=Event)


class Refusal(NamedTuple):
    """Why a message is unusable."""

    reason: Reason
    detail: str


class Good(NamedTuple, Generic[E]):
    """A usable event: what identifies and places it, and the event itself."""

    event_id: str
    managed_element: str
    period_end_ms: int
    time_ms: int
    event: E

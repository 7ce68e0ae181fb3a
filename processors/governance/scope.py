"""Which messages of a network a region's governance looks at, and which it answers for.

A region hears its own managed elements and those of its halo, but only the region that owns an element counts its
events, sends the late ones on and dead-letters the bad ones: so over all regions every event has one fate. What names
no managed element of the network is the first region's.
"""

from dataclasses import dataclass

from processors.messages import parse_key
from streams.transport import Message


@dataclass(frozen=True, slots=True)
class Scope:
    """One region's.

    Parameters
    ----------
    owned, halo
        Managed elements.
    elsewhere, cells_elsewhere
        Managed elements, and cells, of the rest of the network.
    first
        Whether it answers for what is nobody's.
    """

    owned: frozenset[str]
    halo: frozenset[str]
    elsewhere: frozenset[str]
    cells_elsewhere: frozenset[str]
    first: bool

    def answers_for(self, message: Message) -> bool:
        """Whether its fate is this region's to tell."""
        element = parse_key(message.key).rest
        return element in self.owned or (self.first and element not in self.halo and element not in self.elsewhere)

    def hears(self, message: Message) -> bool:
        """Whether it is looked at."""
        return parse_key(message.key).rest in self.halo or self.answers_for(message)

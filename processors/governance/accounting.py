"""Where each event of an epoch goes: applied, duplicate, late, dead letter, or kept for the next epoch.

Every event goes to exactly one place, which is what makes the counts balance.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from processors.exceptions import BrokenBalance
from processors.governance.grid import Grid
from processors.governance.state import EventKey
from processors.governance.verdict import Refusal
from schemas.dead_letters import Reason
from schemas.twin import EventCounts
from streams.dead_letters import is_reinjected
from streams.transport import Message

# What holds until further notice is applied also when it is sent again after its period; measurements are not.
REGISTERED = frozenset({"telemetry.fm", "telemetry.cm"})


class Fate(Enum):
    """Where an event goes."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    DEAD = "dead_lettered"
    IN_FLIGHT = "in_flight"


class Placed(NamedTuple):
    """A usable event: what identifies it and the period it belongs to."""

    event_id: str
    managed_element: str
    period_end_ms: int


class Account(NamedTuple):
    """Fate of each message, and the refusals, those for a time in the future among them."""

    fates: list[Fate]
    refusals: dict[int, Refusal]


def account(
    messages: Sequence[Message],
    placed: Mapping[int, Placed],
    refusals: Mapping[int, Refusal],
    grid: Grid,
    closed_ms: int | None,
    seen: Mapping[EventKey, int],
) -> Account:
    """Decide the fate of the messages of one epoch, in canonical order.

    Parameters
    ----------
    messages
        In canonical order: of several copies the first counts.
    placed, refusals
        By position in ``messages``; each position stands in one of them.
    closed_ms
        End of the last period closed before; what belongs to it or earlier is late.
    seen
        Alarms and configuration applied in earlier epochs.
    """
    fates: list[Fate] = []
    dead = dict(refusals)
    now: set[EventKey] = set()
    for i, message in enumerate(messages):
        event = placed.get(i)
        if event is None:
            fates.append(Fate.DEAD)
            continue
        end = event.period_end_ms
        if end > grid.next_ms:
            detail = f"of the period that ends at {end} ms, more than one period ahead of {grid.end_ms} ms"
            dead[i] = Refusal(Reason.BAD_TIME, detail)
            fates.append(Fate.DEAD)
            continue
        key = (message.topic, event.event_id)
        late = closed_ms is not None and end <= closed_ms
        if late and not (message.topic in REGISTERED and is_reinjected(message)):
            fates.append(Fate.LATE)
        elif key in now or key in seen:
            fates.append(Fate.DUPLICATE)
        else:
            now.add(key)
            fates.append(Fate.IN_FLIGHT if end > grid.end_ms else Fate.APPLIED)
    return Account(fates, dead)


def count(fates: Sequence[Fate], fresh: int, reinjected: int, held: int) -> EventCounts:
    """Counts of one epoch.

    Parameters
    ----------
    fresh
        Messages that came with this epoch, as opposed to those kept from the one before.
    reinjected
        How many of the fresh ones were dead letters sent again.
    held
        Messages kept from the epoch before, which are judged again.
    """
    if len(fates) != fresh + held:
        raise BrokenBalance(f"{len(fates)} events judged, {fresh} came and {held} were kept", "report this as a bug")
    tally = dict.fromkeys(Fate, 0)
    for fate in fates:
        tally[fate] += 1
    return EventCounts(
        ingested=fresh,
        applied=tally[Fate.APPLIED],
        duplicate=tally[Fate.DUPLICATE],
        late=tally[Fate.LATE],
        dead_lettered=tally[Fate.DEAD],
        in_flight=tally[Fate.IN_FLIGHT],
        reinjected=reinjected,
    )


def add(total: EventCounts, epoch: EventCounts) -> EventCounts:
    """Running counts after an epoch: all add up, but ``in_flight`` is what is kept now.

    Raises
    ------
    BrokenBalance
        If an event went nowhere or to two places.
    """
    out = EventCounts(
        ingested=total.ingested + epoch.ingested,
        applied=total.applied + epoch.applied,
        duplicate=total.duplicate + epoch.duplicate,
        late=total.late + epoch.late,
        dead_lettered=total.dead_lettered + epoch.dead_lettered,
        in_flight=epoch.in_flight,
        reinjected=total.reinjected + epoch.reinjected,
    )
    settled = out.applied + out.duplicate + out.late + out.dead_lettered + out.in_flight
    if out.ingested != settled:
        raise BrokenBalance(
            f"{out.ingested} events came in, {settled} are accounted for: {out}", "report this as a bug"
        )
    return out

"""What comes in: telemetry lines as events where they are valid, as bytes with a reason where they are not."""

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from infra.line_protocol.layouts import Translation
from infra.line_protocol.messages import EVENT_TOPICS
from schemas.base import Event
from schemas.exceptions import InvalidName
from schemas.names import canonical, managed_element_of
from schemas.telemetry import PmReport
from schemas.topics import topic

UNKNOWN_ELEMENT = "ManagedElement=unknown"
# Lines that are no JSON at all cannot say where they belong: they count as damaged PM reports.
POISON_TOPIC = "telemetry.pm"
_ELEMENT = re.compile(rb'"((?:[A-Z][A-Za-z]*=[A-Za-z0-9._:-]+,)*ManagedElement=[A-Za-z0-9._:-]+)')
_LONGEST_REASON = 1000


@dataclass(frozen=True)
class Received:
    """One telemetry line.

    Attributes
    ----------
    topic
        Topic it is for.
    managed_element
        Whose it is, as far as it can be made out.
    event
        The event, or None if the line cannot be one.
    raw
        The event's bytes as they came (the whole line where it is no JSON).
    problem
        Why it is no event; "" if it is one.
    """

    topic: str
    managed_element: str
    event: Event | None
    raw: bytes
    problem: str = ""


def poison(line: bytes, problem: str) -> Received:
    """A line that is no JSON."""
    return Received(POISON_TOPIC, _element_in(line), None, line, problem[:_LONGEST_REASON])


def receive(content: dict[str, Any], line: bytes, network_id: str, translation: Translation) -> Received:
    """An event line, given as parsed JSON and as bytes; the event is stamped with the network's id and translated."""
    name, body = content.get("topic"), content.get("event")
    if name not in EVENT_TOPICS or not isinstance(body, dict):
        return poison(line, f"an event line names no topic of {', '.join(EVENT_TOPICS)}, or has no event")
    body["network_id"] = network_id
    model = topic(name).event
    if model is PmReport and (problem := translation.apply(body)):
        return Received(name, _element_of(body), None, _json(body), problem)
    try:
        event = model.model_validate(body)
    except ValidationError as error:
        return Received(name, _element_of(body), None, _json(body), explain(error))
    return Received(name, event.managed_element, event, line)  # type: ignore[attr-defined]


def explain(error: ValidationError) -> str:
    """The first mistakes, in one line; values are left out, they may be a subscriber's."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in found[:3]]
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return ("; ".join(lines) + more)[:_LONGEST_REASON]


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _element_of(body: dict[str, Any]) -> str:
    name = body.get("managed_element")
    try:
        return managed_element_of(canonical(name)) if isinstance(name, str) else UNKNOWN_ELEMENT
    except InvalidName:
        return UNKNOWN_ELEMENT


def _element_in(line: bytes) -> str:
    found = _ELEMENT.search(line)
    return canonical(found.group(1).decode()) if found else UNKNOWN_ELEMENT

"""Alerts: CloudEvents 1.0 in structured form, with the labels and fingerprint that Alertmanager gets."""

from pydantic import Field

from schemas.base import Event, Identifier


class Alert(Event):
    """Something that a person or a system beside twinloop should know."""

    specversion: Identifier = "1.0"
    source: Identifier = Field(description="URI reference of who says it, e.g. /twinloop/network/demo")
    type: Identifier = Field(description="e.g. io.twinloop.change.verified")
    subject: Identifier
    time: Identifier = Field(description="RFC 3339 event time")
    fingerprint: Identifier = Field(description="Stable over repeats of the same condition")
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    data: dict[str, str] = Field(default_factory=dict)

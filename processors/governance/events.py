"""Checks of measurement reports, alarms and configuration: one event at a time, its columns at once."""

from collections.abc import Sequence

import numpy as np

from processors.governance.grid import Grid
from processors.governance.network import NetworkIndex
from processors.governance.pseudonyms import bytes_may_identify, count_identities
from processors.governance.registers import problem_with_report
from processors.governance.settings import GovernanceSettings, Range
from processors.governance.verdict import Good, Refusal
from processors.messages import parse_key
from schemas.base import Event
from schemas.dead_letters import Reason
from schemas.telemetry import Alarm, ConfigurationReport, MeasurementReport
from schemas.topics import topic
from streams.exceptions import BadEvent
from streams.serde import Serde
from streams.transport import Message

_MR = "telemetry.mr"


class EventInspector:
    """Judges messages of ``telemetry.mr``, ``.fm`` and ``.cm`` one by one."""

    def __init__(self, network: NetworkIndex, serde: Serde, settings: GovernanceSettings) -> None:
        self._network, self._serde, self._settings = network, serde, settings

    def inspect(self, message: Message, grid: Grid) -> Good[Event] | Refusal:
        """The event in a message, or why it cannot be used.

        A subscriber's identity is looked for first: whatever else is wrong with it, such an event must not be kept.
        """
        where = topic(message.topic)
        try:
            event = self._serde.decode(where, message.value)
        except BadEvent as problem:
            if message.topic == _MR and bytes_may_identify(message.value or b""):
                return Refusal(Reason.NOT_PSEUDONYMOUS, f"may hold a subscriber's identity, and is {problem.cause}")
            return Refusal(problem.reason, problem.cause)
        if isinstance(event, MeasurementReport) and (found := count_identities(event.ue)):
            return Refusal(
                Reason.NOT_PSEUDONYMOUS,
                f"{found} user ids look like a subscriber's identity; the producer must pseudonymise them",
            )
        refusal = problem_with_key(message.key, where.key_of(event))
        if refusal is not None:
            return refusal
        element, time_ms = str(getattr(event, "managed_element")), int(getattr(event, "time_ms"))  # noqa: B009
        if element not in self._network.elements:
            return Refusal(Reason.UNKNOWN_ELEMENT, f"the topology has no managed element {element}")
        refusal = self._content(event)
        if refusal is not None:
            return refusal
        return Good(event.event_id, element, grid.period_of(time_ms), time_ms, event)

    def _content(self, event: Event) -> Refusal | None:
        if isinstance(event, MeasurementReport):
            return self._measurements(event)
        if isinstance(event, Alarm):
            problem = self._network.problem_with_object(event.managed_element, event.object)
            return None if problem is None else Refusal(Reason.UNKNOWN_ELEMENT, problem)
        if isinstance(event, ConfigurationReport):
            return self._configuration(event)
        return None

    def _measurements(self, event: MeasurementReport) -> Refusal | None:
        for cell in event.cells:
            if not self._network.hears(cell):
                return Refusal(Reason.UNKNOWN_ELEMENT, f"the topology has no cell {cell}")
        settings = self._settings
        for name, values, allowed in (
            ("rsrp_dbm", event.rsrp_dbm, settings.rsrp_dbm),
            ("sinr_db", event.sinr_db, settings.sinr_db),
            ("x_m", event.x_m, settings.position_m),
            ("y_m", event.y_m, settings.position_m),
        ):
            absurd = first_outside(values, allowed)
            if absurd is not None:
                return Refusal(
                    Reason.OUT_OF_RANGE, f"{name} {absurd:g} lies outside [{allowed.low:g}, {allowed.high:g}]"
                )
        return None

    def _configuration(self, event: ConfigurationReport) -> Refusal | None:
        for entry in event.values:
            problem = self._network.problem_with_object(event.managed_element, entry.object)
            if problem is not None:
                return Refusal(Reason.UNKNOWN_ELEMENT, problem)
            wrong = problem_with_report(entry.object, entry.attribute, entry.value)
            if wrong is not None:
                return Refusal(Reason.OUT_OF_RANGE if wrong.absurd else Reason.INVALID, wrong.detail)
        return None


def first_outside(values: Sequence[float], allowed: Range) -> float | None:
    """The first value outside a range, None if there is none; NaN means missing and is never outside.

    >>> first_outside([1.0, float("nan"), float("inf")], Range(0, 10))
    inf
    """
    array = np.asarray(values, dtype=np.float64)
    outside = (array < allowed.low) | (array > allowed.high)
    return float(array[outside][0]) if outside.any() else None


def problem_with_key(key: bytes | None, expected: str) -> Refusal | None:
    """Whether the key of a message is the one its event must travel under.

    >>> problem_with_key(b"demo|ManagedElement=g1", "demo|ManagedElement=g2").reason
    <Reason.BAD_KEY: 'bad_key'>
    """
    if key == expected.encode():
        return None
    problem = parse_key(key).problem or f"the key says {(key or b'').decode()}"
    return Refusal(Reason.BAD_KEY, f"{problem}, the event {expected}; they must agree")

"""The state of governance: what must be remembered from one epoch to the next."""

from dataclasses import dataclass, field
from typing import Any

from processors.encoding import pack, unpack
from processors.exceptions import WrongState
from processors.governance.cumulative import Baseline
from processors.governance.registers import ActiveAlarm, AlarmKey, ConfigKey, ConfigValue
from processors.messages import from_json, to_json
from schemas.telemetry import Severity
from schemas.topology import Topology
from schemas.twin import EventCounts
from streams.transport import Message

NO_EVENTS = EventCounts(ingested=0, applied=0, duplicate=0, late=0, dead_lettered=0, in_flight=0)
EventKey = tuple[str, str]  # topic, event id
_KIND, _VERSION = "governance", 1


@dataclass(frozen=True, slots=True)
class GovernanceState:
    """A value; processing makes a new one.

    Attributes
    ----------
    closed_ms
        End of the last closed period, None before the first.
    counts
        Since the beginning.
    in_flight
        Messages of the next period, as they came.
    seen
        Alarms and configuration that were applied, with the period until which that is remembered. Other events need
        no memory: a repeat of what belongs to a closed period is late.
    cells, elements
        Baselines of cumulative counters, cells [C, K] and managed elements [E, K'].
    alarms, configuration
        What holds until further notice.
    """

    cells: Baseline
    elements: Baseline
    closed_ms: int | None = None
    counts: EventCounts = NO_EVENTS
    in_flight: tuple[Message, ...] = ()
    seen: dict[EventKey, int] = field(default_factory=dict)
    alarms: dict[AlarmKey, ActiveAlarm] = field(default_factory=dict)
    configuration: dict[ConfigKey, ConfigValue] = field(default_factory=dict)


def dump(state: GovernanceState, topology: Topology) -> bytes:
    """The state as safetensors with a JSON header; equal states give equal bytes."""
    header: dict[str, Any] = {
        "cells": topology.cell_names,
        "closed_ms": state.closed_ms,
        "counts": state.counts.model_dump(),
        "in_flight": [to_json(m) for m in state.in_flight],
        "seen": sorted([*key, until] for key, until in state.seen.items()),
        "alarms": sorted([*key, *alarm] for key, alarm in state.alarms.items()),
        "configuration": sorted([*key, *entry] for key, entry in state.configuration.items()),
    }
    arrays = {
        f"{name}.{column}": array
        for name, baseline in (("cells", state.cells), ("elements", state.elements))
        for column, array in baseline._asdict().items()
    }
    return pack(_KIND, _VERSION, header, arrays)


def load(data: bytes, topology: Topology) -> GovernanceState:
    """The state that :func:`dump` wrote.

    Raises
    ------
    WrongState
        If the bytes are no such state, or belong to a network with other cells.
    """
    header, arrays = unpack(_KIND, _VERSION, data)
    if tuple(header["cells"]) != topology.cell_names:
        raise WrongState(
            f"saved state covers {len(header['cells'])} cells, other ones than the topology's {len(topology.cells)}",
            "start with the topology that the snapshot was made with",
        )

    def baseline(name: str) -> Baseline:
        return Baseline(*(arrays[f"{name}.{column}"] for column in Baseline._fields))

    return GovernanceState(
        cells=baseline("cells"),
        elements=baseline("elements"),
        closed_ms=header["closed_ms"],
        counts=EventCounts.model_validate(header["counts"]),
        in_flight=tuple(from_json(m) for m in header["in_flight"]),
        seen={(topic, event_id): until for topic, event_id, until in header["seen"]},
        alarms={
            (element, alarm_id): ActiveAlarm(dn, Severity(severity), cause, time_ms)
            for element, alarm_id, dn, severity, cause, time_ms in header["alarms"]
        },
        configuration={
            (dn, attribute): ConfigValue(value, time_ms) for dn, attribute, value, time_ms in header["configuration"]
        },
    )

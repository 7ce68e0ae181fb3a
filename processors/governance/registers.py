"""What holds until further notice: active alarms and the configuration that the network reports.

Each entry carries its event time and the latest event time wins, so that an event that comes again late (a dead letter
sent once more) never undoes what happened after it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from processors.governance.network import NetworkIndex
from schemas.levers import LEVERS
from schemas.names import canonical, cell_of, managed_element_of, parse
from schemas.telemetry import Alarm, ConfigurationReport, Severity

ConfigKey = tuple[str, str]  # object, attribute
AlarmKey = tuple[str, str]  # managed element, alarm id


class ActiveAlarm(NamedTuple):
    """The last word on one alarm. A cleared one is remembered for a while, so that its raise cannot come after it."""

    object: str
    severity: Severity
    probable_cause: str
    time_ms: int


def apply_alarms(active: Mapping[AlarmKey, ActiveAlarm], alarms: Iterable[Alarm]) -> dict[AlarmKey, ActiveAlarm]:
    """The alarm register after some alarms, given in the order of their event times."""
    after = dict(active)
    for alarm in alarms:
        key = (alarm.managed_element, alarm.alarm_id)
        known = after.get(key)
        if known is None or known.time_ms <= alarm.time_ms:
            after[key] = ActiveAlarm(alarm.object, alarm.severity, alarm.probable_cause, alarm.time_ms)
    return after


def forget_cleared(active: Mapping[AlarmKey, ActiveAlarm], before_ms: int) -> dict[AlarmKey, ActiveAlarm]:
    """The register without alarms that were cleared before a time."""
    return {
        key: alarm
        for key, alarm in active.items()
        if alarm.severity is not Severity.CLEARED or alarm.time_ms >= before_ms
    }


def cells_out_of_service(active: Mapping[AlarmKey, ActiveAlarm], network: NetworkIndex) -> NDArray[np.bool_]:
    """Which cells are out of service, [C].

    A CRITICAL alarm says that its object is totally out of service (ITU-T X.733 8.1.2.3). On a cell it concerns that
    cell, on the managed element or its GNBDUFunction all its cells.
    """
    down = np.zeros(len(network.cells), dtype=bool)
    for dn in {alarm.object for alarm in active.values() if alarm.severity is Severity.CRITICAL}:
        kind = parse(dn)[-1].cls
        if kind in ("NRCellDU", "NRCellCU", "NRSectorCarrier"):
            down[network.cells[cell_of(dn)]] = True
        elif kind in ("ManagedElement", "GNBDUFunction"):
            down |= network.element_of_cell == network.elements[managed_element_of(dn)]
    return down


class ConfigValue(NamedTuple):
    """A reported value and the event time of the report."""

    value: float | str
    time_ms: int


def apply_configuration(
    known: Mapping[ConfigKey, ConfigValue], reports: Iterable[ConfigurationReport]
) -> tuple[dict[ConfigKey, ConfigValue], dict[ConfigKey, float | str]]:
    """The configuration register after some reports (in the order of their event times), and what they changed.

    Only levers are kept: other attributes are accepted and not stored, since nothing here depends on them.
    """
    after = dict(known)
    changed: dict[ConfigKey, float | str] = {}
    for report in reports:
        for entry in report.values:
            if entry.attribute not in LEVERS:
                continue
            key = (entry.object, entry.attribute)
            current = after.get(key)
            if current is not None and current.time_ms > report.time_ms:
                continue
            after[key] = ConfigValue(entry.value, report.time_ms)
            if current is None or current.value != entry.value:
                changed[key] = entry.value
    return after, changed


class LeverCheck(NamedTuple):
    """Why a reported value cannot be. ``absurd`` tells a number out of range from a wrong word or object."""

    detail: str
    absurd: bool


def problem_with_report(dn: str, attribute: str, value: float | str) -> LeverCheck | None:
    """Why a reported lever value is unusable, or None.

    A live network may stand on values that one may not set any more (a handover bias off the grid of TS 38.331);
    they are taken as they are.

    >>> problem_with_report("ManagedElement=g1,GNBDUFunction=1,NRSectorCarrier=1", "configuredMaxTxPower", -3.0)
    LeverCheck(detail='configuredMaxTxPower -3 mW lies outside [1, 200000]', absurd=True)
    """
    lever = LEVERS.get(attribute)
    if lever is None:
        return None
    if parse(canonical(dn))[-1].cls != lever.cls:
        return LeverCheck(f"{attribute} belongs on a {lever.cls}, not on {dn}", absurd=False)
    if lever.words:
        good = value in lever.words
        return None if good else LeverCheck(f"{attribute} takes {lever.takes}", absurd=False)
    if isinstance(value, str):
        return LeverCheck(f"{attribute} takes {lever.takes}", absurd=False)
    if not lever.low <= value <= lever.high:
        told = f"{attribute} {value:g} {lever.unit}".rstrip()
        return LeverCheck(f"{told} lies outside [{lever.low:g}, {lever.high:g}]", absurd=True)
    return None

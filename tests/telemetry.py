"""A tiny network for tests: two managed elements of three cells each, whose telemetry depends on the period alone."""

import random
from collections.abc import Iterable, Iterator, Sequence

from schemas import names
from schemas.base import Event
from schemas.counters import NR_CELL_V1
from schemas.telemetry import (
    Alarm,
    AttributeValue,
    CellCounters,
    ConfigurationReport,
    MeasurementReport,
    PeriodEnd,
    PmReport,
    Severity,
)
from schemas.topics import PERIODS, TELEMETRY, TOPICS, Topic, topic
from schemas.topology import CellSite, Topology
from streams.frontier import covers, to_records
from streams.serde import Serde
from streams.transport import Producer, Transport

NETWORK = "tiny"
PERIOD_MS = 60_000
T0 = 1_700_000_040_000  # a whole minute
PM, MR, FM, CM = TELEMETRY
ELEMENTS = ("SubNetwork=1,ManagedElement=g1", "SubNetwork=1,ManagedElement=g2")
CELLS = tuple(names.cell_dn(element, n) for element in ELEMENTS for n in (1, 2, 3))


def topology(network_id: str = NETWORK) -> Topology:
    """Two sites 500 m apart, three sectors each."""
    return Topology(
        network_id=network_id,
        granularity_s=PERIOD_MS // 1000,
        cells=tuple(
            CellSite(
                cell=cell,
                x_m=500.0 * (i // 3),
                y_m=0.0,
                height_m=25,
                azimuth_deg=120.0 * (i % 3),
                carrier_ghz=3.5,
                prbs=106,
                max_tx_power_mw=40_000,
            )
            for i, cell in enumerate(CELLS)
        ),
    )


def period_end(period: int) -> int:
    """End of period 1, 2, 3, …"""
    return T0 + period * PERIOD_MS


def pm(period: int, element: int, **changes: object) -> PmReport:
    """A PM report whose values depend on period and cell."""
    rng = random.Random(1000 * period + element)
    cells = []
    for n in (1, 2, 3):
        used = rng.uniform(10, 90)
        load = used / 100
        value = {
            "RRU.PrbTotDl": used,
            "RRU.PrbUsedDl": 1.06 * used,
            "RRU.PrbAvailDl": 106.0,
            "DRB.UEThpDl": 50_000 * (1 - load),
            "DRB.PdcpSduVolumeDL": 3e6 * load,
            "RRC.ConnMean": 20 * load,
            "RRC.ConnMax": 30 * load,
            "MM.HoExeInterReq": 40.0,
            "MM.HoExeInterSucc": 38.0,
            "MM.HoExeInterFail": 2.0,
        }
        values = [value.get(name, float("nan")) for name in NR_CELL_V1.cell]
        cells.append(CellCounters(cell=names.cell_dn(ELEMENTS[element], n), values=values))
    fields: dict[str, object] = {
        "network_id": NETWORK,
        "event_id": f"pm-{element}-{period}",
        "managed_element": ELEMENTS[element],
        "period_end_ms": period_end(period),
        "granularity_s": PERIOD_MS // 1000,
        "layout": NR_CELL_V1.name,
        "cells": cells,
        "element_values": [600.0 + 100 * element, 0.01],
    }
    return PmReport.model_validate(fields | changes)


def mr(period: int, element: int, **changes: object) -> MeasurementReport:
    """Four users, each measuring every cell."""
    rng = random.Random(2000 * period + element)
    n = 4
    fields: dict[str, object] = {
        "network_id": NETWORK,
        "event_id": f"mr-{element}-{period}",
        "managed_element": ELEMENTS[element],
        "time_ms": period_end(period),
        "cells": list(CELLS),
        "report_ms": [period_end(period) - 1000 * (i + 1) for i in range(n)],
        "ue": [f"u-{element}{i}" for i in range(n)],
        "x_m": [rng.uniform(-200, 700) for _ in range(n)],
        "y_m": [rng.uniform(-300, 300) for _ in range(n)],
        "serving": [3 * element + rng.randrange(3) for _ in range(n)],
        "sinr_db": [rng.uniform(-5, 25) for _ in range(n)],
        "rsrp_dbm": [rng.uniform(-120, -60) for _ in range(n * len(CELLS))],
    }
    return MeasurementReport.model_validate(fields | changes)


def alarm(period: int, element: int, cell: int, severity: Severity, **changes: object) -> Alarm:
    """An outage alarm of one cell (1, 2, 3), raised or cleared half-way through a period."""
    fields: dict[str, object] = {
        "network_id": NETWORK,
        "event_id": f"fm-{element}-{cell}-{period}-{severity}",
        "managed_element": ELEMENTS[element],
        "time_ms": period_end(period) - PERIOD_MS // 2,
        "alarm_id": f"outage-{cell}",
        "object": names.cell_dn(ELEMENTS[element], cell),
        "probable_cause": "outOfService",
        "severity": severity,
    }
    return Alarm.model_validate(fields | changes)


def snapshot(period: int, element: int, tilt: float = 60, **changes: object) -> ConfigurationReport:
    """The configuration of a managed element at the end of a period."""
    values = []
    for n in (1, 2, 3):
        cell = names.cell_dn(ELEMENTS[element], n)
        values += [
            AttributeValue(object=names.sector_carrier_dn(cell), attribute="configuredMaxTxPower", value=20_000.0),
            AttributeValue(object=names.beam_dn(cell), attribute="digitalTilt", value=tilt),
            AttributeValue(object=cell, attribute="administrativeState", value="UNLOCKED"),
        ]
    fields: dict[str, object] = {
        "network_id": NETWORK,
        "event_id": f"cm-{element}-{period}",
        "managed_element": ELEMENTS[element],
        "time_ms": period_end(period),
        "kind": "snapshot",
        "values": values,
    }
    return ConfigurationReport.model_validate(fields | changes)


def telemetry(period: int) -> list[tuple[Topic, Event]]:
    """Everything the network reports in a calm period, in the order in which it sends it."""
    events: list[tuple[Topic, Event]] = []
    for element in (0, 1):
        if period == 1:
            events.append((CM, snapshot(period, element)))
        events += [(PM, pm(period, element)), (MR, mr(period, element))]
    return events


class Feeder:
    """Puts telemetry and barriers of a network on a transport, as a bridge does."""

    def __init__(self, transport: Transport, serde: Serde, network_id: str = NETWORK) -> None:
        transport.ensure_topics(TOPICS)
        self._transport, self._serde, self._network_id = transport, serde, network_id
        self._producer: Producer = transport.producer("feeder")

    def send(self, events: Iterable[tuple[Topic, Event]], headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Encode and send events under their keys."""
        for where, event in events:
            key = where.key_of(event)
            time_ms = int(getattr(event, "time_ms"))  # noqa: B009
            self._producer.send(where.name, key, self._serde.encode(where, event), headers, timestamp_ms=time_ms)

    def send_bytes(self, where: Topic, key: str | bytes | None, value: bytes | None) -> None:
        """Send bytes that no serde made."""
        self._producer.send(where.name, key, value, timestamp_ms=T0)

    def barrier(self, period: int) -> PeriodEnd:
        """Wait for acknowledgement and close a period."""
        self._producer.flush(30)
        # Ends, not this producer's own acknowledgements: dead letters are sent again by others.
        offsets = self._transport.end_offsets([t.name for t in TELEMETRY])
        mine = {at: offset for at, offset in self._producer.acked().items() if at in offsets}
        assert covers(offsets, mine), f"acknowledged up to {mine}, but the topics end at {offsets}"
        end = PeriodEnd(
            network_id=self._network_id,
            event_id=f"period/{period_end(period)}",
            period_end_ms=period_end(period),
            granularity_s=PERIOD_MS // 1000,
            offsets=to_records(offsets),
        )
        self._producer.send(PERIODS.name, PERIODS.key_of(end), self._serde.encode(PERIODS, end), timestamp_ms=T0)
        self._producer.flush(30)
        return end

    def period(self, period: int, events: Iterable[tuple[Topic, Event]] | None = None) -> PeriodEnd:
        """A whole period: its events (the calm ones if not given) and its barrier."""
        self.send(telemetry(period) if events is None else events)
        return self.barrier(period)


def interleaved(streams: Sequence[Sequence[tuple[Topic, Event]]], seed: int) -> Iterator[tuple[Topic, Event]]:
    """Merge several streams in random order, each in its own order."""
    rng = random.Random(seed)
    rest = [list(s) for s in streams if s]
    while rest:
        stream = rng.choice(rest)
        yield stream.pop(0)
        rest = [s for s in rest if s]


__all__ = [
    "CELLS", "CM", "ELEMENTS", "FM", "MR", "NETWORK", "PERIOD_MS", "PM", "T0", "Feeder", "alarm", "interleaved",
    "mr", "period_end", "pm", "snapshot", "telemetry", "topic", "topology",
]  # fmt: skip

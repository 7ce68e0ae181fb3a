"""What the bridge makes of a network that does not report its configuration, and its way to Kafka."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from infra.line_protocol.reception import Received
from infra.roles.base import Context
from infra.roles.bridge_telemetry import PROBLEM, TelemetryWriter, reports_configuration, snapshots
from infra.settings import Settings
from schemas.telemetry import AttributeValue, ConfigurationReport, PeriodEnd, PmReport
from schemas.topics import PERIODS, TELEMETRY, TOPICS
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde

ELEMENT = "SubNetwork=1,ManagedElement=g{}"
END_MS = 60_000


def power(element: int, value: float) -> AttributeValue:
    dn = f"{ELEMENT.format(element)},GNBDUFunction=1,NRSectorCarrier=1"
    return AttributeValue(object=dn, attribute="configuredMaxTxPower", value=value)


@pytest.fixture
def context() -> Context:
    transport = MemoryTransport()
    transport.ensure_topics(TOPICS)
    return Context(Settings(), "net", "1", transport, Serde(LocalIds()), "")


def pm(element: int) -> Received:
    name = ELEMENT.format(element)
    report = PmReport(
        network_id="net", event_id=f"pm-{element}", managed_element=name, period_end_ms=END_MS, granularity_s=60,
        layout="nr-cell-v1", cells=[], element_values=[math.nan, math.nan],
    )  # fmt: skip
    return Received("telemetry.pm", name, report, b"")


def messages(context: Context, *topics: str) -> Iterator[tuple[str, int, int, bytes, bytes, dict[str, bytes]]]:
    consumer = context.transport.consumer("test")
    consumer.assign(context.transport.begin_offsets(topics))
    while batch := consumer.poll(100, 0):
        for m in batch:
            yield m.topic, m.partition, m.offset, m.key or b"", m.value or b"", dict(m.headers)


def test_a_configuration_that_was_asked_for_is_one_snapshot_a_managed_element() -> None:
    found = snapshots("net", [power(1, 100.0), power(2, 200.0)], END_MS)
    assert [line.managed_element for line in found] == [ELEMENT.format(1), ELEMENT.format(2)]
    assert all(isinstance(line.event, ConfigurationReport) and line.event.kind == "snapshot" for line in found)
    assert reports_configuration(found)
    assert not reports_configuration([pm(1)])


def test_the_barrier_stands_after_everything_that_was_written(context: Context) -> None:
    writer = TelemetryWriter(context, 60)
    writer.write([pm(1), pm(2), pm(3)], END_MS)
    writer.close_period(END_MS)
    ((_, _, _, _, value, _),) = messages(context, PERIODS.name)
    barrier = context.serde.decode(PERIODS, value)
    assert isinstance(barrier, PeriodEnd)
    told = {(o.topic, o.partition): o.offset for o in barrier.offsets}
    assert told == context.transport.end_offsets([t.name for t in TELEMETRY])
    assert sum(told.values()) == 3


def test_a_line_that_is_no_event_goes_as_the_bytes_it_is(context: Context) -> None:
    writer = TelemetryWriter(context, 60)
    bad = replace(pm(1), event=None, raw=b"{broken", problem="not JSON")
    writer.write([bad], END_MS)
    ((topic, _, _, key, value, headers),) = messages(context, "telemetry.pm")
    assert (topic, value) == ("telemetry.pm", b"{broken")
    assert key == f"net|{ELEMENT.format(1)}".encode()
    assert headers[PROBLEM] == b"not JSON"

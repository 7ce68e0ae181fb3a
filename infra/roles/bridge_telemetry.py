"""A live network's telemetry on its way to Kafka."""

from collections.abc import Iterable, Sequence

from infra.line_protocol.reception import Received
from infra.metrics import LINES
from infra.roles.base import Context
from schemas.names import managed_element_of
from schemas.telemetry import AttributeValue, ConfigurationReport, PeriodEnd
from schemas.topics import PERIODS, TELEMETRY, topic
from streams.frontier import merge, to_records

# Says why a record is no event, beside the bytes that the network wrote.
PROBLEM = "twinloop-problem"
_FLUSH_S = 30.0
_CM = "telemetry.cm"
_TELEMETRY = tuple(t.name for t in TELEMETRY)


def snapshots(network_id: str, values: Iterable[AttributeValue], period_end_ms: int) -> list[Received]:
    """Configuration snapshots, one a managed element, for a network that does not report its configuration itself."""
    by_element: dict[str, list[AttributeValue]] = {}
    for value in values:
        by_element.setdefault(managed_element_of(value.object), []).append(value)
    return [
        Received(
            _CM,
            element,
            ConfigurationReport(
                network_id=network_id,
                event_id=f"cm:{element}:{period_end_ms}",
                managed_element=element,
                time_ms=period_end_ms,
                kind="snapshot",
                values=found,
            ),
            b"",
        )
        for element, found in by_element.items()
    ]


def reports_configuration(received: Iterable[Received]) -> bool:
    """Whether a network's lines say what is configured."""
    return any(line.topic == _CM for line in received)


class TelemetryWriter:
    """Writes periods and their barriers."""

    def __init__(self, context: Context, granularity_s: int) -> None:
        self._context, self._granularity_s = context, granularity_s
        self._producer = context.transport.producer("bridge")

    def write(self, received: Sequence[Received], period_end_ms: int) -> None:
        """Produce a period's lines, events as Avro and the rest as it came; returns when they are acknowledged."""
        network = self._context.network_id
        for line in received:
            key = f"{network}|{line.managed_element}"
            if line.event is not None:
                value = self._context.serde.encode(topic(line.topic), line.event)
                self._producer.send(line.topic, key, value, (), period_end_ms)
            else:
                self._producer.send(line.topic, key, line.raw, [(PROBLEM, line.problem.encode())], period_end_ms)
            LINES.labels(network, "invalid" if line.event is None else line.topic).inc()
        self._producer.flush(_FLUSH_S)

    def close_period(self, period_end_ms: int) -> None:
        """Produce the barrier; returns when it is acknowledged."""
        offsets = merge(
            self._context.transport.end_offsets(_TELEMETRY),
            {at: offset for at, offset in self._producer.acked().items() if at[0] in _TELEMETRY},
        )
        barrier = PeriodEnd(
            network_id=self._context.network_id,
            event_id=f"period:{period_end_ms}",
            period_end_ms=period_end_ms,
            granularity_s=self._granularity_s,
            offsets=to_records(offsets),
        )
        value = self._context.serde.encode(PERIODS, barrier)
        self._producer.send(PERIODS.name, PERIODS.key_of(barrier), value, (), period_end_ms)
        self._producer.flush(_FLUSH_S)

    def close(self) -> None:
        """Give up the producer."""
        self._producer.close()

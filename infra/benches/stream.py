"""Counters per second from the wire to the twin, on one core: what of it is decoding, governance, the twin, Kafka.

Workload: PM reports of three cells with 25 counters each, one report per managed element and period, with a barrier
after every period. Governance decodes, checks, drops repeats, accounts and tabulates; the twin step adds calibration.
Rates are counters per second of processor time of the whole process, so that waiting and other programs do not count;
wall-clock rates stand beside them.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch

from infra.benches.base import BenchResult
from infra.local.ports import Ports
from infra.local.services import LocalServices
from infra.replaying import one_thread
from processors.collector import Epoch
from processors.epoch import EpochGovernance
from processors.epoch_reader import EpochReader
from processors.twin_sync import TwinSync
from schemas.counters import NR_CELL_V1
from schemas.telemetry import CellCounters, PeriodEnd, PmReport
from schemas.topics import PERIODS, TELEMETRY, TOPICS, topic
from schemas.topology import Topology
from streams.frontier import to_records
from streams.kafka import KafkaTransport
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import Transport
from twin_core.layouts import hexagonal

_PM = topic("telemetry.pm")
_T0 = 1_768_244_400_000
_PERIOD_MS = 60_000
_COUNTERS = len(NR_CELL_V1.cell)
_NETWORK = "bench"


class Load(NamedTuple):
    """A network of so many sites, for so many periods."""

    sites: int
    periods: int

    @property
    def counters(self) -> int:
        """Cell counters in all."""
        return self.sites * 3 * _COUNTERS * self.periods


def run(*, quick: bool = False, kafka: bool = True) -> BenchResult:
    """Measure.

    Parameters
    ----------
    quick
        A tenth of the periods: shows that it works, measures little.
    kafka
        Whether to start a Kafka of its own and measure from there as well.
    """
    began = time.monotonic()
    part = 10 if quick else 1
    small, large = Load(19, 300 // part), Load(171, 100 // part)
    synced_load = Load(19, 60 // part)  # the twin takes far longer than all before it
    serde = Serde(LocalIds())
    figures: dict[str, float | int | str] = {
        "counters_per_report": 3 * _COUNTERS,
        "cells_small": 3 * small.sites,
        "cells_large": 3 * large.sites,
        "torch": torch.__version__,
    }
    with one_thread():
        memory = MemoryTransport()
        messages = _fill(memory, serde, small)
        figures["peer_fastavro_decode_counters_per_cpu_s"] = _rate(
            small.counters, lambda: [serde.decode(_PM, value) for value in messages]
        ).cpu
        for name, load in (("57_cells", small), ("513_cells", large)):
            source = memory if load is small else MemoryTransport()
            if load is large:
                _fill(source, serde, load)
            rate = _rate(load.counters, lambda load=load, source=source: _govern(source, serde, load))  # type: ignore[misc]
            figures[f"memory_to_governed_{name}_counters_per_cpu_s"] = rate.cpu
        rate = _rate(synced_load.counters, lambda: _sync(memory, serde, synced_load))
        figures["memory_to_twin_57_cells_counters_per_cpu_s"] = rate.cpu
        figures["memory_to_twin_57_cells_revisions_per_s"] = rate.wall * synced_load.periods / synced_load.counters
        if kafka:
            with _own_kafka() as transport:
                _fill(transport, serde, small)
                governed = _rate(small.counters, lambda: _govern(transport, serde, small))
                synced = _rate(synced_load.counters, lambda: _sync(transport, serde, synced_load))
            figures["kafka_to_governed_57_cells_counters_per_cpu_s"] = governed.cpu
            figures["kafka_to_governed_57_cells_counters_per_s"] = governed.wall
            figures["kafka_to_twin_57_cells_counters_per_cpu_s"] = synced.cpu
            figures["kafka_to_twin_57_cells_counters_per_s"] = synced.wall
    return BenchResult(name="stream", seconds=time.monotonic() - began, figures=figures)


class _Rate(NamedTuple):
    cpu: float
    wall: float


def _rate(counters: int, work: Callable[[], object]) -> _Rate:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return _Rate(counters / (time.process_time() - cpu), counters / (time.perf_counter() - wall))


def _topology(load: Load) -> Topology:
    return hexagonal(load.sites, network_id=_NETWORK)


def _reports(topology: Topology, periods: int) -> Iterator[list[PmReport]]:
    """Reports of one period after another; values vary, as they must not compress to nothing."""
    rng = Random(1)
    for period in range(1, periods + 1):
        reports = []
        for e, element in enumerate(topology.managed_elements):
            cells = []
            for cell in topology.cell_names[3 * e : 3 * e + 3]:
                load = rng.uniform(0.1, 0.8)
                values = [float(round(100 * load * rng.uniform(0.9, 1.1))) for _ in range(_COUNTERS)]
                values[0], values[-2] = 100 * load, 12.0  # a percentage, and a CQI
                cells.append(CellCounters.model_construct(cell=cell, values=values, suspect=False))
            reports.append(
                PmReport.model_construct(
                    network_id=_NETWORK,
                    event_id=f"pm-{e:04d}-{period:06d}",
                    managed_element=element,
                    period_end_ms=_T0 + period * _PERIOD_MS,
                    granularity_s=_PERIOD_MS // 1000,
                    layout=NR_CELL_V1.name,
                    collection="delta",
                    cells=cells,
                    element_values=[500.0, 0.01],
                )
            )
        yield reports


def _fill(transport: Transport, serde: Serde, load: Load) -> list[bytes]:
    """Put the workload on the topics; the values of its reports."""
    transport.ensure_topics(TOPICS)
    names = [t.name for t in TELEMETRY]
    values: list[bytes] = []
    with closing(transport.producer("bench")) as producer:
        for reports in _reports(_topology(load), load.periods):
            for report in reports:
                values.append(serde.encode(_PM, report))
                producer.send(_PM.name, _PM.key_of(report), values[-1], timestamp_ms=report.period_end_ms)
            producer.flush(60)
            end = reports[0].period_end_ms
            barrier = PeriodEnd(
                network_id=_NETWORK,
                event_id=f"period/{end}",
                period_end_ms=end,
                granularity_s=_PERIOD_MS // 1000,
                offsets=to_records(transport.end_offsets(names)),
            )
            producer.send(PERIODS.name, PERIODS.key_of(barrier), serde.encode(PERIODS, barrier), timestamp_ms=end)
        producer.flush(60)
    return values


def _epochs(transport: Transport, serde: Serde, load: Load) -> Iterator[Epoch]:
    with closing(EpochReader(transport, serde, _NETWORK, "bench")) as reader:
        reader.start({}, None)
        given = 0
        while given < load.periods:
            for epoch in reader.read(1.0)[: load.periods - given]:
                given += 1
                yield epoch


def _govern(transport: Transport, serde: Serde, load: Load) -> None:
    governance = EpochGovernance(_topology(load), serde)
    state = governance.initial()
    for epoch in _epochs(transport, serde, load):
        state = governance.process(state, [epoch]).state
    _check(state.counts.applied, load)


def _sync(transport: Transport, serde: Serde, load: Load) -> None:
    sync = TwinSync(_topology(load), serde)
    state = sync.initial()
    for epoch in _epochs(transport, serde, load):
        state = sync.process(state, [epoch]).state
    _check(state.governance.counts.applied, load)


def _check(applied: int, load: Load) -> None:
    if applied != load.sites * load.periods:
        raise AssertionError(
            f"{applied} of {load.sites * load.periods} reports were applied: the bench measures nothing"
        )


@contextmanager
def _own_kafka() -> Iterator[Transport]:
    with tempfile.TemporaryDirectory(prefix="twinloop-bench-") as root:
        services = LocalServices(Path(root), Ports.free())
        with services.running(only=["kafka"]) as endpoints:
            transport = KafkaTransport(endpoints.bootstrap_servers)
            try:
                yield transport
            finally:
                transport.close()

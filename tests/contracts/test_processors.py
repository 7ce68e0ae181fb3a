"""What every stream operator must do. A new processor adds itself to CASES and passes, or is none."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from processors.anomalies import AnomalyBlock
from processors.collector import EpochCollector, Polled
from processors.epoch import EpochGovernance
from processors.exceptions import WrongState
from processors.feature_sync import FeatureSync
from processors.features import COUNTERS, FeatureBlock, FeatureOperator
from processors.operator import Operator, Step
from processors.sequencer import Sequencer
from processors.twin_sync import TwinSync
from processors.windows import MARK, Panes, Rows, WindowOperator, WindowSpec
from schemas.telemetry import PeriodEnd, Severity
from schemas.topics import PERIODS, TELEMETRY
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import Message
from tests.telemetry import CELLS, FM, NETWORK, PM, Feeder, alarm, pm, telemetry, topology
from twin_core.twin import Twin

SERDE = Serde(LocalIds())
AnyOperator = Operator[Any, Any, Any, Any]


@dataclass(frozen=True)
class Case:
    """An operator, how to make it, items of input in order, and how items make a batch."""

    make: Callable[[], AnyOperator]
    items: Callable[[], Sequence[Any]]
    batch: Callable[[Sequence[Any]], Any]


def log() -> list[Message]:
    """Five periods of a network that misbehaves, as one consumer saw them."""
    transport = MemoryTransport()
    feed = Feeder(transport, SERDE)
    for period in range(1, 6):
        events = telemetry(period)
        if period in (2, 4):
            events += [events[0], (PM, pm(period - 1, 1, event_id=f"late-{period}"))]
        if period == 3:
            events += [(PM, pm(4, 0)), (FM, alarm(3, 1, 2, Severity.CRITICAL))]
            feed.send_bytes(PM, None, b"poison")
        feed.period(period, events)
    consumer = transport.consumer("contract")
    consumer.assign(transport.begin_offsets([t.name for t in (*TELEMETRY, PERIODS)]))
    messages: list[Message] = []
    while not consumer.at_end():
        messages += consumer.poll(10, 0)
    return messages


def collector() -> EpochCollector:
    return EpochCollector(NETWORK, lambda value: SERDE.decode_as(PERIODS, value, PeriodEnd))


def epochs() -> Sequence[Any]:
    return collector().process(collector().initial(), Polled(log())).outputs


def rows(columns: int) -> list[Rows]:
    """Single rows of six cells under two elements, some late, with a mark now and then."""
    rng = np.random.default_rng(7)
    out = []
    for i in range(120):
        cell = int(rng.integers(6))
        key = MARK if i % 40 == 39 else cell
        time_ms = 60_000 * (i // 10 + int(rng.integers(-3, 2)))
        out.append(Rows(np.array([cell // 3]), np.array([key]), np.array([time_ms]), rng.random((1, columns))))
    return out


def joined(parts: Sequence[Rows], columns: int) -> Rows:
    whole = Rows.empty(columns)
    for part in parts:
        whole = whole.then(part)
    return whole


def windows(columns: int = 2) -> WindowOperator:
    return WindowOperator(elements=2, columns=columns, spec=WindowSpec(180_000, 60_000, lateness_ms=60_000))


K = len(COUNTERS)
CASES = {
    "collector": Case(collector, log, Polled),
    "governance": Case(lambda: EpochGovernance(topology(), SERDE), epochs, tuple),
    "windows": Case(windows, lambda: rows(2), lambda parts: joined(parts, 2)),
    "features": Case(lambda: FeatureOperator(windows(K)), lambda: rows(K), lambda parts: joined(parts, K)),
    "sequencer": Case(
        lambda: Sequencer(topology(), {t.name: t.partitions for t in TELEMETRY}, SERDE.decode), log, tuple
    ),
    "feature sync": Case(
        lambda: FeatureSync(topology(), SERDE, WindowSpec(120_000, 60_000, lateness_ms=60_000)), epochs, tuple
    ),
    "twin sync": Case(lambda: TwinSync(topology(), SERDE), epochs, tuple),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES), scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    items = found.items()
    return Case(found.make, lambda: items, found.batch)


def plain(value: Any) -> Any:
    """A value in a form in which equality means equality, NaN included."""
    if isinstance(value, Twin):
        return value.state_hash()
    if isinstance(value, np.ndarray):
        return (value.shape, value.tobytes())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(plain(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, dict):
        return sorted((repr(k), plain(v)) for k, v in value.items())
    if isinstance(value, tuple | list):
        return tuple(plain(v) for v in value)
    return value if not isinstance(value, float) else repr(value)


def emitted(steps: Sequence[Step[Any, Any, Any]]) -> Any:
    """All outputs of some steps, however they were packed into batches."""
    outputs: list[Any] = []
    late: list[Any] = []
    for step in steps:
        for output in step.outputs:
            if isinstance(output, Panes):
                spans = zip(output.first[:-1], output.first[1:], strict=True)
                outputs += [
                    plain((output.element[w], output.key[w], output.end_ms[w], output.time_ms[a:b], output.values[a:b]))
                    for w, (a, b) in enumerate(spans)
                ]
            elif isinstance(output, FeatureBlock | AnomalyBlock):
                outputs += [plain(tuple(column[w] for column in output)) for w in range(len(output.cell))]
            else:
                outputs.append(plain(output))
        for item in step.late:
            late += (
                [plain(item.take(np.array([i]))) for i in range(len(item.key))] if isinstance(item, Rows) else [item]
            )
    dead = [letter for step in steps for letter in step.dead_letters]
    columns = any(isinstance(o, Panes | FeatureBlock | AnomalyBlock) for step in steps for o in step.outputs)
    return sorted(outputs, key=repr) if columns else outputs, late, dead


def run(operator: AnyOperator, state: Any, case: Case, cuts: Sequence[int]) -> list[Step[Any, Any, Any]]:
    items, steps = case.items(), []
    for start, stop in zip([0, *cuts], [*cuts, len(items)], strict=True):
        step = operator.process(state, case.batch(items[start:stop]))
        state = step.state
        steps.append(step)
    return steps


def test_it_produces_something(case: Case) -> None:
    operator = case.make()
    steps = run(operator, operator.initial(), case, [])
    assert steps[0].outputs, "a suite that never sees an output proves nothing"
    assert operator.name


def test_the_same_input_gives_the_same_output_and_leaves_the_state_alone(case: Case) -> None:
    operator = case.make()
    state = operator.initial()
    before = operator.dump(state)
    first = run(operator, state, case, [])
    assert operator.dump(state) == before
    second = run(operator, state, case, [])
    assert emitted(first) == emitted(second)
    assert operator.dump(first[-1].state) == operator.dump(second[-1].state)


def test_an_empty_batch_changes_nothing(case: Case) -> None:
    operator = case.make()
    half = run(operator, operator.initial(), case, [len(case.items()) // 2])[0].state
    for state in (operator.initial(), half):
        step = operator.process(state, case.batch(case.items()[:0]))
        assert operator.dump(step.state) == operator.dump(state)
        assert (step.outputs, step.late, step.dead_letters) == ((), (), ())


@pytest.mark.parametrize("seed", range(3))
def test_how_input_is_cut_into_batches_changes_nothing(case: Case, seed: int) -> None:
    operator = case.make()
    n = len(case.items())
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, n), min(n - 1, 2 + 4 * seed)))
    whole, pieces = run(operator, operator.initial(), case, []), run(operator, operator.initial(), case, cuts)
    assert emitted(pieces) == emitted(whole)
    assert operator.dump(pieces[-1].state) == operator.dump(whole[-1].state)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_state_goes_on_in_another_operator_from_its_bytes(case: Case, share: float) -> None:
    operator, other = case.make(), case.make()
    at = max(1, int(share * len(case.items())))
    first = operator.process(operator.initial(), case.batch(case.items()[:at]))
    data = operator.dump(first.state)
    restored = other.load(data)
    assert other.dump(restored) == data
    rest = other.process(restored, case.batch(case.items()[at:]))
    whole = run(operator, operator.initial(), case, [])
    assert emitted([first, rest]) == emitted(whole)
    assert other.dump(rest.state) == operator.dump(whole[-1].state)


def test_a_state_is_safetensors_and_never_a_pickle(case: Case) -> None:
    operator = case.make()
    data = operator.dump(run(operator, operator.initial(), case, [])[-1].state)
    size = int.from_bytes(data[:8], "little")
    assert data[8:9] == b"{"
    assert size < len(data)


def test_foreign_or_broken_bytes_are_refused(case: Case) -> None:
    operator = case.make()
    data = operator.dump(operator.initial())
    stranger = WindowOperator(1, 1, WindowSpec(1, 1), name="stranger")
    for wrong in (b"", b"nonsense", data[: len(data) // 2], data[:-1], stranger.dump(stranger.initial())):
        with pytest.raises(WrongState) as caught:
            operator.load(wrong)
        assert caught.value.remedy


def test_the_cells_are_those_of_the_topology() -> None:
    smaller = topology().model_copy(update={"cells": topology().cells[:3]})
    governance = EpochGovernance(topology(), SERDE)
    with pytest.raises(WrongState):
        EpochGovernance(smaller, SERDE).load(governance.dump(governance.initial()))
    sync = TwinSync(topology(), SERDE)
    with pytest.raises(WrongState):
        TwinSync(smaller, SERDE).load(sync.dump(sync.initial()))
    assert len(CELLS) == 6

"""Parts of governance that only show in corners."""

import numpy as np
import pytest

from processors.exceptions import BrokenBalance
from processors.governance.accounting import Fate, add, count
from processors.governance.cumulative import Baseline, to_deltas
from processors.governance.pseudonyms import bytes_may_identify, looks_like_identity
from processors.governance.registers import problem_with_report
from processors.governance.state import NO_EVENTS
from processors.time_order import TimeOrdered
from schemas.topics import topic
from schemas.twin import EventCounts
from streams.memory import MemoryTransport

WRAP = 2.0**32
MINUTE = 60_000


def deltas(*values: float) -> list[float]:
    """Deltas of one counter of one cell, period by period."""
    baseline, out = Baseline.empty(1, 1), []
    for period, value in enumerate(values, start=1):
        step = to_deltas(baseline, np.array([0]), np.array([[value]]), period * MINUTE, MINUTE)
        baseline = step.baseline
        out.append(float(step.delta[0, 0]))
    return out


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([10, 30, 60], [NAN, 20, 30]),
        ([WRAP - 10, 15], [NAN, 25]),  # no pace known, but a short way round
        ([WRAP / 2, 15], [NAN, NAN]),  # half the range in one period: a reset
        ([100, 150, 20, 70], [NAN, 50, NAN, 50]),
        ([WRAP - 300, WRAP - 200, WRAP - 100, 50], [NAN, 100, 100, 150]),
        ([3e9, 3e9 + 10, 5], [NAN, 10, NAN]),  # a wrap would be 10^8 times the pace
        ([1e15, 1e15 + 7, 3], [NAN, 7, NAN]),  # 64-bit counters do not wrap
        ([10, NAN, 30, 35], [NAN, NAN, NAN, 5]),  # a missing value: the next delta would span two periods
    ],
)
def test_deltas_of_cumulative_counters(values: list[float], expected: list[float]) -> None:
    np.testing.assert_equal(deltas(*values), expected)


def test_a_baseline_is_not_changed_in_place() -> None:
    baseline = Baseline.empty(2, 1)
    to_deltas(baseline, np.array([1]), np.array([[5.0]]), MINUTE, MINUTE)
    assert np.isnan(baseline.value).all()


@pytest.mark.parametrize(
    "user",
    [
        "262011234567890",
        "26201123456789",
        "3520990017614823",
        "imsi-1",
        "IMSI:1",
        "supi=x",
        "+49151123456",
        "tel:+1",
        "nai-a@b",
    ],
)
def test_identities_are_recognised(user: str) -> None:
    assert looks_like_identity(user)
    assert bytes_may_identify(b"\x1e" + user.encode() + b"\x00")


@pytest.mark.parametrize("user", ["u-1", "1700000060000", "7f3a9c", "ue 12", "imsidorf", "user-26201"])
def test_pseudonyms_pass(user: str) -> None:
    assert not looks_like_identity(user)
    assert not bytes_may_identify(b"\x1e" + user.encode() + b"\x00")


def test_counts_that_do_not_balance_are_our_fault() -> None:
    with pytest.raises(BrokenBalance, match="bug"):
        count([Fate.APPLIED], fresh=2, reinjected=0, held=0)
    lost = EventCounts(ingested=2, applied=1, duplicate=0, late=0, dead_lettered=0, in_flight=0)
    with pytest.raises(BrokenBalance, match="2 events came in, 1"):
        add(NO_EVENTS, lost)


def test_live_values_off_the_grid_are_taken_as_they_are() -> None:
    relation = "ManagedElement=g1,GNBCUCPFunction=1,NRCellCU=1,NRCellRelation=g2-1"
    assert problem_with_report(relation, "cellIndividualOffset", 7.0) is None
    assert problem_with_report(relation, "nrTCI", 7.0) is None, "no lever"
    beam = "ManagedElement=g1,GNBDUFunction=1,NRSectorCarrier=1,CommonBeamformingFunction=1"
    assert problem_with_report(beam, "coverageShape", 77.0) is None, "the vendor's, whatever the twin knows"
    assert problem_with_report(beam, "coverageShape", -1.0) == ("coverageShape -1 lies outside [0, 65535]", True)
    wrong = problem_with_report("ManagedElement=g1,GNBDUFunction=1,NRCellDU=1", "administrativeState", "OFF")
    assert wrong is not None
    assert not wrong.absurd


def test_partitions_are_merged_by_time_and_nothing_overtakes_what_is_still_to_come() -> None:
    transport = MemoryTransport()
    where = topic("telemetry.pm")
    transport.ensure_topics([where])
    producer = transport.producer("test")
    keys: dict[int, str] = {}
    for i in range(100):
        key = f"n|{i}"
        producer.send(where.name, key, b"", timestamp_ms=10_000)
        spot = max(transport.end_offsets([where.name]).items(), key=lambda item: item[1])[0][1]
        keys.setdefault(spot, key)
        if len(keys) == 2:
            break
    one, other = keys.values()
    for t in (1, 2, 3, 4):
        producer.send(where.name, one, b"", timestamp_ms=20_000 + 10 * t)
        producer.send(where.name, other, b"", timestamp_ms=20_005 + 10 * t)
    consumer = transport.consumer("test")
    consumer.assign(transport.begin_offsets([where.name]))
    ordered = TimeOrdered(consumer, transport, [where.name])
    times: list[int] = []
    while not ordered.at_end():
        times += [m.timestamp_ms for m in ordered.poll(3, 0)]
    assert times == sorted(times)
    assert len(times) == sum(transport.end_offsets([where.name]).values())

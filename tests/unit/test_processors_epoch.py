"""Governance of epochs: where each event goes, and that arrival order and polling change nothing."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.collector import CollectorState, Epoch, EpochCollector, Polled
from processors.epoch import EpochGovernance, GovernedEpoch
from processors.governance.limits import CELL_COLUMNS
from processors.governance.settings import GovernanceSettings, Range
from processors.governance.state import GovernanceState
from processors.operator import Step
from schemas.counters import NR_CELL_V1, Layout, register_layout
from schemas.dead_letters import LateEvent, Reason
from schemas.telemetry import CellCounters, PeriodEnd, Severity
from schemas.topics import PERIODS, TELEMETRY
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import REINJECTED, Message
from tests.telemetry import (
    CELLS,
    CM,
    ELEMENTS,
    FM,
    MR,
    NETWORK,
    PM,
    Feeder,
    alarm,
    interleaved,
    mr,
    period_end,
    pm,
    snapshot,
    telemetry,
    topology,
)

SERDE = Serde(LocalIds())
GovernanceStep = Step[GovernanceState, GovernedEpoch, LateEvent]


class Bench:
    """A feeder, a collector and governance on one in-memory transport."""

    def __init__(self, governance_settings: GovernanceSettings | None = None) -> None:
        self.transport = MemoryTransport()
        self.feed = Feeder(self.transport, SERDE)
        self.governance = EpochGovernance(topology(), SERDE, governance_settings)
        self.state = self.governance.initial()
        self._read = 0

    def epochs(self) -> list[Epoch]:
        """All epochs so far, from the beginning."""
        return collect(self.log())

    def log(self) -> list[Message]:
        consumer = self.transport.consumer("bench")
        consumer.assign(self.transport.begin_offsets([t.name for t in (*TELEMETRY, PERIODS)]))
        messages: list[Message] = []
        while not consumer.at_end() or not messages:
            messages += consumer.poll(1000, 0)
        return messages

    def govern(self) -> GovernanceStep:
        """Govern the epochs since the last call, from the state that it left."""
        epochs = self.epochs()
        step = self.governance.process(self.state, epochs[self._read :])
        self._read, self.state = len(epochs), step.state
        return step


def read_barrier(value: bytes | None) -> PeriodEnd:
    return SERDE.decode_as(PERIODS, value, PeriodEnd)


def collect(messages: Sequence[Message], cuts: Sequence[int] = ()) -> list[Epoch]:
    """Epochs of a log polled in the given pieces."""
    collector = EpochCollector(NETWORK, read_barrier)
    state: CollectorState = collector.initial()
    epochs: list[Epoch] = []
    for start, stop in zip([0, *cuts], [*cuts, len(messages)], strict=True):
        step = collector.process(state, Polled(messages[start:stop]))
        state, epochs = step.state, [*epochs, *step.outputs]
    return epochs


def everything(step: GovernanceStep, governance: EpochGovernance) -> object:
    """A step in a form that can be compared."""
    outputs = [
        (o.period_end_ms, o.now.counters.tobytes(), o.now.elements.tobytes(), [m.tobytes() for m in o.measurements],
         sorted(o.configuration.items()), o.out_of_service.tolist(), o.counts, o.epoch_counts, o.quality)
        for o in step.outputs
    ]  # fmt: skip
    return outputs, step.late, step.dead_letters, governance.dump(step.state)


def value(epoch: GovernedEpoch, cell: str, counter: str) -> float:
    return float(epoch.now.counters[CELLS.index(cell), CELL_COLUMNS.index(counter)])


def test_a_calm_period_is_applied_whole() -> None:
    bench = Bench()
    bench.feed.period(1)
    (epoch,) = bench.govern().outputs
    assert epoch.counts.model_dump() == {
        "ingested": 6, "applied": 6, "duplicate": 0, "late": 0, "dead_lettered": 0, "in_flight": 0, "reinjected": 0,
    }  # fmt: skip
    sent = pm(1, 1).cells[2].values[NR_CELL_V1.cell.index("DRB.UEThpDl")]
    assert value(epoch, CELLS[5], "DRB.UEThpDl") == sent
    assert epoch.now.elements[:, 0].tolist() == [600.0, 700.0]
    assert epoch.measurements.rsrp_dbm.shape == (8, 6)
    assert epoch.measurements.serving.tolist() == [*mr(1, 0).serving, *mr(1, 1).serving]
    assert len(epoch.configuration) == 18
    assert epoch.quality.silent_cells == 0
    assert epoch.quality.missing["TL.MeanCqiDl"] == 6
    assert "RRU.PrbTotDl" not in epoch.quality.missing


def unruly(rng: random.Random) -> Bench:
    """Four periods in which everything goes wrong that can."""
    bench = Bench()
    for period in range(1, 5):
        streams = [[e for e in telemetry(period) if e[1].managed_element == element] for element in ELEMENTS]  # type: ignore[attr-defined]
        if rng.random() < 0.5:
            streams[0].append(streams[0][-1])  # a duplicate
        if period > 1 and rng.random() < 0.7:
            streams[1].append((PM, pm(period - 1, 1, event_id=f"late-{period}")))
        if rng.random() < 0.7:
            streams[0].append((PM, pm(period + 1, 0)))  # early: in flight, and then a duplicate
        if rng.random() < 0.5:
            streams[1].append((MR, mr(period, 1, event_id="leak", ue=["262011234567890"] * 4)))
        if rng.random() < 0.5:
            streams[0].append((FM, alarm(period, 0, 2, Severity.CRITICAL)))
        bench.feed.send(interleaved(streams, rng.randrange(1000)))
        if rng.random() < 0.6:
            bench.feed.send_bytes(PM, f"{NETWORK}|{ELEMENTS[0]}", b"poison")
        if rng.random() < 0.3:
            bench.feed.send_bytes(MR, None, b"\x00\x00\x00\x00\x02nonsense")
        if rng.random() < 0.3:
            bench.feed.send_bytes(PM, "other|ManagedElement=x", b"another network's")
        bench.feed.barrier(period)
    return bench


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_arrival_in_any_polls_gives_the_same_result(rng: random.Random) -> None:
    bench = unruly(rng)
    log = bench.log()
    governance = bench.governance
    calm = everything(governance.process(governance.initial(), collect(log)), governance)

    # Partitions arrive interleaved at random, each in order; polls are cut at random, and one is delivered twice.
    partitions: dict[tuple[str, int], list[Message]] = {}
    for message in log:
        partitions.setdefault((message.topic, message.partition), []).append(message)
    arrival: list[Message] = []
    rest = list(partitions.values())
    while rest:
        log_ = rng.choice(rest)
        arrival.append(log_.pop(0))
        rest = [x for x in rest if x]
    again = rng.randrange(len(arrival))
    arrival = arrival[: again + 1] + arrival[max(0, again - 5) :]
    cuts = sorted(rng.sample(range(1, len(arrival)), min(6, len(arrival) - 1)))
    step = governance.process(governance.initial(), collect(arrival, cuts))
    assert everything(step, governance) == calm

    for epoch in step.outputs:
        for c in (epoch.counts, epoch.epoch_counts):
            assert c.ingested >= 0
        total = epoch.counts
        assert total.ingested == total.applied + total.duplicate + total.late + total.dead_lettered + total.in_flight
    final = step.outputs[-1].counts
    ours = {
        (m.topic, m.partition, m.offset) for m in log if m.topic != PERIODS.name and m.key != b"other|ManagedElement=x"
    }
    assert final.ingested == len(ours)
    assert (final.late, final.dead_lettered) == (len(step.late), len(step.dead_letters))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16))
def test_how_elements_interleave_changes_nothing(seed: int) -> None:
    calm, mixed = Bench(), Bench()
    for period in (1, 2):
        calm.feed.period(period)
        own = [[e for e in telemetry(period) if e[1].managed_element == element] for element in ELEMENTS]  # type: ignore[attr-defined]
        mixed.feed.period(period, list(interleaved(own, seed + period)))
    a, b = calm.govern(), mixed.govern()
    assert everything(a, calm.governance) == everything(b, mixed.governance)


def test_a_repeat_is_a_duplicate_while_the_period_is_open_and_late_afterwards() -> None:
    bench = Bench()
    bench.feed.period(1, [*telemetry(1), (PM, pm(1, 0))])
    assert bench.govern().outputs[0].counts.duplicate == 1
    bench.feed.period(2, [*telemetry(2), (PM, pm(1, 0))])
    step = bench.govern()
    assert step.outputs[0].epoch_counts.late == 1
    (late,) = step.late
    assert (late.managed_element, late.period_end_ms, late.closed_ms) == (ELEMENTS[0], period_end(1), period_end(1))
    assert SERDE.decode(PM, late.value).event_id == "pm-0-1"


def test_an_early_event_is_in_flight_until_its_period_closes() -> None:
    bench = Bench()
    bench.feed.period(1, [*telemetry(1), (PM, pm(2, 0))])
    assert bench.govern().outputs[0].counts.in_flight == 1
    bench.state = bench.governance.load(bench.governance.dump(bench.state))
    bench.feed.period(2, [e for e in telemetry(2) if e[1].event_id != "pm-0-2"])
    (epoch,) = bench.govern().outputs
    assert (epoch.counts.in_flight, epoch.epoch_counts.applied, epoch.epoch_counts.ingested) == (0, 4, 3)
    assert not np.isnan(value(epoch, CELLS[0], "RRU.PrbTotDl"))


def cell_values(**values: float) -> list[CellCounters]:
    """Values of the first element's cells; names with dots as double underscores."""
    row = [float("nan")] * len(NR_CELL_V1.cell)
    for name, v in values.items():
        row[NR_CELL_V1.cell.index(name.replace("__", "."))] = v
    return [CellCounters(cell=c, values=row) for c in CELLS[:3]]


def poisons() -> list[tuple[Reason, list[tuple[object, object]]]]:
    """For every reason, an event that must be refused for it."""
    g1 = f"{NETWORK}|{ELEMENTS[0]}"
    good = SERDE.encode(PM, pm(1, 0))
    return [
        (Reason.UNDECODABLE, [
            (g1, b"no wire format"), (g1, good[:40]), (g1, None), (g1, b"\x00\x00\x00\x27\x0f" + good[5:]),
        ]),
        (Reason.BAD_KEY, [
            (f"{NETWORK}|{ELEMENTS[1]}", good), (None, good), (b"\xff\xfe", good), ("no-separator", good),
        ]),
        (Reason.UNKNOWN_ELEMENT, [
            (f"{NETWORK}|ManagedElement=g9", pm(1, 0, managed_element="ManagedElement=g9")),
            (g1, pm(1, 0, cells=[CellCounters(cell=CELLS[3], values=[])])),
        ]),
        (Reason.UNKNOWN_LAYOUT, [
            (g1, pm(1, 0, layout="nobody-knows")),
            (g1, pm(1, 0, cells=[CellCounters(cell=CELLS[0], values=[1.0, 2.0])])),
            (g1, pm(1, 0, element_values=[1.0])),
        ]),
        (Reason.INVALID, [(g1, pm(1, 0, cells=[pm(1, 0).cells[0], pm(1, 0).cells[0]]))]),
        (Reason.OUT_OF_RANGE, [
            (g1, pm(1, 0, cells=cell_values(RRU__PrbTotDl=101))),
            (g1, pm(1, 0, cells=cell_values(RRC__ConnMean=float("inf")))),
            (g1, pm(1, 0, element_values=[-1.0, 0.0])),
        ]),
        (Reason.BAD_TIME, [
            (g1, pm(1, 0, period_end_ms=period_end(1) - 1)),
            (g1, pm(1, 0, granularity_s=900)),
            (g1, pm(3, 0)),
        ]),
    ]  # fmt: skip


@pytest.mark.parametrize(("reason", "poison"), poisons(), ids=lambda p: getattr(p, "value", ""))
def test_what_cannot_be_used_becomes_a_dead_letter(reason: Reason, poison: list[tuple[object, object]]) -> None:
    for key, event in poison:
        bench = Bench()
        value_ = event if isinstance(event, bytes | None) else SERDE.encode(PM, event)  # type: ignore[arg-type]
        bench.feed.send_bytes(PM, key, value_)  # type: ignore[arg-type]
        bench.feed.period(1)
        step = bench.govern()
        (letter,) = step.dead_letters
        assert letter.reason is reason, letter.detail
        assert letter.value == (value_ or b"")
        assert letter.origin.topic == "telemetry.pm"
        assert letter.detail
        assert (step.outputs[0].counts.dead_lettered, step.outputs[0].counts.applied) == (1, 6)


@pytest.mark.parametrize("user", ["262011234567890", "imsi-262011234567890", "SUPI-26201", "+4915112345678"])
def test_a_subscribers_identity_is_refused_and_not_kept(user: str) -> None:
    bench = Bench()
    leak = mr(1, 0, event_id="leak", ue=["u-1", "u-2", "u-3", user], rsrp_dbm=[40.0] * 24)
    bench.feed.send([(MR, leak)])
    bench.feed.send_bytes(MR, f"{NETWORK}|{ELEMENTS[0]}", b"\x00garbage " + user.encode())
    bench.feed.period(1)
    step = bench.govern()
    assert [letter.reason for letter in step.dead_letters] == [Reason.NOT_PSEUDONYMOUS] * 2
    for letter in step.dead_letters:
        assert letter.value == b""
        assert user not in letter.model_dump_json()
    assert user.encode() not in bench.governance.dump(step.state)


@pytest.mark.parametrize(
    ("topic_", "event", "reason"),
    [
        (MR, mr(1, 0, rsrp_dbm=[40.0] * 24), Reason.OUT_OF_RANGE),
        (MR, mr(1, 0, cells=[*CELLS[:5], "ManagedElement=g9,GNBDUFunction=1,NRCellDU=1"]), Reason.UNKNOWN_ELEMENT),
        (FM, alarm(1, 0, 1, Severity.MAJOR, object=CELLS[4]), Reason.UNKNOWN_ELEMENT),
        (CM, snapshot(1, 0, tilt=12_000), Reason.OUT_OF_RANGE),
        (CM, snapshot(1, 0, managed_element="ManagedElement=g9"), Reason.UNKNOWN_ELEMENT),
    ],
    ids=["absurd rsrp", "unknown neighbour", "another element's cell", "absurd tilt", "unknown element"],
)
def test_other_events_are_checked_too(topic_: object, event: object, reason: Reason) -> None:
    bench = Bench()
    bench.feed.period(1, [(topic_, event)])  # type: ignore[list-item]
    step = bench.govern()
    assert [letter.reason for letter in step.dead_letters] == [reason]


def test_suspect_counters_are_missing_and_never_absurd() -> None:
    bench = Bench()
    cells = [c.model_copy(update={"suspect": c.cell == CELLS[0]}) for c in cell_values(RRU__PrbTotDl=50)]
    absurd = [c.model_copy(update={"values": [1e15] * len(c.values)}) if c.suspect else c for c in cells]
    bench.feed.period(1, [(PM, pm(1, 0, cells=absurd)), (PM, pm(1, 1))])
    (epoch,) = bench.govern().outputs
    assert np.isnan(value(epoch, CELLS[0], "RRU.PrbTotDl"))
    assert value(epoch, CELLS[1], "RRU.PrbTotDl") == 50
    assert epoch.quality.suspect_cells == 1


def test_cumulative_counters_become_deltas_across_wraps_resets_and_gaps() -> None:
    bench = Bench()
    name = "MM.HoExeInterReq"
    running = {1: 2.0**32 - 30, 2: 2.0**32 - 10, 3: 15.0, 4: 5e8, 5: 4.0, 6: 24.0, 8: 64.0, 9: 84.0}
    got = {}
    for period in range(1, 10):
        events = []
        if period in running:
            cells = cell_values(MM__HoExeInterReq=running[period], RRC__ConnMean=7)
            events = [(PM, pm(period, 0, collection="cumulative", cells=cells))]
        bench.feed.period(period, events)
        (epoch,) = bench.govern().outputs
        bench.state = bench.governance.load(bench.governance.dump(bench.state))
        got[period] = value(epoch, CELLS[1], name)
        if period in running:
            assert value(epoch, CELLS[1], "RRC.ConnMean") == 7, "only cumulative kinds are differenced"
    nan = float("nan")
    expected = {1: nan, 2: 20.0, 3: 25.0, 4: 5e8 - 15, 5: nan, 6: 20.0, 7: nan, 8: nan, 9: 20.0}
    np.testing.assert_equal(got, expected)


def test_alarms_take_cells_out_of_service_until_they_clear() -> None:
    bench = Bench()
    bench.feed.period(1, [(FM, alarm(1, 0, 2, Severity.CRITICAL)), (FM, alarm(1, 1, 1, Severity.MINOR))])
    bench.feed.period(2, [])
    bench.feed.period(3, [(FM, alarm(3, 0, 2, Severity.CLEARED))])
    down = [epoch.out_of_service.tolist() for epoch in bench.govern().outputs]
    one = [False, True, False, False, False, False]
    assert down == [one, one, [False] * 6]


def test_an_alarm_of_the_whole_element_takes_all_its_cells() -> None:
    bench = Bench()
    bench.feed.period(1, [(FM, alarm(1, 1, 1, Severity.CRITICAL, object=ELEMENTS[1]))])
    assert bench.govern().outputs[0].out_of_service.tolist() == [False] * 3 + [True] * 3


def test_configuration_reports_only_what_changed() -> None:
    bench = Bench()
    bench.feed.period(1)
    bench.feed.period(2, [(CM, snapshot(2, 0)), (CM, snapshot(2, 1, tilt=80))])
    first, second = bench.govern().outputs
    assert len(first.configuration) == 18
    assert set(second.configuration.values()) == {80.0}
    assert len(second.configuration) == 3


def test_reinjected_measurements_of_a_closed_period_are_late() -> None:
    bench = Bench()
    bench.feed.period(1)
    bench.feed.send([(PM, pm(1, 0, event_id="cured"))], headers=[(REINJECTED, b"2")])
    bench.feed.period(2)
    counts = bench.govern().outputs[1].epoch_counts
    assert (counts.late, counts.reinjected) == (1, 1)


def test_reinjected_alarms_and_configuration_apply_with_their_own_time() -> None:
    bench = Bench()
    bench.feed.period(1)
    bench.feed.period(2, [(CM, snapshot(2, 0, tilt=90)), (FM, alarm(2, 0, 1, Severity.CLEARED))])
    bench.feed.send(
        [
            (CM, snapshot(1, 0, tilt=30, event_id="old")),  # overtaken by the snapshot of period 2
            (CM, snapshot(1, 1, tilt=30, event_id="also old")),  # older than nothing: same time as the first snapshot
            (FM, alarm(1, 0, 1, Severity.CRITICAL)),  # cleared in the meantime
            (FM, alarm(1, 1, 3, Severity.CRITICAL)),  # still active
            (FM, alarm(1, 1, 3, Severity.CRITICAL)),  # sent again twice
        ],
        headers=[(REINJECTED, b"2")],
    )
    bench.feed.period(3)
    epoch = bench.govern().outputs[2]
    assert (epoch.epoch_counts.reinjected, epoch.epoch_counts.duplicate, epoch.epoch_counts.applied) == (5, 1, 8)
    assert set(epoch.configuration) == {
        (a.object, a.attribute) for a in snapshot(1, 1).values if a.attribute == "digitalTilt"
    }
    assert epoch.out_of_service.tolist() == [False] * 5 + [True]
    bench.feed.send([(FM, alarm(1, 1, 3, Severity.CRITICAL))], headers=[(REINJECTED, b"3")])
    bench.feed.barrier(4)
    assert bench.govern().outputs[0].epoch_counts.duplicate == 1


def test_a_cured_cause_lets_the_event_through() -> None:
    report = pm(1, 0, layout="tiny-v1", cells=[CellCounters(cell=CELLS[0], values=[7.0])], element_values=[])
    bench = Bench()
    bench.feed.period(1, [(PM, report)])
    assert bench.govern().dead_letters[0].reason is Reason.UNKNOWN_LAYOUT
    register_layout(Layout("tiny-v1", ("RRC.ConnMean",)))
    cured = report.model_copy(update={"period_end_ms": period_end(2)})
    bench.feed.send([(PM, cured)], headers=[(REINJECTED, b"2")])
    bench.feed.barrier(2)
    (epoch,) = bench.govern().outputs
    assert value(epoch, CELLS[0], "RRC.ConnMean") == 7
    assert epoch.epoch_counts.applied == epoch.epoch_counts.reinjected == 1

    wide = Bench(GovernanceSettings(ranges={"RRU.PrbTotDl": Range(0, 150)}))
    wide.feed.period(1, [(PM, pm(1, 0, cells=cell_values(RRU__PrbTotDl=120)))])
    assert wide.govern().outputs[0].counts.applied == 1


def test_missed_barriers_apply_the_skipped_periods_and_show_the_last() -> None:
    bench = Bench()
    bench.feed.period(1)
    for period in (2, 3):
        bench.feed.send(telemetry(period))
    bench.feed.barrier(4)
    epoch = bench.govern().outputs[1]
    assert [t.period_end_ms for t in epoch.tables] == [period_end(2), period_end(3)]
    assert np.isnan(epoch.now.counters).all()
    assert (epoch.epoch_counts.applied, epoch.quality.silent_cells) == (8, 6)


def test_a_barrier_written_twice_counts_once_and_an_unreadable_one_is_a_dead_letter() -> None:
    bench = Bench()
    bench.feed.period(1)
    bench.feed.barrier(1)
    bench.feed.send_bytes(PERIODS, NETWORK, b"poison")
    bench.feed.send_bytes(PERIODS, "other", b"another network's poison")
    bench.feed.period(2)
    step = bench.govern()
    assert [o.period_end_ms for o in step.outputs] == [period_end(1), period_end(2)]
    (letter,) = step.dead_letters
    assert (letter.origin.topic, letter.reason) == ("telemetry.periods", Reason.UNDECODABLE)
    assert step.outputs[1].counts.ingested == 11


def test_a_later_report_of_a_cell_replaces_the_earlier_one() -> None:
    bench = Bench()
    cells = cell_values(RRC__ConnMean=1), cell_values(RRC__ConnMean=2)
    bench.feed.period(1, [(PM, pm(1, 0, cells=cells[0])), (PM, pm(1, 0, event_id="corrected", cells=cells[1]))])
    (epoch,) = bench.govern().outputs
    assert value(epoch, CELLS[0], "RRC.ConnMean") == 2

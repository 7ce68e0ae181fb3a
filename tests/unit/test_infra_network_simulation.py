"""The reference network as a whole: conservation, counters that agree, levers that act, a world that does not care."""

import numpy as np
import pytest

from infra.line_protocol.exceptions import RequestRefused
from infra.line_protocol.messages import Start
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, EMBB, NR_CELL_SLICES_V1, URLLC
from schemas.names import beam_dn, relation_dn, sector_carrier_dn, slice_policy_dn
from schemas.plans import AckStatus
from schemas.telemetry import ConfigurationReport, MeasurementReport, PmReport
from schemas.topics import TELEMETRY, topic
from tests.network_runs import EVENING_MS, PERIOD_MS, PERIOD_S, Run, cell, counters, events


@pytest.fixture(scope="module")
def calm() -> Run:
    """A network that nobody commands."""
    return Run()


def test_traffic_is_conserved_at_every_step(calm: Run) -> None:
    sim = calm.sim
    for _ in range(30):
        sim.step()
        total = sim.served_kbit + sim.dropped_kbit + sim.backlog_kbit.sum()
        assert total == pytest.approx(sim.offered_kbit, rel=1e-12)
    assert sim.served_kbit > 0


def test_counters_of_a_period_agree_with_each_other() -> None:
    run = Run()
    before = run.sim.served_kbit
    lines = run.step()
    values = counters(events(lines, "telemetry.pm"))
    assert len(values) == 21
    volume = sum(v["DRB.PdcpSduVolumeDL"] or 0 for v in values.values())
    assert volume == pytest.approx(run.sim.served_kbit - before, abs=0.1)
    for reported in values.values():
        missing = {n.removesuffix(f".{EMBB}").removesuffix(f".{URLLC}") for n, x in reported.items() if x is None}
        assert missing <= {"DRB.UEThpDl", "DRB.RlcSduDelayDl", "TL.MeanCqiDl"}
        v = {n: x if x is not None else np.nan for n, x in reported.items()}
        assert v["RRU.PrbUsedDl"] == pytest.approx(v["RRU.PrbTotDl"] * v["RRU.PrbAvailDl"] / 100, abs=0.01)
        assert v["MM.HoExeInterReq"] == v["MM.HoExeInterSucc"] + v["MM.HoExeInterFail"]
        assert v["RRC.ConnEstabSucc"] <= v["RRC.ConnEstabAtt"]
        assert v["RRC.ConnMean"] <= v["RRC.ConnMax"] + 1e-9
        assert v["TB.ErrTotNbrDl"] <= v["TB.TotNbrDl"]
        assert v["CARR.MeanTxPwr"] <= v["CARR.MaxTxPwr"] == pytest.approx(460.206)
        for name, x in v.items():
            counter = CELL_COUNTERS[name]
            assert np.isnan(x) or counter.low <= x <= counter.high, name
    for report in events(lines, "telemetry.pm"):
        watts, kwh = report["element_values"]
        assert kwh == pytest.approx(watts * PERIOD_S / 3.6e6, abs=1e-6)
        assert ELEMENT_COUNTERS["PEE.AvgPower"].low < watts < 2000


def test_every_line_is_a_valid_event_with_an_id_of_its_own() -> None:
    run = Run()
    seen = set()
    for number in (1, 2):
        end_ms = EVENING_MS + number * PERIOD_MS
        for line in run.step():
            assert line.topic in {t.name for t in TELEMETRY}
            event = topic(line.topic).event.model_validate_json(line.text)
            assert (line.topic, event.event_id) not in seen
            seen.add((line.topic, event.event_id))
            if isinstance(event, PmReport):
                assert event.period_end_ms == end_ms
                assert event.layout == NR_CELL_SLICES_V1.name
            if isinstance(event, MeasurementReport):
                assert event.time_ms == end_ms
                assert all(end_ms - PERIOD_MS < t <= end_ms for t in event.report_ms)


def test_reports_show_what_users_hear_whole_decibels_and_few_neighbours() -> None:
    reports = [MeasurementReport.model_validate(e) for e in Run().events("telemetry.mr")]
    rsrp = np.concatenate([np.reshape(r.rsrp_dbm, (len(r.ue), -1))[:, :1] for r in reports])
    known = np.concatenate([np.isfinite(r.x_m) for r in reports])
    assert 0.55 < known.mean() < 0.85
    assert np.array_equal(rsrp[np.isfinite(rsrp)], np.rint(rsrp[np.isfinite(rsrp)]))
    for r in reports:
        levels = np.reshape(r.rsrp_dbm, (len(r.ue), len(r.cells)))
        assert (np.isfinite(levels).sum(axis=1) <= 7 + 1).all()  # ties may share the last place
        serving = levels[np.arange(len(r.ue)), r.serving]
        assert np.isfinite(serving).all()
        assert (np.nanmax(levels, axis=1) - serving < 12).all()


def test_one_seed_gives_one_run_and_another_seed_another() -> None:
    one, same, other = ([line.text for line in Run(seed).step()] for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_world_is_the_same_byte_for_byte_whatever_is_commanded() -> None:
    calm, busy = Run(), Run()
    c = cell(1)
    orders: list[tuple[str, str, float | str]] = [
        (sector_carrier_dn(c), "configuredMaxTxPower", 2000.0),
        (beam_dn(c), "digitalTilt", 140.0),
        (relation_dn(c, cell(2)), "cellIndividualOffset", 12.0),
        (cell(3), "administrativeState", "LOCKED"),
        (slice_policy_dn(c, URLLC), "rRMPolicyMaxRatio", 5.0),
        (slice_policy_dn(c, EMBB), "rRMPolicyMaxRatio", 40.0),
    ]
    for number, order in enumerate(orders):
        assert busy.set(str(number), *order) is AckStatus.APPLIED
        for _ in range(10):
            calm.sim.step()
            busy.sim.step()
            assert calm.sim.world.digest() == busy.sim.world.digest()
    served = calm.sim.served_kbit, busy.sim.served_kbit
    assert calm.sim.offered_kbit == busy.sim.offered_kbit
    assert served[0] != served[1]


def test_a_surge_is_the_one_thing_that_changes_the_world() -> None:
    calm, busy = Run(), Run()
    busy.inject("traffic_surge", factor=3.0)
    for _ in range(20):
        calm.sim.step()
        busy.sim.step()
    assert calm.sim.world.digest() != busy.sim.world.digest()
    assert np.array_equal(calm.sim.world.x_m, busy.sim.world.x_m)
    assert busy.sim.offered_kbit > 1.8 * calm.sim.offered_kbit


def test_evenings_are_busy_and_nights_are_quiet() -> None:
    def load(start_ms: int) -> float:
        values = counters(Run(start_ms=start_ms, layout__users=400, time__period_s=40).events("telemetry.pm"))
        return float(np.mean([v["RRU.PrbTotDl"] or 0 for v in values.values()]))

    assert 45 < load(EVENING_MS) < 75
    assert 3 < load(EVENING_MS + 8 * 3_600_000) < 15


def test_a_cells_volume_varies_from_minute_to_minute_by_a_tenth_or_so() -> None:
    run = Run(layout__users=400, time__period_s=60)
    minutes = [counters(run.events("telemetry.pm")) for _ in range(5)]
    volume = np.array([[v["DRB.PdcpSduVolumeDL"] or 0 for v in m.values()] for m in minutes])
    cv = np.diff(volume, axis=0).std(axis=0) / np.sqrt(2) / volume.mean(axis=0)
    assert 0.07 < cv.mean() < 0.17
    use = np.mean([[v["RRU.PrbTotDl"] or 0 for v in m.values()] for m in minutes], axis=0)
    assert use.max() > 1.8 * use.min()


def test_less_power_means_weaker_signal_fewer_users_and_less_energy() -> None:
    calm, low = Run(), Run()
    c = 0
    assert low.set("1", sector_carrier_dn(cell(1)), "configuredMaxTxPower", 4000.0) is AckStatus.APPLIED
    before, after = (counters(r.events("telemetry.pm")) for r in (calm, low))
    heard = (run.sim.connections.filtered_dbm[:, c].mean() for run in (calm, low))
    assert next(heard) - next(heard) == pytest.approx(10, abs=0.5)
    assert (after[cell(1)]["RRC.ConnMean"] or 0) < (before[cell(1)]["RRC.ConnMean"] or 0)
    assert after[cell(1)]["CARR.MaxTxPwr"] == pytest.approx(360.206)


def test_a_positive_offset_drives_users_over() -> None:
    calm, biased = Run(), Run()
    for other in (cell(1, 2), cell(1, 3), *(cell(s, k) for s in range(2, 8) for k in (1, 2, 3))):
        biased.set(other, relation_dn(cell(1), other), "cellIndividualOffset", 10.0)
    before, after = (counters(r.events("telemetry.pm")) for r in (calm, biased))
    assert (after[cell(1)]["RRC.ConnMean"] or 0) < 0.7 * (before[cell(1)]["RRC.ConnMean"] or 1)


@pytest.mark.parametrize("state", ["LOCKED", "SHUTTING_DOWN"])
def test_a_cell_that_is_locked_hands_its_users_over_and_sleeps(state: str) -> None:
    run = Run()
    first = {r["managed_element"]: r["element_values"][0] for r in run.events("telemetry.pm")}
    assert run.set("1", cell(1), "administrativeState", state) is AckStatus.APPLIED
    run.step()
    lines = run.step()
    values = counters(events(lines, "telemetry.pm"))[cell(1)]
    assert (values["RRC.ConnMean"], values["RRU.PrbAvailDl"], values["DRB.PdcpSduVolumeDL"]) == (0, 0, 0)
    after = {r["managed_element"]: r["element_values"][0] for r in events(lines, "telemetry.pm")}
    element = "SubNetwork=1,ManagedElement=gnb1"
    assert after[element] < first[element] - 80
    snapshot = next(e for e in events(lines, "telemetry.cm") if e["managed_element"] == element)
    assert {"object": cell(1), "attribute": "administrativeState", "value": "LOCKED"} in snapshot["values"]
    assert run.set("2", cell(1), "administrativeState", "UNLOCKED") is AckStatus.APPLIED
    run.step()
    assert (counters(run.events("telemetry.pm"))[cell(1)]["RRC.ConnMean"] or 0) > 0


def test_commands_are_all_or_nothing_once_and_reported() -> None:
    run = Run()
    carrier = sector_carrier_dn(cell(1))
    assert run.set("a", carrier, "configuredMaxTxPower", 10_000.0) is AckStatus.APPLIED
    told = ConfigurationReport.model_validate_json(run.told[0].text)
    assert told.kind == "change"
    assert told.command_id == "a"
    assert told.time_ms == EVENING_MS + 1  # within the period that begins now
    assert run.set("a", carrier, "configuredMaxTxPower", 20_000.0) is AckStatus.DUPLICATE
    assert run.set("b", carrier, "configuredMaxTxPower", 90_000.0) is AckStatus.REJECTED  # above its rating
    assert run.set("c", carrier, "digitalTilt", 10.0) is AckStatus.REJECTED
    assert run.set("d", beam_dn(cell(1)), "digitalAzimuth", 10.0) is AckStatus.REJECTED  # no lever of this network
    assert run.set("s", beam_dn(cell(1)), "coverageShape", 3.0) is AckStatus.REJECTED
    assert run.set("e", cell(9), "administrativeState", "LOCKED") is AckStatus.REJECTED
    (value,) = run.network.query([carrier])
    assert value.value == 10_000.0
    assert len(run.network.query(None)) == len(run.network.hello().configuration)


def test_a_start_off_the_grid_of_periods_is_refused() -> None:
    run = Run()
    with pytest.raises(RequestRefused, match="multiple"):
        run.network.start(Start(seed=1, start_time_ms=1))

"""Faults of the reference network: each does what its name says, where and as long as it was told, and no more."""

import json
from pathlib import Path

import pytest

from infra.line_protocol.exceptions import RequestRefused
from infra.network.service import ReferenceNetwork
from schemas.names import sector_carrier_dn
from schemas.plans import AckStatus
from tests.network_runs import EVENING_MS, PERIOD_MS, Run, cell, counters, events

SITE = "SubNetwork=1,ManagedElement=gnb2"


def test_an_outage_raises_an_alarm_takes_the_cell_away_and_clears() -> None:
    run = Run()
    run.inject("cell_outage", cell(2), periods=1, delay_s=8)
    first, second = run.step(), run.step()
    (raised,), (cleared,) = events(first, "telemetry.fm"), events(second, "telemetry.fm")
    assert (raised["severity"], cleared["severity"]) == ("CRITICAL", "CLEARED")
    assert raised["alarm_id"] == cleared["alarm_id"]
    assert raised["object"] == cell(2)
    assert EVENING_MS + 8_000 < raised["time_ms"] <= EVENING_MS + 10_000
    assert EVENING_MS + 28_000 < cleared["time_ms"] <= EVENING_MS + 30_000
    available = [counters(events(p, "telemetry.pm"))[cell(2)]["RRU.PrbAvailDl"] for p in (first, second)]
    assert available == pytest.approx([106 * 8 / 20, 106 * 12 / 20], abs=0.01)
    assert counters(run.events("telemetry.pm"))[cell(2)]["RRU.PrbAvailDl"] == 106


def test_stuck_counters_repeat_their_last_values() -> None:
    run = Run()
    before = counters(run.events("telemetry.pm"))
    run.inject("stuck_counters", cell(2), periods=2)
    for _ in range(2):
        now = counters(run.events("telemetry.pm"))
        assert now[cell(2)] == before[cell(2)]
        assert now[cell(3)] != before[cell(3)]
    assert counters(run.events("telemetry.pm"))[cell(2)] != before[cell(2)]


def test_cumulative_counters_run_on_and_start_again_after_a_reset() -> None:
    delta, total = Run(), Run(reporting__collection="cumulative")
    name = "DRB.PdcpSduVolumeDL"
    parts = [counters(delta.events("telemetry.pm"))[cell(2)][name] or 0 for _ in range(3)]
    sums = [counters(total.events("telemetry.pm"))[cell(2)][name] or 0 for _ in range(2)]
    assert sums == pytest.approx([parts[0], parts[0] + parts[1]], abs=0.01)
    total.inject("counter_reset", SITE, delay_s=10)
    after = counters(total.events("telemetry.pm"))
    assert 0 < (after[cell(2)][name] or 0) < parts[2]
    assert (after[cell(3)][name] or 0) > parts[2]


def test_a_reset_of_counters_that_count_a_period_makes_them_suspect() -> None:
    run = Run()
    run.inject("counter_reset", SITE, delay_s=10)
    suspect = {c["cell"] for report in run.events("telemetry.pm") for c in report["cells"] if c["suspect"]}
    assert suspect == {cell(2, k) for k in (1, 2, 3)}
    assert not any(c["suspect"] for report in run.events("telemetry.pm") for c in report["cells"])


def test_counters_out_of_range() -> None:
    run = Run()
    run.inject("out_of_range", cell(2))
    now = counters(run.events("telemetry.pm"))
    assert [c for c, v in now.items() if (v["RRU.PrbTotDl"] or 0) > 100] == [cell(2)]


def test_late_events_come_periods_later_as_they_were() -> None:
    run, calm = Run(), Run()
    run.inject("late_events", SITE, periods=1)
    wanted = [
        line for line in calm.step() if line.topic in ("telemetry.pm", "telemetry.mr") and SITE in line.text[:200]
    ]
    assert not [e for e in events(run.step(), "telemetry.pm") if e["managed_element"] == SITE]
    run.step()
    come = [line for line in run.step() if f":{EVENING_MS + PERIOD_MS}" in line.text[:120]]
    assert [line for line in come if line.topic != "telemetry.cm"] == wanted


def test_duplicate_events_come_twice() -> None:
    run = Run()
    run.inject("duplicate_events", SITE)
    lines = run.step()
    twice = {json.loads(line.text)["event_id"] for line in lines if lines.count(line) == 2}
    assert twice == {json.loads(line.text)["event_id"] for line in lines if f'"managed_element":"{SITE}"' in line.text}
    assert len(set(run.step())) == 21


def test_poison_is_no_json_and_costs_no_event() -> None:
    run = Run()
    run.inject("poison", SITE, lines=2)
    lines = run.step()
    poison = [line for line in lines if line.topic is None]
    assert len(poison) == 2
    assert SITE in poison[0].text
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(poison[0].text)
    assert len(events(lines, "telemetry.pm")) == 7


def test_commands_that_are_refused_or_lost_change_nothing_and_may_be_sent_again() -> None:
    run = Run()
    carrier = sector_carrier_dn(cell(2))
    run.inject("refuse_command", SITE)
    assert run.set("a", carrier, "configuredMaxTxPower", 10_000.0) is AckStatus.REJECTED
    assert run.set("b", sector_carrier_dn(cell(3)), "configuredMaxTxPower", 10_000.0) is AckStatus.APPLIED
    run.step()
    run.inject("lose_command", SITE)
    assert run.set("a", carrier, "configuredMaxTxPower", 10_000.0) is None
    assert run.network.query([carrier])[0].value == 40_000.0
    run.step()
    assert run.set("a", carrier, "configuredMaxTxPower", 10_000.0) is AckStatus.APPLIED


@pytest.mark.parametrize(
    ("fault", "target", "parameters", "reason"),
    [
        ("meteor", "", {}, "unknown fault"),
        ("cell_outage", SITE, {}, "hits a cell"),
        ("cell_outage", cell(9), {}, "unknown target"),
        ("stuck_counters", "", {}, "needs a target"),
        ("late_events", SITE, {"colour": 1.0}, "no parameter colour"),
        ("late_events", "nonsense", {}, "is not Class=value"),
    ],
)
def test_impossible_faults_are_refused(fault: str, target: str, parameters: dict[str, float], reason: str) -> None:
    with pytest.raises(RequestRefused, match=reason):
        Run().inject(fault, target, **parameters)


def test_a_fork_goes_on_as_the_original_would() -> None:
    run = Run()
    run.set("a", sector_carrier_dn(cell(2)), "configuredMaxTxPower", 10_000.0)
    run.inject("late_events", SITE, periods=1)
    run.inject("cell_outage", cell(4), periods=3, delay_s=30)
    run.step()
    option, path = run.network.fork()
    assert option == "--from-state"
    copy = ReferenceNetwork.resume(Path(path))
    assert copy.hello().running
    assert copy.now_ms == run.network.now_ms
    for _ in range(3):
        assert list(copy.step()) == run.step()
    assert copy.query(None) == run.network.query(None)

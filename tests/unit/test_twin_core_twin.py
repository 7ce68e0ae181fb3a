"""The twin as a value: revisions, forks, snapshots, hashes, fidelity, and telemetry that is not as it should be."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.toy_network import run
from twin_core.exceptions import InvalidObservation, InvalidSettings, SnapshotCorrupt, SnapshotVersion
from twin_core.fidelity import RSRP
from twin_core.kpis import POWER, PRB, THROUGHPUT, USERS, VOLUME
from twin_core.layouts import hexagonal
from twin_core.observation import PeriodObservation
from twin_core.settings import CalibrationSettings, FidelitySettings, PhysicsSettings, TwinSettings
from twin_core.twin import ABSURD, NOT_UNDERSTOOD, Twin


def _finite(twin: Twin) -> bool:
    return all(bool(torch.isfinite(t).all()) for t in twin.environment.tensors().values())


def test_a_calibrated_twin_passes_its_gates_and_an_uncalibrated_one_does_not() -> None:
    made = run()
    assert made.twin.gate_open
    assert not made.uncalibrated.gate_open
    for kpi in (PRB, THROUGHPUT, VOLUME, USERS, POWER, RSRP):
        assert made.twin.fidelity[kpi].score > made.uncalibrated.fidelity[kpi].score
    # Knowing the demand, it knows the load better still.
    assert made.twin.fidelity[PRB].given_demand > made.twin.fidelity[PRB].score


def test_the_gate_waits_for_the_warm_up_and_for_what_falls_silent() -> None:
    made = run()
    early = Twin.create(made.network.topology)
    for seen in made.observations[:9]:
        early = early.apply(seen, {})
    assert not early.gate_open
    silent = made.twin
    last = made.observations[-1]
    for k in range(1, 12):
        mute = replace(
            last,
            period_end_ms=last.period_end_ms + 60_000 * k,
            counters={name: v for name, v in last.counters.items() if name != PRB},
        )
        silent = silent.apply(mute, {})
    assert silent.fidelity[PRB].age == 11
    assert not silent.gate_open


def test_a_kpi_that_the_network_lacks_blocks_nothing() -> None:
    made = run()
    twin = Twin.create(made.network.topology)
    for seen in made.observations:
        twin = twin.apply(replace(seen, element_power_w=np.zeros(0)), {})
    assert twin.gate_open
    assert twin.fidelity[POWER].periods == 0


def test_applying_makes_the_next_revision_and_leaves_this_one() -> None:
    made = run()
    twin = made.twin
    before = twin.state_hash()
    seen = replace(made.observations[-1], period_end_ms=made.observations[-1].period_end_ms + 60_000)
    after = twin.apply(seen, {"telemetry.pm/0": 99})
    assert (after.revision, after.frontier) == (twin.revision + 1, {"telemetry.pm/0": 99})
    assert after.state_hash() != before == twin.state_hash()
    assert twin.fork().state_hash() == before


def test_a_snapshot_restores_bit_for_bit_and_goes_on_as_before() -> None:
    made = run()
    data = made.twin.snapshot()
    again = Twin.restore(data)
    assert again.snapshot() == data
    assert again.state_hash() == made.twin.state_hash()
    seen = replace(made.observations[-1], period_end_ms=made.observations[-1].period_end_ms + 60_000)
    assert again.apply(seen, {}).state_hash() == made.twin.apply(seen, {}).state_hash()
    assert torch.equal(again.predicted[PRB], made.twin.predicted[PRB])


def test_the_same_telemetry_gives_the_same_hash_in_another_process() -> None:
    script = "from tests.unit.toy_network import run; print(run(3).twin.state_hash())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.strip() == run(3).twin.state_hash()


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -1000])
def test_a_truncated_snapshot_is_refused(cut: int) -> None:
    with pytest.raises(SnapshotCorrupt, match="restore an older one"):
        Twin.restore(run().twin.snapshot()[:cut])


def test_an_altered_snapshot_is_refused() -> None:
    data = bytearray(run().twin.snapshot())
    data[-5] ^= 1
    with pytest.raises(SnapshotCorrupt, match="hash"):
        Twin.restore(bytes(data))
    with pytest.raises(SnapshotCorrupt):
        Twin.restore(b"\x10\x00\x00\x00\x00\x00\x00\x00" + b'{"a":"not ours"}')


def test_a_snapshot_of_another_format_version_is_refused() -> None:
    data = run().twin.snapshot()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    inner = json.loads(header["__metadata__"]["twinloop"])
    inner["version"] = 99
    header["__metadata__"]["twinloop"] = json.dumps(inner)
    text = json.dumps(header).encode()
    with pytest.raises(SnapshotVersion, match=r"version 99.*replay"):
        Twin.restore(len(text).to_bytes(8, "little") + text + data[8 + length :])


def test_the_state_does_not_grow_with_history() -> None:
    assert abs(len(run(25).twin.snapshot()) - len(run(3).twin.snapshot())) < 2000


def test_a_period_out_of_order_is_refused() -> None:
    made = run()
    before = made.twin.state_hash()
    with pytest.raises(InvalidObservation, match="in order, once"):
        made.twin.apply(made.observations[-1], {})
    assert made.twin.state_hash() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"counters": {PRB: np.zeros(3)}},
        {"element_power_w": np.zeros(5)},
        {"mr_serving": np.array([21]), "mr_sinr_db": np.zeros(1), "mr_x_m": np.zeros(1), "mr_y_m": np.zeros(1),
         "mr_cell_rsrp": np.full((1, 21), -80.0)},
        {"mr_x_m": np.zeros(4)},
        {"cells_out_of_service": np.ones(2, dtype=bool)},
        {"granularity_s": 0},
    ],
)  # fmt: skip
def test_an_observation_of_the_wrong_shape_is_refused_and_changes_nothing(wrong: dict[str, object]) -> None:
    twin = run().twin
    before = twin.state_hash()
    seen = PeriodObservation(twin.period_end_ms + 60_000, 60)
    with pytest.raises(InvalidObservation):
        twin.apply(replace(seen, **wrong), {})  # type: ignore[arg-type]
    assert twin.state_hash() == before


def test_a_period_without_any_telemetry_changes_only_what_time_changes() -> None:
    twin = run().twin
    after = twin.apply(PeriodObservation(twin.period_end_ms + 60_000, 60), {})
    assert after.revision == twin.revision + 1
    assert _finite(after)
    assert torch.allclose(after.predicted[PRB], twin.predicted[PRB], rtol=0.1, atol=0.5)
    assert after.fidelity[PRB].score == twin.fidelity[PRB].score


_odd = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-300, 1e9, 1e300, 50.0])


@given(
    st.lists(_odd, min_size=21, max_size=21),
    st.lists(_odd, min_size=21, max_size=21),
    st.lists(_odd, min_size=7, max_size=7),
    st.integers(0, 20),
)
@example([0.0] * 21, [np.nan] * 21, [1e-300] * 7, 0)  # measurements without noise once had no solution
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_absurd_enters_the_state(a: list[float], b: list[float], watts: list[float], serving: int) -> None:
    twin = run().twin
    seen = PeriodObservation(
        period_end_ms=twin.period_end_ms + 60_000,
        granularity_s=60,
        counters={PRB: np.array(a), THROUGHPUT: np.array(b), VOLUME: np.array(b[::-1]), USERS: np.array(a[::-1])},
        element_power_w=np.array(watts),
        mr_cell_rsrp=np.array([a, b]),
        mr_serving=np.array([serving, 0]),
        mr_sinr_db=np.array([a[0], b[0]]),
        mr_x_m=np.array([a[1], 10.0]),
        mr_y_m=np.array([b[1], 10.0]),
    )
    after = twin.apply(seen, {})
    assert _finite(after)
    for kpi in (PRB, VOLUME, USERS, POWER):
        assert bool(torch.isfinite(after.predicted[kpi]).all())
    assert float(after.predicted[PRB].max()) <= 100
    if any(v < 0 or v > 100 for v in a):
        assert after.marks[ABSURD] > 0


def test_a_configuration_it_does_not_understand_is_marked_and_the_rest_taken() -> None:
    twin = run().twin
    cell = twin.network.cells[2]
    seen = PeriodObservation(
        twin.period_end_ms + 60_000,
        60,
        configuration={
            ("SubNetwork=1,ManagedElement=other,GNBDUFunction=1,NRCellDU=1", "administrativeState"): "LOCKED",
            (cell, "cellReselectionPriority"): 4.0,
            (cell, "administrativeState"): "LOCKED",
        },
    )
    after = twin.apply(seen, {})
    assert not after.configuration.active[2]
    assert after.marks[NOT_UNDERSTOOD] == 2


def test_a_failed_cell_serves_nobody_until_it_is_back() -> None:
    twin = run().twin
    out = np.arange(21) == 4
    failed = twin.apply(PeriodObservation(twin.period_end_ms + 60_000, 60, cells_out_of_service=out), {})
    assert failed.predicted[USERS][4] == 0
    assert failed.predicted[PRB][4] == 0
    assert bool(failed.predicted[THROUGHPUT][4].isnan())
    quiet = failed.apply(PeriodObservation(failed.period_end_ms + 60_000, 60), {})
    assert quiet.predicted[USERS][4] == 0
    back = quiet.apply(
        PeriodObservation(quiet.period_end_ms + 60_000, 60, cells_out_of_service=np.zeros(21, dtype=bool)), {}
    )
    assert back.predicted[USERS][4] > 0


def test_a_network_all_off_the_air_is_a_network() -> None:
    twin = run().twin
    off = PeriodObservation(twin.period_end_ms + 60_000, 60, cells_out_of_service=np.ones(21, dtype=bool))
    after = twin.apply(off, {})
    assert _finite(after)
    assert float(after.predicted[VOLUME].sum()) == 0


def test_the_smallest_network_works() -> None:
    topology = hexagonal(sites=1)
    twin = Twin.create(topology.model_copy(update={"cells": topology.cells[:1]}))
    seen = PeriodObservation(60_000, 60, counters={PRB: np.array([20.0]), VOLUME: np.array([1e5])})
    assert _finite(twin.apply(seen, {}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TwinSettings(roll_out_dtype="float16"),
        lambda: TwinSettings(physics=PhysicsSettings(candidates=0)),
        lambda: TwinSettings(calibration=CalibrationSettings(gain_half_life=-1)),
        lambda: TwinSettings(calibration=CalibrationSettings(trend_damping=1.2)),
        lambda: TwinSettings(fidelity=FidelitySettings(half_life=float("nan"))),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(InvalidSettings):
        make()  # type: ignore[operator]

"""Slices in the reference network: how cells share their time, what policies may say, and what they change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.line_protocol.messages import Command, RawChange
from infra.network.packet_queues import serve
from infra.network.slices import DEDICATED, FILES, MAXIMUM, MINIMUM, PACKETS, file_share, packet_share
from schemas.counters import EMBB, NR_CELL_SLICES_V1, NR_CELL_V1, S_NSSAIS, URLLC, sliced
from schemas.names import managed_element_of, slice_policy_dn
from schemas.plans import AckStatus
from schemas.telemetry import PmReport
from tests.network_runs import Run, cell, counters, events

NAMES = {"most": "rRMPolicyMaxRatio", "least": "rRMPolicyMinRatio", "own": "rRMPolicyDedicatedRatio"}
USERS = 300  # enough that slices meet in cells


def set_everywhere(run: Run, s_nssai: str, **values: float) -> set[AckStatus]:
    """Ratios of a slice in all cells, each element by one command."""
    cells = run.network.hello().topology.cell_names
    out = set()
    for element in sorted({managed_element_of(c) for c in cells}):
        changes = [
            RawChange(object=slice_policy_dn(c, s_nssai), attribute=NAMES[name], value=value)
            for c in cells
            if managed_element_of(c) == element
            for name, value in values.items()
        ]
        answer = run.network.command(
            Command(id=f"{element}{s_nssai}{values}", managed_element=element, changes=changes)
        )
        assert answer is not None
        list(answer[2])
        out.add(answer[0])
    return out


def after(periods: int = 3, **ratios: dict[str, float]) -> dict[str, np.ndarray]:
    """Counter to the mean over cells of each period, with ratios by slice."""
    run = Run(layout__users=USERS)
    for s_nssai, values in ratios.items():
        assert set_everywhere(run, {"embb": EMBB, "urllc": URLLC}[s_nssai], **values) == {AckStatus.APPLIED}
    seen = [counters(run.events("telemetry.pm")) for _ in range(periods)]
    names = NR_CELL_SLICES_V1.cell
    return {
        n: np.array([[v[n] if v[n] is not None else np.nan for v in period.values()] for period in seen]) for n in names
    }


@pytest.fixture(scope="module")
def free() -> dict[str, np.ndarray]:
    return after()


def test_slices_add_up_to_their_cell(free: dict[str, np.ndarray]) -> None:
    for name in ("RRU.PrbUsedDl", "DRB.PdcpSduVolumeDL"):
        parts = sum(np.nan_to_num(free[sliced(name, s)]) for s in S_NSSAIS)
        np.testing.assert_allclose(parts, free[name], atol=0.01)
        assert all((np.nan_to_num(free[sliced(name, s)]) > 0).any() for s in S_NSSAIS)
    packets, files = (np.nanmedian(free[sliced("DRB.RlcSduDelayDl", s)]) for s in (URLLC, EMBB))
    assert packets < files / 10, "packets do not wait like files"


def test_a_small_max_share_makes_packets_wait_and_a_guaranteed_one_does_not(free: dict[str, np.ndarray]) -> None:
    delay = sliced("DRB.RlcSduDelayDl", URLLC)
    tight, kept = after(urllc={"most": 3.0}), after(urllc={"least": 30.0})
    both = np.isfinite(free[delay]) & np.isfinite(tight[delay]) & np.isfinite(kept[delay])
    assert np.median(tight[delay][both]) > 5 * np.median(free[delay][both])
    assert np.mean(kept[delay][both]) < np.mean(free[delay][both])


def test_what_is_dedicated_to_packets_is_kept_from_files(free: dict[str, np.ndarray]) -> None:
    speed = sliced("DRB.UEThpDl", EMBB)
    kept = after(urllc={"least": 40.0, "own": 40.0})
    assert np.nanmedian(kept[speed] / free[speed]) < 0.75
    assert np.nanmax(kept["RRU.PrbUsedDl"] - kept[sliced("RRU.PrbUsedDl", URLLC)]) <= 0.6 * 106 + 0.1


def test_files_never_get_more_than_their_max_share() -> None:
    capped = after(embb={"most": 30.0})
    assert np.nanmax(capped[sliced("RRU.PrbUsedDl", EMBB)]) <= 0.3 * 106 + 0.1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"least": 20.0, "most": 10.0}, "dedicated 0 <= min 20 <= max 10 does not hold"),
        ({"own": 10.0}, "dedicated 10 <= min 0"),
        ({"least": 101.0}, "must lie in"),
    ],
)
def test_ratios_that_cannot_be_are_refused_as_a_whole(changes: dict[str, float], why: str) -> None:
    run = Run()
    dn = slice_policy_dn(cell(1), URLLC)
    command = Command(
        id="x",
        managed_element=managed_element_of(cell(1)),
        changes=[RawChange(object=dn, attribute=NAMES[n], value=v) for n, v in changes.items()],
    )
    answer = run.network.command(command)
    assert answer is not None
    assert answer[0] is AckStatus.REJECTED
    assert why in answer[1]
    assert {v.value for v in run.network.query([dn])} == {0.0, 100.0}


def test_min_shares_of_a_cell_are_at_most_everything() -> None:
    run = Run()
    assert set_everywhere(run, EMBB, least=70.0) == {AckStatus.APPLIED}
    assert set_everywhere(run, URLLC, least=40.0) == {AckStatus.REJECTED}
    assert set_everywhere(run, URLLC, least=30.0) == {AckStatus.APPLIED}


def test_a_network_without_slices_reports_and_takes_none() -> None:
    run = Run(slices__enabled=False)
    assert run.network.hello().topology.slices == ()
    assert not any(lever.startswith("rRMPolicy") for lever in run.network.hello().levers)
    for line in events(run.step(), "telemetry.pm"):
        assert PmReport.model_validate(line).layout == NR_CELL_V1.name
    assert run.set("x", slice_policy_dn(cell(1), URLLC), "rRMPolicyMinRatio", 10.0) is AckStatus.REJECTED


@settings(max_examples=100, deadline=None)
@given(
    most=st.lists(st.floats(0, 100), min_size=2, max_size=2), part=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    senders=st.integers(0, 9), readers=st.integers(0, 9), busy=st.floats(0, 1),
)  # fmt: skip
def test_shares_keep_to_the_policy(
    most: list[float], part: list[float], senders: int, readers: int, busy: float
) -> None:
    ratios = np.zeros((3, 2, 1))
    ratios[MAXIMUM, :, 0] = most
    ratios[MINIMUM, :, 0] = np.minimum(most, 50) * part[:2]
    ratios[DEDICATED, :, 0] = ratios[MINIMUM, :, 0] * part[2:]
    packets = packet_share(ratios, np.array([float(senders)]), np.array([float(readers)]), np.array([busy]))
    assert 0 <= packets[0] <= ratios[MAXIMUM, PACKETS, 0] / 100 + 1e-9
    assert packets[0] <= 1 - ratios[DEDICATED, FILES, 0] / 100 + 1e-9
    files = file_share(ratios, packets[:, None])
    assert -1e-9 <= files[0, 0] <= ratios[MAXIMUM, FILES, 0] / 100 + 1e-9
    assert files[0, 0] + packets[0] <= 1 + 1e-9


def test_a_queue_loses_nothing_and_serves_no_faster_than_its_share() -> None:
    rng = np.random.default_rng(2)
    users, share = 12, np.array([0.2, 0.05])
    where, rate = rng.integers(0, 2, users), rng.uniform(500, 5000, users)
    before, sent = rng.uniform(0, 20, users), rng.uniform(0, 3, (users, 2, 10))
    got = serve(where, rate, before, sent, share, 0.01)
    total = before + sent.sum(axis=(1, 2))
    assert (got.served_kbit <= total + 1e-9).all()
    assert got.cell_kbit.sum() == pytest.approx(got.served_kbit.sum())
    assert (got.used_s <= share[:, None] * 0.1 + 1e-12).all()


def test_queues_are_those_of_a_walk_cycle_by_cycle() -> None:
    rng = np.random.default_rng(5)
    users, slices, cycles, cycle_s = 9, 3, 8, 0.01
    where, rate = rng.integers(0, 2, users), rng.uniform(500, 5000, users)
    share, before = np.array([0.3, 0.02]), rng.uniform(0, 5, users) * (rng.uniform(size=users) < 0.5)
    sent = rng.uniform(0, 12, (users, slices, cycles)) * (rng.uniform(size=(users, slices, cycles)) < 0.3)
    got = serve(where, rate, before, sent, share, cycle_s)
    for c in range(2):
        own = where == c
        queue_s, used_s, waiting_s2 = float((before / rate)[own].sum()), np.zeros(slices), 0.0
        for t in range(slices):
            for j in range(cycles):
                begin_s = queue_s + float((sent[own, t, j] / rate[own]).sum())
                drained_s = min(begin_s, share[c] * cycle_s)
                queue_s = begin_s - drained_s
                used_s[t] += drained_s
                waiting_s2 += 0.5 * (begin_s + queue_s) * min(begin_s / share[c], cycle_s)
        kbit = float((before + sent.sum(axis=(1, 2)))[own].sum())
        total_s = float(((before + sent.sum(axis=(1, 2))) / rate)[own].sum())
        assert got.used_s[c] == pytest.approx(used_s, abs=1e-12)
        assert got.cell_kbit[c] == pytest.approx(kbit * (1 - queue_s / total_s))
        assert got.waiting_kbit_s[c] == pytest.approx(waiting_s2 * kbit / total_s)


def test_packets_are_served_the_faster_the_more_they_may_and_the_less_files_may() -> None:
    def shares(who: int, kind: int) -> list[float]:
        out = []
        for percent in (0, 10, 25, 40, 60, 80, 100):
            ratios = np.zeros((3, 2, 1))
            ratios[MAXIMUM] = 100.0
            ratios[kind, who] = percent
            out += packet_share(ratios, np.array([3.0]), np.array([9.0]), np.array([0.7])).tolist()
        return out

    assert shares(PACKETS, MAXIMUM) == sorted(shares(PACKETS, MAXIMUM))
    assert shares(PACKETS, MINIMUM) == sorted(shares(PACKETS, MINIMUM))
    assert shares(FILES, MAXIMUM) == sorted(shares(FILES, MAXIMUM), reverse=True)
    assert shares(FILES, MINIMUM) == sorted(shares(FILES, MINIMUM), reverse=True)
    assert len({round(s, 9) for s in shares(FILES, MAXIMUM)}) > 3

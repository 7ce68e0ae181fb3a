"""What of a carrier is left for data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_core.exceptions import InvalidSettings
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.radio.overhead import Overhead, TddPattern, sending_share

PRBS, SCS = torch.tensor(51.0, dtype=torch.float64), torch.tensor(30.0, dtype=torch.float64)

overheads = st.builds(
    Overhead,
    ssb_beams=st.integers(0, 8),
    ssb_period_ms=st.sampled_from([5, 10, 20, 40, 80, 160]),
    pdcch_symbols=st.integers(0, 3),
    pdcch_share=st.floats(0, 1),
    dmrs_elements=st.sampled_from([6, 12, 24]),
    csi_rs_ports=st.sampled_from([0, 1, 4, 32]),
    tdd=st.sampled_from([None, TddPattern(), TddPattern(10, 7, 2, 6, 4)]),
)
carriers = st.tuples(st.integers(1, 275), st.sampled_from([15, 30, 60, 120])).map(
    lambda c: (torch.tensor(float(c[0]), dtype=torch.float64), torch.tensor(float(c[1]), dtype=torch.float64))
)


def test_defaults_leave_what_38_306_does() -> None:
    """0.14 of the downlink below 6 GHz (TS 38.306 4.1.2); signal by signal it is 0.148 at 20 MHz and 30 kHz."""
    assert float(Overhead().data_share(PRBS, SCS)) == pytest.approx(1 - 0.14, abs=0.01)
    assert float(Overhead().data_share(PRBS, SCS)) == pytest.approx(1 - 0.148, abs=5e-4)


def test_a_grid_of_resource_elements_counts_the_same() -> None:
    """Every element of 160 ms marked by hand."""
    overhead = Overhead(ssb_beams=2, pdcch_symbols=2, trs_period_ms=40.0, csi_rs_period_ms=10.0)
    grid = np.full((320, 14, 51 * 12), ".")
    grid[:, :2] = "p"
    for slot in range(0, 320, 40):
        for first in (2, 8):
            grid[slot, first : first + 4, :240] = "s"
    marked = {name: float(share) for name, share in overhead.shares(PRBS, SCS).items()}
    assert marked["ssb"] == pytest.approx((grid == "s").mean())
    assert marked["pdcch"] == pytest.approx((grid == "p").mean())
    # One symbol of every scheduled block; where synchronisation stands, none is scheduled.
    free = (grid == ".").mean()
    assert marked["dmrs"] == pytest.approx(free / 12, rel=1e-9)
    assert marked["csi_rs"] == pytest.approx(16 * 51 * 4 / grid.size)
    assert marked["trs"] == pytest.approx(4 * 51 * 12 / grid.size)


@given(overheads, carriers)
@settings(max_examples=50, deadline=None)
def test_shares_are_shares(overhead: Overhead, carrier: tuple[torch.Tensor, torch.Tensor]) -> None:
    taken = overhead.shares(*carrier)
    assert all(0 <= float(share) <= 1 for share in taken.values())
    data = float(overhead.data_share(*carrier))
    assert 0 <= data <= overhead.downlink_share
    assert data + overhead.downlink_share * sum(map(float, taken.values())) >= overhead.downlink_share - 1e-9
    assert 0 <= float(overhead.idle_share(*carrier)) <= 1


@given(overheads, carriers)
@settings(max_examples=30, deadline=None)
def test_more_signals_leave_less_data(overhead: Overhead, carrier: tuple[torch.Tensor, torch.Tensor]) -> None:
    before = float(overhead.data_share(*carrier))
    more = (
        replace(overhead, ssb_beams=overhead.ssb_beams + 1),
        replace(overhead, pdcch_symbols=min(3, overhead.pdcch_symbols + 1)),
        replace(overhead, dmrs_elements=overhead.dmrs_elements + 6),
        replace(overhead, ssb_period_ms=max(5, overhead.ssb_period_ms / 2)),
    )
    assert all(float(o.data_share(*carrier)) <= before + 1e-12 for o in more)


def test_wider_carriers_pay_less_for_synchronisation() -> None:
    wide = Overhead(ssb_beams=8).data_share(torch.tensor([25.0, 51.0, 106.0, 273.0]), torch.tensor(30.0))
    assert bool((wide.diff() > 0).all())


def test_tdd_gives_each_direction_its_slots_and_the_guard_to_none() -> None:
    pattern = TddPattern()
    assert pattern.downlink_share + pattern.guard_share + 16 / 70 == pytest.approx(1)
    shared = Overhead(tdd=pattern).data_share(PRBS, SCS)
    assert float(shared) < pattern.downlink_share * float(Overhead().data_share(PRBS, SCS))


def test_a_network_counts_each_carrier_by_itself() -> None:
    narrow, wide = (Network.of(hexagonal(sites=1, prbs=prbs)) for prbs in (51, 273))
    per_block = [float(n.kbps_per_efficiency[0] / n.prbs[0]) for n in (narrow, wide)]
    assert per_block[0] == pytest.approx(360 * 0.8522, rel=1e-3)
    assert per_block[0] < per_block[1]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_cell_never_sends_less_than_what_it_sends_idle(load: float, more: float, idle: float) -> None:
    low, high = sending_share(torch.tensor([load, min(1.0, load + more)], dtype=torch.float64), idle).tolist()
    assert idle - 1e-12 <= low <= high <= 1 + 1e-12
    # Load times a factor never sends more than that factor as much: a load coupling keeps its one solution.
    assert low <= idle + load


def test_numbers_that_no_carrier_has_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="pdcch_symbols is 4"):
        Overhead(pdcch_symbols=4)
    with pytest.raises(InvalidSettings, match="ssb_period_ms"):
        Overhead(ssb_period_ms=float("nan"))
    with pytest.raises(InvalidSettings, match="does not fit"):
        TddPattern(downlink_slots=5)

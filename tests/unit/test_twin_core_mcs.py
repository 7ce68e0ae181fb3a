"""Modulation, effective SINR, block errors and what gets through: tables against others' copies, order and limits."""

import math

import numpy as np
import pytest
import torch
from CRRM.MCS_lookup_tables import MCS_index_table_1, MCS_index_table_2
from handoverlab import linklevel
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_core.exceptions import InvalidSettings
from twin_core.radio import link, modulation
from twin_core.radio.mcs import CQI, MCS_64QAM, MCS_256QAM, LinkAdaptation, SchemeTable, thresholds_db

DB = torch.arange(-15, 40, 0.1, dtype=torch.float64)
SINR = 10 ** (DB / 10)
TABLES = pytest.mark.parametrize("table", [CQI, MCS_64QAM, MCS_256QAM], ids=lambda t: t.name)
sinrs = st.lists(st.floats(-25, 40), min_size=1, max_size=12).map(
    lambda db: 10 ** (torch.tensor(db, dtype=torch.float64) / 10)
)


@pytest.mark.parametrize(
    ("mine", "theirs"), [(MCS_64QAM, MCS_index_table_1[:29]), (MCS_256QAM, MCS_index_table_2[:28])]
)
def test_schemes_are_those_of_38_214(mine: SchemeTable, theirs: np.ndarray) -> None:
    table = np.column_stack([range(len(mine.orders)), mine.orders, mine.rates, mine.efficiency])
    assert np.array_equal(table, theirs)


def test_cqis_are_those_of_38_214() -> None:
    assert tuple(zip(CQI.orders, CQI.rates, strict=True)) == linklevel.CQI_TABLE1
    assert CQI.efficiency[::7] == (0.1523, 1.9141, 5.5547)


@pytest.mark.parametrize("order", modulation.ORDERS)
def test_information_of_a_bit_is_that_of_another_implementation(order: int) -> None:
    theirs = linklevel.bit_capacity(order, DB.numpy().clip(-15, 35))
    mine = modulation.information(SINR.clamp_max(10**3.5), order).numpy()
    assert np.abs(mine - theirs).max() < 2e-4


def test_qpsk_loses_what_two_binary_channels_lose() -> None:
    # Of antipodal signals in noise, by direct integration.
    z = np.linspace(-12, 12, 20001)
    weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    for sinr in (0.1, 1.0, 5.0):
        lost = (weight * np.log2(1 + np.exp(-2 * sinr - 2 * math.sqrt(sinr) * z))).sum()
        assert float(modulation.information(torch.tensor(sinr, dtype=torch.float64), 2)) == pytest.approx(
            1 - lost, abs=1e-4
        )


@given(sinrs, st.sampled_from(modulation.ORDERS))
@settings(max_examples=20, deadline=None)
def test_effective_sinr_lies_between_the_worst_and_the_best(sinr: torch.Tensor, order: int) -> None:
    found = float(modulation.effective_sinr(sinr, order))
    assert float(sinr.min()) * (1 - 1e-6) <= found <= float(sinr.max()) * (1 + 1e-6)
    assert found == pytest.approx(float(modulation.effective_sinr(sinr.flip(0), order)))


@given(sinrs, st.floats(0.1, 10), st.sampled_from(modulation.ORDERS))
@settings(max_examples=20, deadline=None)
def test_effective_sinr_rises_with_each_of_its_parts(sinr: torch.Tensor, more_db: float, order: int) -> None:
    better = sinr.clone()
    better[0] *= 10 ** (more_db / 10)
    assert float(modulation.effective_sinr(better, order)) >= float(modulation.effective_sinr(sinr, order)) * (1 - 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flat_channel_is_its_own_effective_sinr(dtype: torch.dtype) -> None:
    flat = (10 ** (torch.linspace(-29, 44, 200, dtype=torch.float64) / 10)).to(dtype)
    for order in modulation.ORDERS:
        found = modulation.effective_sinr(flat.expand(5, -1), order, dim=0)
        assert torch.allclose(found, flat, rtol=1e-3 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("resource_elements", [300, 1000])
def test_schemes_hold_from_where_another_implementation_says(resource_elements: int) -> None:
    """One code block each, so that both compute the same; their dispersion is that of a random interleaver."""
    found = thresholds_db(LinkAdaptation(resource_elements=resource_elements))
    db = np.arange(-15, 30, 0.01)
    for m in (0, 5, 9, 10, 16):
        order, rate = linklevel.MCS_TABLE1[m]
        bits = round(resource_elements * order * rate / 1024)
        errors = linklevel.bler(db, m, bits - 24, resource_elements * order)
        assert found[m] == pytest.approx(db[(errors <= 0.1).argmax()], abs=0.04)


def test_schemes_hold_above_the_shannon_bound() -> None:
    for table in (CQI, MCS_64QAM, MCS_256QAM):
        perfect = LinkAdaptation(table, loss_db=0.0, resource_elements=50_000)
        bound = [10 * math.log10(2**e - 1) for e in table.efficiency]
        assert all(found > least for found, least in zip(thresholds_db(perfect), bound, strict=True))


@TABLES
@given(sinr_db=st.floats(-20, 40), more_db=st.floats(0.001, 10), n=st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_more_sinr_means_fewer_errors_and_more_that_arrives(
    table: SchemeTable, sinr_db: float, more_db: float, n: int
) -> None:
    adaptation = LinkAdaptation(table)
    both = 10 ** (torch.tensor([sinr_db, sinr_db + more_db], dtype=torch.float64) / 10)
    worse, better = adaptation.bler(both, n)
    assert bool((better <= worse + 1e-12).all())
    assert bool((worse >= 0).all())
    assert bool((worse <= 1).all())
    low, high = adaptation.rate(both).tolist()
    assert 0 <= low <= high <= max(table.efficiency) + 1e-9
    more, fewer = adaptation.mean_transmissions(both)
    assert bool((fewer <= more + 1e-9).all())
    assert bool((more <= adaptation.transmissions).all())


@given(st.floats(-20, 40))
@settings(max_examples=20, deadline=None)
def test_retransmissions_only_help(sinr_db: float) -> None:
    sinr = torch.tensor(10 ** (sinr_db / 10), dtype=torch.float64)
    once, again = LinkAdaptation().bler(sinr), LinkAdaptation().bler(sinr, 2)
    assert bool((again <= once + 1e-12).all())
    with_them = LinkAdaptation(transmissions=4).goodput(sinr)
    without = LinkAdaptation(transmissions=1).goodput(sinr)
    assert torch.allclose(without, torch.tensor(MCS_64QAM.efficiency, dtype=torch.float64) * (1 - once))
    assert bool((with_them >= without - 1e-9).all())


def test_what_arrives_is_what_a_simulation_of_retransmissions_delivers() -> None:
    adaptation = LinkAdaptation(transmissions=3)
    sinr = torch.tensor(10**0.1, dtype=torch.float64)
    m = int((adaptation.bler(sinr) > 0.5).double().argmax())
    failed = [float(adaptation.bler(sinr, n)[m]) for n in (1, 2, 3)]
    draws = np.random.default_rng(3).uniform(size=200_000)
    sent = 1 + (draws < failed[0]) + (draws < failed[1])
    delivered = (draws >= failed[2]).sum() * MCS_64QAM.efficiency[m] / sent.sum()
    assert float(adaptation.goodput(sinr)[m]) == pytest.approx(delivered, rel=0.01)


def test_the_chosen_scheme_keeps_to_its_target_and_none_that_does_brings_more() -> None:
    for target in (0.1, 1e-5):
        adaptation = LinkAdaptation(target_bler=target)
        chosen = adaptation.choose(SINR)
        assert chosen.min() == -1
        served = chosen >= 0
        errors = adaptation.bler(SINR)[served].gather(1, chosen[served, None])
        assert float(errors.max()) <= target
        allowed = adaptation.allowed(SINR) * adaptation.goodput(SINR)
        assert torch.equal(adaptation.rate(SINR), allowed.amax(dim=1))
        assert bool((adaptation.rate(SINR)[~served] == 0).all())


def test_urllc_pays_for_its_errors_with_sinr() -> None:
    usual, strict = thresholds_db(LinkAdaptation()), thresholds_db(LinkAdaptation(target_bler=1e-5))
    apart = np.subtract(strict, usual)
    assert (apart > 0.2).all()
    assert (apart < 2).all()


def test_errors_are_the_same_in_both_precisions() -> None:
    single = LinkAdaptation().bler(SINR.float()).double()
    assert torch.allclose(single, LinkAdaptation().bler(SINR), atol=1e-3)


def test_a_twin_may_take_its_efficiency_from_schemes() -> None:
    for adaptation in (LinkAdaptation(), LinkAdaptation(MCS_256QAM, target_bler=1e-5)):
        fine = torch.logspace(-3, 3.9, 4000, dtype=torch.float64)
        found = link.efficiency(fine, 3.0, adaptation)
        assert bool((found.diff() >= 0).all())
        # Never faster than SINR itself: the load coupling needs that.
        assert bool(((found / fine).diff() <= (found / fine)[:-1] * 1e-4).all())
        assert float(found[-1]) == pytest.approx(max(adaptation.schemes.efficiency), rel=1e-3)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="between 0 and 1"):
        LinkAdaptation(target_bler=1.0)
    with pytest.raises(InvalidSettings, match="at least 1"):
        LinkAdaptation(transmissions=0)
    with pytest.raises(InvalidSettings, match="no modulation"):
        modulation.bit_channel(3)

"""Power of TR 38.864: states, gaps and what fills them, and the prior that telemetry starts from."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_core.exceptions import InvalidSettings
from twin_core.flow import power, sleep_states
from twin_core.flow.sleep_states import CATEGORY_1, CATEGORY_2, Activity, BaseStation, Sleep, cell_power

STATIONS = CATEGORY_1 + CATEGORY_2
stations = st.sampled_from(STATIONS)
activities = st.builds(
    Activity,
    ssb_beams=st.integers(0, 8),
    ssb_period_ms=st.sampled_from([5.0, 20.0, 80.0, 160.0, 30_000.0]),
    stretches=st.floats(1, 40),
    filled=st.floats(0.05, 1),
)


def _of(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("station", STATIONS)
def test_deeper_sleep_takes_less_and_costs_more_to_leave(station: BaseStation) -> None:
    micro, light, deep = station.sleep
    assert deep < light < micro < station.uplink < station.downlink
    assert station.transition_ms[0] == station.transition_energy[0] == 0
    assert all(a < b for a, b in itertools.pairwise(station.transition_ms))
    assert all(a < b for a, b in itertools.pairwise(station.transition_energy))


@given(stations, st.floats(0.1, 60_000))
@settings(max_examples=30, deadline=None)
def test_a_gap_is_slept_through_as_cheaply_as_its_length_allows(station: BaseStation, gap: float) -> None:
    costs = {
        sleep: station.sleep[sleep] * gap + station.transition_energy[sleep]
        for sleep in Sleep
        if gap >= station.transition_ms[sleep]
    }
    assert float(station.gap_energy(_of(gap))) == pytest.approx(min(costs.values()))
    assert costs[Sleep(int(station.deepest(_of(gap))))] == pytest.approx(min(costs.values()))
    assert float(station.gap_energy(_of(gap), Sleep.MICRO)) == pytest.approx(station.static * gap)


def test_fast_equipment_sleeps_as_soon_as_it_can_slow_equipment_when_it_pays() -> None:
    """Where the transition time decides in category 1, energy does in the deep sleep of category 2: 15912 / 1.1 ms."""
    below, above = (CATEGORY_1[0].deepest(torch.tensor(gaps)).tolist() for gaps in ([5.9, 49.9], [6.1, 50.1]))
    assert (below, above) == ([Sleep.MICRO, Sleep.LIGHT], [Sleep.LIGHT, Sleep.DEEP])
    slow = CATEGORY_2[0].deepest(torch.tensor([639.0, 641.0, 14_400.0, 14_500.0]))
    assert slow.tolist() == [Sleep.MICRO, Sleep.LIGHT, Sleep.LIGHT, Sleep.DEEP]


def test_synchronisation_bursts_keep_an_idle_cell_from_deep_sleep() -> None:
    idle = _of(0.0)

    def at(period_ms: float, station: BaseStation = CATEGORY_1[0]) -> float:
        return float(cell_power(station, idle, Activity(ssb_beams=4, ssb_period_ms=period_ms)))

    usual, longer = at(20.0), at(160.0)
    assert CATEGORY_1[0].sleep[Sleep.LIGHT] < usual < CATEGORY_1[0].static
    assert longer < 0.5 * usual
    # Slow equipment cannot sleep between bursts of either period.
    assert all(at(p, CATEGORY_2[0]) >= CATEGORY_2[0].static for p in (20.0, 160.0))


@given(stations, activities, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_power_rises_with_load_power_and_chains_and_stays_within_its_states(
    station: BaseStation, activity: Activity, load: float, more: float, share: float
) -> None:
    low, high = cell_power(station, torch.tensor([load, min(1.0, load + more)], dtype=torch.float64), activity)
    assert float(low) <= float(high) * (1 + 1e-9)
    assert station.sleep[Sleep.DEEP] <= float(low)
    assert float(high) <= station.downlink * (1 + 1e-9)
    most = float(cell_power(station, _of(load), activity)) * (1 + 1e-9)
    assert float(cell_power(station, _of(load), activity, power=share)) <= most
    assert float(cell_power(station, _of(load), activity, chains=share)) <= most
    assert float(low) <= float(cell_power(station, _of(load), activity, allowed=Sleep.LIGHT)) * (1 + 1e-9)


@given(stations, activities, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_receiving_costs_something(station: BaseStation, activity: Activity, load: float, uplink: float) -> None:
    without = cell_power(station, _of(load), activity)
    assert float(cell_power(station, _of(load), activity, uplink_load=uplink)) >= float(without) * (1 - 1e-9)


@given(stations, st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_filled_slots_with_gaps_cost_less_than_all_slots_a_little(station: BaseStation, load: float) -> None:
    gathered = cell_power(station, _of(load), Activity(filled=1.0))
    spread = cell_power(station, _of(load), Activity(filled=0.1))
    assert float(gathered) <= float(spread) * (1 + 1e-9)


def test_the_formula_of_sending_is_that_of_the_report() -> None:
    """Values that the report's formula gives by hand, category 1, set 1, A = 0.4."""
    station = CATEGORY_1[0]
    assert float(station.sending()) == pytest.approx(280)
    assert float(station.sending(blocks=0.0)) == pytest.approx(145)
    assert float(station.sending(chains=0.5)) == pytest.approx(167.5)
    assert float(station.sending(power=0.5)) == pytest.approx(55 + 225 * 0.7)
    assert float(station.receiving()) == pytest.approx(110)
    assert station.ratios(100.0, 55.0, 64) == pytest.approx((1, 1, 1))
    with pytest.raises(InvalidSettings, match="take a larger one"):
        station.ratios(200.0, 55.0, 64)


def test_a_slot_by_slot_account_agrees() -> None:
    """Category 1, set 1: 40 slots of 0.5 ms, an SS/PBCH block, 12 full slots behind it, the rest asleep."""
    activity = Activity()
    sent, signals = 12 * 0.5, activity.ssb_share * 20
    gap = 20 - sent - signals * 0.7  # signals share slots with data in the same proportion as all others
    station = CATEGORY_1[0]
    energy = sent * 280 + signals * 0.7 * float(station.sending(20 / 51)) + gap * 25 + 90
    assert float(cell_power(station, _of(0.3), activity)) == pytest.approx(energy / 20)


def test_the_prior_is_the_report_in_watts() -> None:
    assert power.PRIOR_WATTS == (62.5, 137.5, 562.5)
    # By load it is the report's cell that fills slots and sleeps no deeper than micro sleep, signals left out.
    model = power.PowerModel(torch.tensor(power.PRIOR_WATTS, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    load = torch.linspace(0, 1, 11, dtype=torch.float64)
    on, one = torch.ones(11, dtype=torch.bool), torch.ones(11, dtype=torch.float64)
    watts = power.cell_power_w(model, load, on, one, torch.zeros(11, dtype=torch.long))
    silent = Activity(ssb_beams=0)
    report = cell_power(CATEGORY_1[0], load, silent, allowed=Sleep.MICRO) * power.WATT_PER_UNIT
    assert torch.allclose(watts, report)


def test_switching_off_pays_after_as_long_as_its_energy_is_of_the_power_saved() -> None:
    asleep, idle, _ = power.PRIOR_WATTS
    pays_after_ms = power.transition_energy_j() * 1000 / (idle - asleep)
    assert pays_after_ms == pytest.approx(3)  # 90 / (55 - 25)
    slow = power.transition_energy_j(CATEGORY_2[0], watt_per_unit=700 / 32, sleep=Sleep.DEEP)
    assert slow == pytest.approx(371.9, abs=0.1)


def test_what_load_adds_shrinks_with_transmit_power() -> None:
    less, rated = torch.tensor([43.0]), torch.tensor([46.0])
    amplifier = float(power.dynamic_share(less, rated))
    assert amplifier == pytest.approx(0.501, abs=1e-3)
    fixed = sleep_states.FIXED_PART
    assert float(power.dynamic_share(less, rated, fixed)) == pytest.approx(fixed + (1 - fixed) * amplifier)


def test_activity_that_no_carrier_has_is_refused() -> None:
    for bad in ({"ssb_beams": 65}, {"stretches": 0.5}, {"filled": 0.0}, {"ssb_period_ms": float("nan")}):
        with pytest.raises(InvalidSettings, match="give"):
            Activity(**bad)

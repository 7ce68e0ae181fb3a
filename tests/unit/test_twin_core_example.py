"""The synthetic network of examples, and the fans that roll-outs are drawn as."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twin_core.example import Crowd, observations
from twin_core.exceptions import InvalidFile, InvalidScenarios, InvalidSettings, UnknownObject
from twin_core.exchange.fans import draw_fan, quantiles
from twin_core.exchange.picture import draw_map
from twin_core.exchange.radio_map import rsrp_map, server_map
from twin_core.fidelity import RSRP
from twin_core.kpis import KPIS, POWER, PRB, THROUGHPUT
from twin_core.layouts import hexagonal
from twin_core.rollout import Trajectory
from twin_core.settings import TwinSettings
from twin_core.twin import ABSURD, Twin

SMALL = hexagonal(sites=3)


def test_a_twin_that_learns_from_it_knows_it_better() -> None:
    learned, ignorant = Twin.create(SMALL), Twin.create(SMALL, TwinSettings(calibrate=False))
    for seen in observations(SMALL, periods=12):
        learned, ignorant = learned.apply(seen, {}), ignorant.apply(seen, {})
    assert learned.gate_open
    assert not ignorant.gate_open
    for kpi in (PRB, THROUGHPUT, RSRP):
        assert learned.fidelity[kpi].score > ignorant.fidelity[kpi].score + 0.1
    assert ABSURD not in learned.marks


def test_the_same_seed_tells_the_same_and_another_another() -> None:
    one, same, other = (list(observations(SMALL, periods=2, seed=s))[-1] for s in (1, 1, 2))
    assert one.mr_cell_rsrp.tobytes() == same.mr_cell_rsrp.tobytes()
    assert one.counters[PRB].tolist() == same.counters[PRB].tolist() != other.counters[PRB].tolist()
    assert (one.period_end_ms, one.granularity_s) == (120_000, 60)


def test_more_traffic_loads_cells_and_slows_users() -> None:
    calm, busy = (list(observations(SMALL, 3, crowd=Crowd(kbps_per_user=k)))[-1] for k in (100, 600))
    assert np.all(busy.counters[PRB] >= calm.counters[PRB])
    assert np.nanmean(busy.counters[THROUGHPUT]) < np.nanmean(calm.counters[THROUGHPUT])
    assert busy.element_power_w.sum() > calm.element_power_w.sum()


def test_who_is_connected_reports_the_cell_that_serves_best() -> None:
    seen = list(observations(SMALL, 2))[-1]
    assert len(seen.mr_serving) == seen.counters["RRC.ConnMean"].sum()
    heard = np.isfinite(seen.mr_cell_rsrp)
    assert heard.sum(axis=1).max() <= 6
    best = np.nan_to_num(seen.mr_cell_rsrp, nan=-200).argmax(axis=1)
    assert (best == seen.mr_serving).mean() > 0.8, "but for errors of measurement"


@pytest.mark.parametrize(("users", "kbps"), [(0, 100), (10, -1), (float("nan"), 100)])
def test_a_crowd_of_nobody_is_refused(users: float, kbps: float) -> None:
    with pytest.raises(InvalidSettings, match="give positive numbers"):
        Crowd(users, kbps)


# Fans.


def trajectory(values: torch.Tensor) -> Trajectory:
    """With these values ([S, T]) as every KPI of the network, and ten times the cell's number more for each cell."""
    network = values[:, :, None].expand(-1, -1, len(KPIS)).double()
    cells = network.unsqueeze(-1) + 10 * torch.arange(9, dtype=torch.float64)
    nothing = torch.zeros(len(values))
    return Trajectory(cells, network, nothing == 0, nothing.long())


WORLDS = trajectory(torch.arange(101)[:, None] + torch.tensor([[0, 100]]))
NETWORK = Twin.create(SMALL).network


def drawn(axes: Axes) -> list[list[float]]:
    """Heights of the lines."""
    return [np.asarray(line.get_ydata()).tolist() for line in axes.get_lines()]


def test_quantiles_are_those_of_the_worlds() -> None:
    assert quantiles(NETWORK, WORLDS, PRB)[:, 0].tolist() == [5, 25, 50, 75, 95]
    assert quantiles(NETWORK, WORLDS, PRB, shares=(0.5,)).tolist() == [[50, 150]]
    assert quantiles(NETWORK, WORLDS, PRB, "gnb2-1", (0.5,)).tolist() == [[80, 180]]
    assert quantiles(NETWORK, WORLDS, PRB, SMALL.cell_names[3], (0.5,)).tolist() == [[80, 180]]


def test_worlds_where_there_is_nothing_to_measure_do_not_count() -> None:
    values = WORLDS.network[:, :, 0].clone()
    values[:51] = torch.nan
    assert quantiles(NETWORK, trajectory(values), THROUGHPUT, shares=(0.0,)).tolist() == [[51, 151]]
    assert bool(quantiles(NETWORK, trajectory(values * torch.nan), THROUGHPUT).isnan().all())


def test_against_another_each_world_is_compared_with_itself() -> None:
    worse = trajectory(WORLDS.network[:, :, 0] + 3)
    assert quantiles(NETWORK, worse, PRB, against=WORLDS).tolist() == [[3, 3]] * 5
    with pytest.raises(InvalidScenarios, match="same scenarios"):
        quantiles(NETWORK, replace(worse, network=worse.network[:7]), PRB, against=WORLDS)


def test_a_fan_has_a_line_and_two_bands_for_each_trajectory() -> None:
    axes = Figure().add_subplot()
    draw_fan(axes, NETWORK, {"now": WORLDS, "then": trajectory(WORLDS.network[:, :, 0] + 3)}, POWER)
    assert [line.get_label() for line in axes.get_lines()] == ["now", "then"]
    assert drawn(axes) == [[50, 150], [53, 153]]
    assert np.asarray(axes.get_lines()[0].get_xdata()).tolist() == [1, 2]
    assert len(axes.collections) == 4
    assert (axes.get_title(), axes.get_ylabel(), axes.get_xlabel()) == ("Power, network", "W", "minutes ahead")
    strokes = {line.get_linestyle() for line in axes.get_lines()}
    assert len(strokes) == 2, "told apart without colour too"


def test_a_fan_of_changes_leaves_out_what_it_is_drawn_against() -> None:
    axes = Figure().add_subplot()
    both = {"now": WORLDS, "then": trajectory(WORLDS.network[:, :, 0] + 3)}
    draw_fan(axes, NETWORK, both, PRB, "gnb1-2", against="now")
    assert drawn(axes) == [[3, 3], [0, 0]]
    assert "gnb1-2: change against «now»" in axes.get_title()
    assert axes.get_ylabel() == "% points"


def test_fans_of_what_there_is_not_are_refused() -> None:
    axes = Figure().add_subplot()
    with pytest.raises(UnknownObject, match="predicts no KPI"):
        draw_fan(axes, NETWORK, {"now": WORLDS}, "RRC.Sessions")
    with pytest.raises(UnknownObject, match="has no cell"):
        draw_fan(axes, NETWORK, {"now": WORLDS}, PRB, "gnb9-1")
    with pytest.raises(UnknownObject, match="no trajectory 'before'"):
        draw_fan(axes, NETWORK, {"now": WORLDS}, PRB, against="before")
    with pytest.raises(InvalidScenarios, match="up to 4"):
        draw_fan(axes, NETWORK, {str(i): WORLDS for i in range(5)}, PRB)


# Maps in a figure of one's own.


def test_each_area_is_named_inside_itself() -> None:
    twin, axes = Twin.create(SMALL), Figure().add_subplot()
    served = server_map(twin)
    draw_map(axes, served)
    names = {text.get_text(): text.get_position() for text in axes.texts}
    assert len(names) == 9
    for i, (x, y) in enumerate(names[f"gnb{i // 3 + 1}-{i % 3 + 1}"] for i in range(9)):
        pixel = twin.network.grid.pixel_of(np.array([1000 * x]), np.array([1000 * y]))
        assert served.values[0, pixel].tolist() == [i]
    with pytest.raises(InvalidFile, match="one band"):
        draw_map(axes, rsrp_map(twin))

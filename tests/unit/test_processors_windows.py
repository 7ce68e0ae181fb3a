"""Event-time windows, and the features made of them."""

import numpy as np
import pytest

from processors.features import COUNTERS, FEATURES, FeatureOperator, features_of
from processors.operator import Step
from processors.windows import Panes, Rows, WindowOperator, WindowSpec, WindowState

MINUTE = 60_000


def row(minute: float, value: float, key: int = 0, element: int = 0) -> Rows:
    return Rows(np.array([element]), np.array([key]), np.array([int(minute * MINUTE)]), np.array([[value]]))


def feed(operator: WindowOperator, rows: list[Rows]) -> tuple[list[Step[WindowState, Panes, Rows]], WindowState]:
    state, steps = operator.initial(), []
    for r in rows:
        step = operator.process(state, r)
        state = step.state
        steps.append(step)
    return steps, state


def contents(steps: list[Step[WindowState, Panes, Rows]]) -> list[tuple[float, int, list[float]]]:
    """(end in minutes, key, values) of each complete window."""
    return [
        (panes.end_ms[w] / MINUTE, int(panes.key[w]), panes.values[a:b, 0].tolist())
        for step in steps
        for panes in step.outputs
        for w, (a, b) in enumerate(zip(panes.first[:-1], panes.first[1:], strict=True))
    ]


def tumbling(lateness: float = 0, elements: int = 1) -> WindowOperator:
    return WindowOperator(elements, 1, WindowSpec(5 * MINUTE, 5 * MINUTE, int(lateness * MINUTE)))


def test_a_window_holds_the_periods_that_end_in_it() -> None:
    steps, _ = feed(tumbling(), [row(m, m) for m in range(1, 11)])
    assert contents(steps) == [(5, 0, [1, 2, 3, 4, 5]), (10, 0, [6, 7, 8, 9, 10])]


def test_sliding_windows_overlap() -> None:
    operator = WindowOperator(1, 1, WindowSpec(3 * MINUTE, MINUTE))
    steps, _ = feed(operator, [row(m, m) for m in range(1, 5)])
    assert contents(steps) == [(1, 0, [1]), (2, 0, [1, 2]), (3, 0, [1, 2, 3]), (4, 0, [2, 3, 4])]


def test_a_window_waits_for_stragglers_as_long_as_it_was_told() -> None:
    rows = [row(m, m) for m in (1, 2, 3, 5, 6, 4, 7)]  # 4 comes when 6 has been seen
    steps, _ = feed(tumbling(lateness=2), rows)
    assert contents(steps) == [(5, 0, [1, 2, 3, 4, 5])]
    steps, _ = feed(tumbling(), rows)
    assert contents(steps) == [(5, 0, [1, 2, 3, 5])]
    assert [late.values.item() for step in steps for late in step.late] == [4]


def test_a_row_for_a_window_that_is_just_complete_is_late_and_not_lost() -> None:
    steps, _ = feed(tumbling(), [row(1, 1), row(5, 5), row(4, 4)])
    assert contents(steps) == [(5, 0, [1, 5])]
    assert [late.values.item() for step in steps for late in step.late] == [4]


def test_a_sliding_window_takes_a_late_row_where_it_is_still_open() -> None:
    operator = WindowOperator(1, 1, WindowSpec(3 * MINUTE, MINUTE))
    steps, _ = feed(operator, [row(1, 1), row(3, 3), row(2, 2), row(4, 4)])
    assert contents(steps) == [(1, 0, [1]), (2, 0, [1]), (3, 0, [1, 3]), (4, 0, [2, 3, 4])]
    assert not any(step.late for step in steps)


def test_each_element_has_its_own_watermark() -> None:
    operator = tumbling(elements=2)
    fast = [row(m, m, key=0, element=0) for m in (1, 6, 11)]
    slow = [row(m, m, key=1, element=1) for m in (1, 2)]
    one, _ = feed(operator, [*fast, *slow])
    other, _ = feed(operator, [fast[0], slow[0], fast[1], slow[1], fast[2]])
    assert contents(one) == contents(other) == [(5, 0, [1]), (10, 0, [6])]
    assert not any(step.late for step in one), "the fast element closes nobody else's windows"


def test_a_mark_completes_windows_of_silent_elements() -> None:
    operator = tumbling(elements=2)
    rows = row(1, 1, key=0, element=0).then(row(2, 2, key=1, element=1)).then(Rows.marks(2, 5 * MINUTE, 1))
    steps, state = feed(operator, [rows])
    assert contents(steps) == [(5, 0, [1]), (5, 1, [2])]
    assert not len(state.rows.key)


def test_a_correction_replaces_the_value_of_its_time() -> None:
    steps, _ = feed(tumbling(), [row(1, 1), row(2, 2), row(1, 10), row(5, 5)])
    assert contents(steps) == [(5, 0, [10, 2, 5])]


@pytest.mark.parametrize(("size", "slide", "lateness"), [(0, 1, 0), (5, 2, 0), (5, 0, 0), (5, 5, -1)])
def test_impossible_windows_are_refused(size: int, slide: int, lateness: int) -> None:
    with pytest.raises(ValueError, match="multiple of slide"):
        WindowSpec(size, slide, lateness)


def panes(values: dict[str, list[float]]) -> Panes:
    """One window of one cell with these counters, a minute apart."""
    n = len(next(iter(values.values())))
    table = np.full((n, len(COUNTERS)), np.nan)
    for name, column in values.items():
        table[:, COUNTERS.index(name)] = column
    times = np.arange(1, n + 1) * MINUTE
    return Panes(np.array([0]), np.array([0]), times[-1:], np.array([0, n]), times, table)


def feature(values: dict[str, list[float]], name: str) -> float:
    return float(features_of(panes(values))[0, FEATURES.index(name)])


def test_counters_are_aggregated_by_their_kind() -> None:
    nan = float("nan")
    assert feature({"DRB.PdcpSduVolumeDL": [1.0, 2.0, nan]}, "DRB.PdcpSduVolumeDL.sum") == 3
    assert feature({"RRC.ConnMean": [1.0, 2.0, nan]}, "RRC.ConnMean.mean") == 1.5
    assert np.isnan(feature({"RRC.ConnMean": [1.0]}, "DRB.PdcpSduVolumeDL.sum")), "not reported is not zero"


def test_a_trend_is_the_slope_per_minute() -> None:
    nan = float("nan")
    assert feature({"RRU.PrbTotDl": [10.0, 12.0, nan, 16.0]}, "RRU.PrbTotDl.trend") == pytest.approx(2.0)
    assert np.isnan(feature({"RRU.PrbTotDl": [10.0, nan]}, "RRU.PrbTotDl.trend"))


def test_ratios_are_of_sums() -> None:
    counters = {"MM.HoExeInterReq": [10.0, 30.0], "MM.HoExeInterFail": [2.0, 2.0], "MM.HoExeInterSucc": [8.0, 28.0]}
    assert feature(counters, "handover_failure_ratio") == pytest.approx(0.1)
    assert feature({"RRC.ConnEstabAtt": [40.0], "RRC.ConnEstabSucc": [39.0]}, "access_failure_ratio") == 1 / 40
    assert np.isnan(feature({"MM.HoExeInterReq": [0.0], "MM.HoExeInterFail": [0.0]}, "handover_failure_ratio"))
    assert feature({"RRU.PrbUsedDl": [53.0, 53.0], "RRU.PrbAvailDl": [106.0, 106.0]}, "prb_utilisation") == 0.5
    assert feature({name: [1.0, float("nan")] for name in COUNTERS}, "missing_ratio") == 0.5


def test_features_come_with_their_windows() -> None:
    operator = FeatureOperator(WindowOperator(1, len(COUNTERS), WindowSpec(2 * MINUTE, 2 * MINUTE)))
    table = np.full((2, len(COUNTERS)), np.nan)
    table[:, COUNTERS.index("RRC.ConnMean")] = [3.0, 5.0]
    rows = Rows(np.array([0, 0]), np.array([4, 4]), np.array([MINUTE, 2 * MINUTE]), table)
    (block,) = operator.process(operator.initial(), rows).outputs
    assert (block.cell.tolist(), block.start_ms.tolist(), block.end_ms.tolist()) == ([4], [0], [2 * MINUTE])
    assert block.values[0, FEATURES.index("RRC.ConnMean.mean")] == 4

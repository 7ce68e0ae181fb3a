"""The forecaster: begins as persistence, learns what repeats, never leaves the physical range."""

import numpy as np
import pytest
from numpy.typing import NDArray

from twin_core.exceptions import InvalidObservation, InvalidSettings
from twin_core.learned.forecast import Forecast, Forecaster, ForecastSettings

Array = NDArray[np.float64]
SETTINGS = ForecastSettings(limits=(50.0, 1000.0), horizons=(1, 4))
NO_CONTEXT = np.zeros((1, 0))


def run(forecaster: Forecaster, series: Array) -> list[Forecast]:
    """Show one cell a series [T, K]."""
    return [forecaster.observe(row[None], NO_CONTEXT) for row in series]


def square_wave(periods: int) -> Array:
    """Four periods at 5, four at 45, and so on; the second KPI follows the first."""
    on = (np.arange(periods) // 4) % 2
    return np.stack([5.0 + 40.0 * on, 100.0 + 800.0 * on], axis=1)


def test_the_first_forecast_is_persistence() -> None:
    made = Forecaster(1, SETTINGS).observe(np.array([[20.0, 300.0]]), NO_CONTEXT)
    assert made.mean[:, 0].tolist() == [pytest.approx([20.0, 300.0])] * 2
    assert made.median.tolist() == made.mean.tolist()
    assert (made.low.min(), made.high[0, 0].tolist()) == (0.0, [50.0, 1000.0])


def test_what_repeats_is_learned_at_every_horizon() -> None:
    series = square_wave(400)
    made = run(Forecaster(1, SETTINGS), series)
    for h, ahead in enumerate(SETTINGS.horizons):
        error = [abs(made[t].mean[h, 0, 0] - series[t + ahead, 0]) for t in range(300, 390)]
        persistence = [abs(series[t, 0] - series[t + ahead, 0]) for t in range(300, 390)]
        assert np.mean(error) < 0.35 * np.mean(persistence)


def test_intervals_hold_what_they_say_and_still_say_something() -> None:
    rng = np.random.default_rng(3)
    level = np.clip(25 + np.cumsum(rng.normal(0, 2, 2000)), 0, 50)
    noisy = np.clip(level + rng.normal(0, 3, 2000), 0, 50)
    series = np.stack([noisy, 20 * noisy], axis=1)
    made = run(Forecaster(1, SETTINGS), series)
    inside = [made[t].low[0, 0, 0] <= noisy[t + 1] <= made[t].high[0, 0, 0] for t in range(1000, 1999)]
    width = [made[t].high[0, 0, 0] - made[t].low[0, 0, 0] for t in range(1000, 1999)]
    assert np.mean(inside) >= 0.86
    assert np.mean(width) < 0.4 * np.ptp(noisy)


def test_nothing_beyond_the_physical_limit_is_forecast_even_from_impossible_input() -> None:
    ramp = np.stack([np.linspace(0, 70, 200), np.linspace(0, 1400, 200)], axis=1)
    for made in run(Forecaster(1, SETTINGS), ramp):
        for part in made:
            assert part.min() >= 0.0
            assert part[..., 0].max() <= 50.0
            assert part[..., 1].max() <= 1000.0


def test_a_missing_value_gives_no_forecast_and_is_not_learned_from() -> None:
    series = square_wave(60)
    holes = series.copy()
    holes[30] = np.nan
    forecaster = Forecaster(1, SETTINGS)
    made = run(forecaster, holes)
    assert np.isnan(made[30].mean).all()
    assert np.isfinite(made[31].mean).all()
    assert np.isfinite(forecaster._gram).all()


def test_cells_that_are_silent_do_not_disturb_the_others() -> None:
    series = square_wave(100)
    alone = run(Forecaster(1, SETTINGS), series)
    both = Forecaster(2, SETTINGS)
    for row, expected in zip(series, alone, strict=True):
        made = both.observe(np.stack([row, [np.nan, np.nan]]), np.zeros((2, 0)))
        assert made.mean[:, 0].tolist() == expected.mean[:, 0].tolist()
        assert np.isnan(made.mean[:, 1]).all()


def test_a_gap_in_time_keeps_horizons_right() -> None:
    # A pulse every four periods; after a gap of three a forecast of before must meet the outcome of its own period.
    series = square_wave(80)
    gapped = Forecaster(1, SETTINGS)
    run(gapped, series[:40])
    gapped.skip(3)
    told = Forecaster(1, SETTINGS)
    run(told, series[:40])
    for _ in range(3):
        told.observe(np.full((1, 2), np.nan), NO_CONTEXT)
    for row in series[43:]:
        assert gapped.observe(row[None], NO_CONTEXT).mean.tolist() == told.observe(row[None], NO_CONTEXT).mean.tolist()


def test_after_a_long_gap_only_what_was_learned_remains() -> None:
    forecaster = Forecaster(1, SETTINGS)
    run(forecaster, square_wave(200))
    forecaster.skip(10_000)
    fresh = forecaster.observe(np.array([[5.0, 100.0]]), NO_CONTEXT)
    again = Forecaster(1, SETTINGS)
    run(again, square_wave(200))
    again.forget_past()
    assert fresh.mean.tolist() == again.observe(np.array([[5.0, 100.0]]), NO_CONTEXT).mean.tolist()


def test_a_frozen_forecaster_learns_nothing() -> None:
    forecaster = Forecaster(1, SETTINGS, learning=False)
    before = forecaster._gram.copy()
    made = run(forecaster, square_wave(40))
    assert forecaster._gram.tolist() == before.tolist()
    assert made[-1].mean[0, 0, 0] == pytest.approx(45.0)


def test_the_same_series_gives_the_same_forecasts() -> None:
    first, second = (run(Forecaster(1, SETTINGS), square_wave(50)) for _ in range(2))
    assert [m.mean.tolist() for m in first] == [m.mean.tolist() for m in second]


def test_settings_and_shapes_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidSettings, match="positive"):
        ForecastSettings(limits=(0.0,))
    with pytest.raises(InvalidSettings, match="ascending"):
        ForecastSettings(limits=(1.0,), horizons=(8, 1))
    with pytest.raises(InvalidObservation, match=r"\(2, 2\)"):
        Forecaster(1, SETTINGS).observe(np.zeros((2, 2)), NO_CONTEXT)

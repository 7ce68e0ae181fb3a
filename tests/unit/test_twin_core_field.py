"""The field model: learns a map from scattered reports, knows its doubt, and adapts to an offset in a few reports."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from twin_core.exceptions import InvalidObservation
from twin_core.learned.field import FieldModel, FieldReports, FieldSettings, learn_offset

NEW = -1


def true_field(position: torch.Tensor) -> torch.Tensor:
    """A smooth field of 8 dB swing around -80 dBm."""
    return -80 + 8 * torch.sin(position[:, 0] / 90) * torch.cos(position[:, 1] / 120)


def reports(n: int, seed: int, session: int = 0, campaign: int = 0, offset_db: float = 0.0) -> FieldReports:
    """Reports at random places of a square of 600 m, 2 dB of noise."""
    generator = torch.Generator().manual_seed(seed)
    position = 600 * torch.rand(n, 2, generator=generator, dtype=torch.float64)
    noise = 2 * torch.randn(n, generator=generator, dtype=torch.float64)
    return FieldReports(
        position,
        torch.zeros(n, dtype=torch.int64),
        torch.full((n,), session),
        torch.full((n,), campaign),
        true_field(position) + noise + offset_db,
    )


def together(*parts: FieldReports) -> FieldReports:
    return FieldReports(
        *(
            torch.cat([getattr(p, name) for p in parts])
            for name in ("position_m", "cell", "session", "campaign", "rsrp_dbm")
        )
    )


def places(position: torch.Tensor, cell: int = 0) -> FieldReports:
    new = torch.full((len(position),), NEW)
    return FieldReports(position, torch.full((len(position),), cell), new, new, torch.full((len(position),), np.nan))


@pytest.fixture(scope="module")
def fitted() -> FieldModel:
    return FieldModel.fit(together(*(reports(40, s, s, s // 2) for s in range(4))))


def rmse(values: torch.Tensor) -> float:
    return float((values**2).mean().sqrt())


def test_it_maps_a_field_better_than_the_nearest_neighbours(fitted: FieldModel) -> None:
    where = reports(400, 9).position_m
    truth = true_field(where)
    knn = KNeighborsRegressor(15).fit(fitted.reports.position_m.numpy(), fitted.reports.rsrp_dbm.numpy())
    nearest = torch.from_numpy(knn.predict(where.numpy()))
    ours = fitted.predict(places(where)).mean_dbm
    assert rmse(ours - truth) < 1.3
    assert rmse(ours - truth) < 0.7 * rmse(nearest - truth)


def test_its_intervals_hold_what_they_say(fitted: FieldModel) -> None:
    seen = reports(600, 10)
    predicted = fitted.predict(places(seen.position_m))
    inside = (seen.rsrp_dbm - predicted.mean_dbm).abs() < 1.645 * predicted.sd_db
    assert 0.86 <= float(inside.double().mean()) <= 1.0


def test_doubt_grows_with_distance_and_far_away_the_border_goes_on(fitted: FieldModel) -> None:
    line = torch.tensor([[300.0, 300.0], [700.0, 300.0], [1200.0, 300.0], [3000.0, 300.0]], dtype=torch.float64)
    predicted = fitted.predict(places(line))
    assert predicted.sd_db.tolist() == sorted(predicted.sd_db.tolist())
    assert -95 < float(predicted.mean_dbm[-1]) < -65


def test_leaving_one_out_is_what_fitting_without_it_would_say() -> None:
    data = reports(25, 3)
    field = FieldModel.fit(data)
    left_out = field.leave_one_out()
    for i in (0, 7, 24):
        others = torch.arange(25) != i
        # The same parameters on the other reports: the formula is exact, so compare by brute force.
        rest = _refit(field, data.take(others))
        there = rest.predict(data.take(torch.tensor([i])))
        assert float(left_out.mean_dbm[i]) == pytest.approx(float(there.mean_dbm[0]), abs=1e-6)


def _refit(field: FieldModel, data: FieldReports) -> FieldModel:
    """The same parameters resting on other reports."""
    from twin_core.learned.field import _distance, _shared, _solve

    p = {name: torch.tensor(value, dtype=torch.float64) for name, value in field.parameters.items()}
    factor, ones, mean, residual = _solve(_distance(data, data), _shared(data, data), data.rsrp_dbm, p, field.settings)
    weights = torch.cholesky_solve(residual, factor)
    return FieldModel(field.settings, data, field.parameters, float(mean), factor, weights, ones)


def test_days_that_differ_do_not_bend_the_map() -> None:
    days = together(*(reports(40, s, s, s, offset_db=o) for s, o in enumerate((-8.0, 0.0, 8.0))))
    field = FieldModel.fit(days)
    where = reports(300, 11).position_m
    error = field.predict(places(where)).mean_dbm - true_field(where)
    assert float(error.std()) < 1.8
    assert field.offset_sd_db > 3


def test_an_offset_is_learned_from_a_few_reports_and_small_ones_are_doubted(fitted: FieldModel) -> None:
    where = reports(5, 12)
    predicted = fitted.predict(places(where.position_m))
    shifted = learn_offset(where.rsrp_dbm + 12 - predicted.mean_dbm, 5, predicted.sd_db, fitted.offset_sd_db)
    assert shifted.mean_db == pytest.approx(12, abs=3)
    assert 0 < shifted.sd_db < 2
    single = learn_offset(torch.tensor([1.0]), 1, predicted.sd_db[:1], fitted.offset_sd_db)
    assert 0 < single.mean_db < 1
    assert learn_offset(torch.zeros(0), 0, predicted.sd_db[:0], 2.0).sd_db == 2.0


def test_cells_have_levels_of_their_own() -> None:
    first = reports(40, 1)
    second = reports(40, 2, offset_db=-15.0)
    second = FieldReports(
        second.position_m, torch.ones(40, dtype=torch.int64), second.session, second.campaign, second.rsrp_dbm
    )
    field = FieldModel.fit(together(first, second))
    where = reports(200, 13).position_m
    gap = field.predict(places(where, 0)).mean_dbm - field.predict(places(where, 1)).mean_dbm
    assert float(gap.mean()) == pytest.approx(15, abs=3)


def test_cost_is_bounded_and_what_is_kept_covers_the_map() -> None:
    crowd = FieldReports(
        *(torch.cat([getattr(reports(30, 5), n), getattr(reports(1, 6), n).repeat_interleave(500, 0)])
          for n in ("position_m", "cell", "session", "campaign", "rsrp_dbm"))
    )  # fmt: skip
    field = FieldModel.fit(crowd, FieldSettings(max_reports=40, steps=5))
    assert len(field.reports) == 40
    kept = {tuple(p) for p in field.reports.position_m.tolist()}
    assert kept >= {tuple(p) for p in reports(30, 5).position_m.tolist()}


def test_the_same_reports_give_the_same_field() -> None:
    means = [FieldModel.fit(reports(30, 4)).predict(places(reports(9, 1).position_m)).mean_dbm for _ in range(2)]
    assert means[0].tolist() == means[1].tolist()


def test_too_few_usable_reports_and_wrong_columns_are_refused() -> None:
    blank = reports(5, 1)
    with pytest.raises(InvalidObservation, match="at least 3 reports"):
        FieldModel.fit(
            FieldReports(
                blank.position_m,
                blank.cell,
                blank.session,
                blank.campaign,
                torch.full((5,), np.nan, dtype=torch.float64),
            )
        )
    with pytest.raises(InvalidObservation, match=r"positions \[5, 2\]"):
        FieldReports(blank.position_m[:3], blank.cell, blank.session, blank.campaign, blank.rsrp_dbm)

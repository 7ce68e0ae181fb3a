"""Scores: errors, skill, and intervals that count blocks, not values."""

import json

import numpy as np
import pytest

from infra.datasets.scores import finite, score


def test_errors_and_skill_of_a_case_worked_by_hand() -> None:
    observed = np.array([0.0, 0.0, 4.0, 4.0])
    result = score(
        "x", "all", observed, peer=observed + 2, block=np.arange(4), centre=observed + np.array([1.0, -1, 1, -1]),
        low=observed - 1, high=np.array([1.0, -0.5, 5.0, 5.0]),
    )  # fmt: skip
    assert (result.mae.ours, result.mae.peer, result.mae.skill) == (1.0, 2.0, 0.5)
    assert (result.rmse.ours, result.rmse.peer, result.rmse.skill) == (1.0, 2.0, 0.5)
    assert result.bias == 0.0
    assert result.coverage == 0.75
    assert (result.rmse.low, result.rmse.high) == (0.5, 0.5)  # every resample says the same


def test_median_and_mean_are_each_judged_by_the_error_they_are_best_under() -> None:
    observed = np.array([0.0, 0.0, 0.0, 8.0])
    result = score(
        "x", "all", observed, observed + 1, np.arange(4), centre=np.full(4, observed.mean()), middle=np.zeros(4)
    )
    assert result.mae.ours == 2.0
    assert result.rmse.ours == pytest.approx(observed.std())


def test_repeating_values_within_their_blocks_does_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    observed, ours, peer = rng.normal(size=(3, 40))
    once = score("x", "", observed, peer, np.arange(40), centre=ours)
    often = score(
        "x", "", np.repeat(observed, 50), np.repeat(peer, 50), np.repeat(np.arange(40), 50), centre=np.repeat(ours, 50)
    )
    assert often.n == 2000
    assert often.blocks == 40
    assert (often.rmse.low, often.rmse.high) == pytest.approx((once.rmse.low, once.rmse.high))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Two ways that are equally good: 90 % of the intervals should hold skill 0.
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(100):
        observed, ours, peer = rng.normal(size=(3, 60))
        skill = score("x", "", observed, peer, np.arange(60), centre=ours).rmse
        inside += skill.low <= 0 <= skill.high
    assert 80 <= inside <= 98


def test_what_is_undefined_is_null_in_json() -> None:
    result = score("x", "", np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64), centre=np.zeros(0))
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["rmse"]["skill"] is None
    assert finite({"a": (np.float64("inf"), 1)}) == {"a": [None, 1]}

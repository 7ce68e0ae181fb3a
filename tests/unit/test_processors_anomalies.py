"""Anomaly scores: what is usual scores low, what is not scores high, and a fault does not become normal."""

import numpy as np
import pytest

from processors.anomalies import NAMES, THRESHOLD, WATCHED, AnomalyBlock, AnomalyOperator, AnomalyState
from processors.exceptions import WrongState
from processors.features import FEATURES, FeatureBlock

CELLS = 3
MINUTE_MS = 60_000
MOVING = [i for i, name in enumerate(FEATURES) if name.endswith(".trend")]


def block(minute: int, rng: np.random.Generator, load: float = 40.0, still: bool = False) -> FeatureBlock:
    """A window of every cell: cell 0 as told, the others as usual."""
    values = rng.normal(size=(CELLS, len(FEATURES)))
    for name, usual in zip(WATCHED, (40.0, 2e4, 2e5, 12.0, 9.0, 0.01, 0.02, 0.1, 0.3), strict=True):
        values[:, FEATURES.index(name)] = usual * rng.normal(1.0, 0.05, CELLS)
    values[0, FEATURES.index("RRU.PrbTotDl.mean")] = load * rng.normal(1.0, 0.05)
    if still:
        values[0, MOVING] = 0.0
    cells = np.arange(CELLS)
    return FeatureBlock(cells, np.full(CELLS, (minute - 5) * MINUTE_MS), np.full(CELLS, minute * MINUTE_MS), values)


def learned(
    minutes: int = 60, seed: int = 0
) -> tuple[AnomalyOperator, AnomalyState, np.random.Generator, list[AnomalyBlock]]:
    operator, rng = AnomalyOperator(CELLS), np.random.default_rng(seed)
    step = operator.process(operator.initial(), [block(m, rng) for m in range(minutes)])
    return operator, step.state, rng, list(step.outputs)


def test_a_usual_day_scores_low_and_nothing_before_it_is_known_what_is_usual() -> None:
    _, _, _, blocks = learned(300)
    scores = np.array([b.score for b in blocks])
    assert not scores[:20].any()
    assert (scores >= THRESHOLD).mean() < 0.002
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize(
    ("changed", "feature"),
    [({"load": 98.0}, "RRU.PrbTotDl.mean"), ({"load": 0.0}, "RRU.PrbTotDl.mean"), ({"still": True}, "still_ratio")],
)
def test_what_is_not_usual_stands_out_by_cell_and_feature(changed: dict[str, float], feature: str) -> None:
    operator, state, rng, _ = learned()
    (found,) = operator.process(state, [block(60, rng, **changed)]).outputs  # type: ignore[arg-type]
    assert found.score[0] > THRESHOLD
    assert NAMES[found.feature[0]] == feature
    assert (found.score[1:] < THRESHOLD).all()


def test_a_fault_does_not_become_normal_while_it_lasts_ten_minutes() -> None:
    operator, state, rng, _ = learned()
    step = operator.process(state, [block(60 + m, rng, still=True) for m in range(10)])
    assert all(b.score[0] > THRESHOLD for b in step.outputs)


def test_what_is_missing_is_not_judged() -> None:
    operator, state, rng, _ = learned()
    empty = block(60, rng)
    empty.values[:] = np.nan
    (found,) = operator.process(state, [empty]).outputs
    assert not found.score.any()


def test_it_goes_on_to_the_last_bit_where_it_was_broken_off() -> None:
    operator, state, rng, _ = learned()
    rest = [block(60 + m, rng) for m in range(30)]
    whole = operator.process(state, rest)
    half = operator.process(state, rest[:15])
    again = operator.process(operator.load(operator.dump(half.state)), rest[15:])
    assert operator.dump(again.state) == operator.dump(whole.state)
    assert [b.score.tobytes() for b in (*half.outputs, *again.outputs)] == [b.score.tobytes() for b in whole.outputs]


def test_a_state_of_other_cells_is_refused() -> None:
    operator, state, _, _ = learned(2)
    with pytest.raises(WrongState, match="other cells"):
        AnomalyOperator(CELLS + 1).load(operator.dump(state))

"""Learning: what is learned, how it is judged, and that a learner that is taken up again goes on to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from loops.exceptions import BadLearnerState
from loops.learning.contest import Losses, Ruling, bounds, judge, worse
from loops.learning.drift import DriftWatch
from loops.learning.learner import Learned, Learner
from loops.learning.outcomes import Lesson, Moved, pairs_of
from loops.learning.regression import Regression
from loops.learning.residual import Pair, ResidualLearner
from loops.learning.settings import LearnSettings
from loops.learning.track import NONE, Decision, Track
from schemas.names import sector_carrier_dn
from schemas.strategies import ConfigChange
from tests.unit.toy_network import run
from twin_core.kpis import THROUGHPUT
from twin_core.learned.demand_model import INPUTS as DEMAND_INPUTS
from twin_core.learned.demand_model import DemandModel
from twin_core.learned.memory import REMEMBERED
from twin_core.learned.models import Model, dump
from twin_core.learned.residual_model import CORRECTED, INPUTS, ResidualModel
from twin_core.observation import PeriodObservation
from twin_core.twin import Twin

SETTINGS = LearnSettings()
CELLS = 6


# Judging


def overlapping(random: np.random.Generator, periods: int, overlap: int) -> np.ndarray:
    """Noise whose neighbours share all but one of their parts, as losses of forecasts over several periods do."""
    return np.convolve(random.normal(size=periods + overlap - 1), np.ones(overlap) / overlap**0.5, mode="valid")


@pytest.mark.parametrize("overlap", [1, 8])
def test_a_challenger_that_is_no_better_is_seldom_promoted(overlap: int) -> None:
    """At most alpha over all looks, up to the error of 1000 contests; overlapping forecasts change nothing."""
    random = np.random.default_rng(1)
    block, wrong = max(4, overlap), 0
    for _ in range(1000):
        noise = overlapping(random, block * max(SETTINGS.looks), overlap)
        losses = Losses()
        for value in noise:
            losses.add(1.0 + value, 1.0)
            ruling = judge(losses, block, SETTINGS.looks, SETTINGS.alpha, 0.0)
            if ruling is not Ruling.OPEN:
                wrong += ruling is Ruling.BETTER
                break
    # Blocks as long as the overlap still touch: what is left of their likeness may cost a little.
    assert wrong / 1000 < SETTINGS.alpha + (0.015 if overlap == 1 else 0.04)


def test_a_clearly_better_challenger_is_promoted_at_the_first_look_and_a_worse_one_refused() -> None:
    random = np.random.default_rng(2)
    for saving, expected in ((0.3, Ruling.BETTER), (-0.3, Ruling.NOT_BETTER)):
        losses = Losses()
        for noise in random.normal(size=12):
            losses.add(1.0, 1.0 - saving + 0.05 * noise)
        assert judge(losses, 4, (3, 6), 0.05, 0.0) is expected


def test_nothing_is_ruled_between_looks_and_a_gain_too_small_is_not_enough() -> None:
    losses = Losses([1.0] * 11, [0.9] * 11)
    assert judge(losses, 4, (3, 6), 0.05, 0.0) is Ruling.OPEN
    losses.add(1.0, 0.9)
    assert judge(losses, 4, (3, 6), 0.05, 0.0) is Ruling.BETTER
    assert judge(losses, 4, (3, 6), 0.05, 0.2) is Ruling.NOT_BETTER
    assert bounds([1.0] * 3, 4, 0.05) == (-np.inf, np.inf)


def test_a_champion_that_became_worse_is_noticed_and_a_steady_one_is_not() -> None:
    random = np.random.default_rng(3)
    steady, spoiled = Losses(), Losses()
    for t in range(48):
        steady.add(1.0 + 0.1 * random.normal(), 1.0 + 0.1 * random.normal())
        spoiled.add(1.0 + (0.5 if t >= 16 else -0.2) + 0.1 * random.normal(), 1.0)
    assert not worse(steady, 8, 6, 0.01)
    assert worse(spoiled, 8, 4, 0.01)
    assert not worse(Losses([2.0] * 8, [1.0] * 8), 8, 6, 0.01), "one block is no proof"


# A model's way


def version(name: str) -> Model:
    f = len(DEMAND_INPUTS)
    zero = torch.zeros(f, dtype=torch.float64)
    return DemandModel(name, torch.ones(1, dtype=torch.float64), torch.zeros(1, 2, f, dtype=torch.float64), zero, zero)


def compete(track: Track, first: float, second: float, periods: int, rival: str = "challenger") -> list[Decision]:
    """So many periods with these losses of the champion and of a rival."""
    out = []
    for _ in range(periods):
        found = getattr(track, rival)
        if found is not None:
            found.losses.add(first, second)
        if (decision := track.rule(SETTINGS, version)) is not None:
            out.append(decision)
    return out


def test_a_model_wins_is_taken_up_turns_worse_and_is_rolled_back() -> None:
    track = Track("demand-forecast", block=4)
    assert track.challenge("r1").action == "challenger"
    (won,) = compete(track, 0.2, 0.1, 12)
    assert (won.action, won.version, won.parent) == ("promoted", "r1", NONE)
    assert won.parameters == dump(version("r1"))
    assert won.challenger_score == pytest.approx(0.9)
    assert compete(track, 0.1, 0.2, 12) == [], "nothing is decided until the twin has taken it up"
    track.in_force("r1", won.parameters)
    assert compete(track, 0.1, 0.2, 12, "former") == [], "better than before"
    (lost,) = compete(track, 0.4, 0.2, 24, "former")[:1]
    assert (lost.action, lost.version, lost.parent, lost.parameters) == ("rolled_back", "r1", NONE, b"")
    track.in_force(NONE, b"")
    assert track.former is None, "what was rolled back does not come back by itself"


def test_a_persons_promotion_voids_the_contest() -> None:
    track = Track("demand-forecast", block=4)
    track.challenge("r1")
    compete(track, 0.2, 0.1, 11)
    track.in_force("file-1", b"by hand")
    assert track.challenger is None
    assert track.former is not None
    assert track.former.version == NONE
    assert compete(track, 0.2, 0.1, 5) == []


def test_what_the_twin_never_takes_up_is_not_awaited_for_ever() -> None:
    track = Track("demand-forecast", block=4)
    track.challenge("r1")
    compete(track, 0.2, 0.1, 12)
    assert track.awaited == "r1"
    compete(track, 0.2, 0.1, 31)
    assert track.awaited is None


# Learners


def test_a_regression_taken_up_again_goes_on_to_the_last_bit() -> None:
    random = np.random.default_rng(4)
    first, second = Regression(("a", "b"), 3.0), Regression(("a", "b"), 3.0)
    data = [(x, float(x @ [2.0, -1.0])) for x in random.normal(size=(40, 2))]
    for x, y in data[:20]:
        first.learn(x, y)
    second.restore(first.arrays())
    for x, y in data[20:]:
        first.learn(x, y)
        second.learn(x, y)
    assert first.weights.tobytes() == second.weights.tobytes()
    exact = np.linalg.solve(3 * np.eye(2) + sum(np.outer(x, x) for x, _ in data), sum(y * x for x, y in data))
    np.testing.assert_allclose(first.weights, exact, rtol=1e-9)


def taught(bias: float, noise: float, periods: int = 60) -> tuple[ResidualModel, torch.Tensor]:
    """A residual model after periods in which throughput was off by so much, and the inputs of one more."""
    random = torch.Generator().manual_seed(5)
    learner = ResidualLearner(21, seed=1)
    for _ in range(periods):
        inputs = torch.randn(21, len(INPUTS), generator=random)
        missed = noise * torch.randn(21, len(CORRECTED), generator=random)
        missed[:, CORRECTED.index(THROUGHPUT)] += bias
        learner.learn(inputs, missed)
    return learner.model("1"), torch.randn(21, len(INPUTS), generator=random).double()


def test_a_lasting_miss_is_learned_and_mere_noise_is_not() -> None:
    model, inputs = taught(bias=0.15, noise=0.1)
    said = model.log_correction(inputs).mean(dim=0)
    assert float(said[CORRECTED.index(THROUGHPUT)]) > 0.05
    model, inputs = taught(bias=0.0, noise=0.2)
    assert float(model.log_correction(inputs).abs().mean()) < 0.02


def test_an_outcome_teaches_the_difference_between_before_and_after() -> None:
    """Telemetry says that nothing is missed; outcomes say that the change did less than predicted."""
    learner = ResidualLearner(21, seed=1)
    random = torch.Generator().manual_seed(6)
    k = CORRECTED.index(THROUGHPUT)
    before, after = torch.zeros(len(INPUTS)), torch.zeros(len(INPUTS))
    after[INPUTS.index("power share")] = 2.0
    missed = torch.full((len(CORRECTED),), torch.nan)
    missed[k] = -0.2
    for period in range(80):
        inputs = torch.randn(21, len(INPUTS), generator=random)
        pairs = tuple(Pair(before, after, missed) for _ in range(2 * (period % 10 == 0)))
        learner.learn(inputs, torch.zeros(21, len(CORRECTED)), pairs)
    with_outcomes = learner._raw(torch.stack([before, after]), learner._weights)[:, k]
    assert float(with_outcomes[1] - with_outcomes[0]) < -0.03


def test_lessons_become_pairs_of_what_the_twin_predicts_before_and_after() -> None:
    twin = run().twin
    carrier = sector_carrier_dn(twin.network.cells[0])

    def power(watts: float) -> tuple[ConfigChange, ...]:
        change = ConfigChange(change_id="c", object=carrier, attribute="configuredMaxTxPower", value=watts * 1000)
        return (change,)

    moved = (Moved(twin.network.cells[0], THROUGHPUT, -1000.0, -2000.0),)
    (pair,) = pairs_of(twin, [Lesson(power(40), power(20), moved)])
    share = INPUTS.index("power share")
    assert float(pair.before[share]) > float(pair.after[share])
    assert float(pair.missed[CORRECTED.index(THROUGHPUT)]) < 0
    elsewhere = ConfigChange(
        change_id="c", object=carrier.replace("ManagedElement=", "ManagedElement=x"),
        attribute="configuredMaxTxPower", value=1000.0,
    )  # fmt: skip
    assert pairs_of(twin, [Lesson((elsewhere,), (elsewhere,), moved)]) == ()


# Drift


def drifting(shift: float, *, touched_at: int | None = None, periods: int = 60) -> list[int]:
    """Periods in which a cell drifts whose errors are shifted from the thirtieth on."""
    random = np.random.default_rng(7)
    watch = DriftWatch(CELLS, SETTINGS.drift_threshold, SETTINGS.drift_slack)
    found = []
    for t in range(periods):
        errors = 0.2 * random.normal(size=CELLS)
        errors[2] += shift if t >= 30 else 0.0
        touched = np.zeros(CELLS, dtype=bool)
        touched[2] = touched_at is not None and touched_at <= t
        found += [t for d in watch.update(errors, touched) if d.cell == 2]
    return found


def test_a_lasting_shift_is_drift_and_none_is_not() -> None:
    assert any(30 <= t < 45 for t in drifting(1.0))
    assert drifting(0.0) == []


def test_what_a_change_of_configuration_explains_is_no_drift() -> None:
    assert drifting(1.0, touched_at=30) == []


# All together


def observed(seen: PeriodObservation, cells: int) -> dict[str, np.ndarray]:
    return {kpi: seen.counter(kpi, cells) for kpi in REMEMBERED}


def follow(learner: Learner, first: int = 0, last: int = 25) -> list[Learned]:
    """A learner beside the twin of a simulated network."""
    made = run()
    before, twin, out = None, Twin.create(made.network.topology), []
    for n, seen in enumerate(made.observations[:last]):
        twin = twin.apply(seen, {})
        if n >= first:
            out.append(learner.step(before, twin, observed(seen, len(twin.network.cells))))
        before = twin
    return out


def test_a_learner_taken_up_again_goes_on_to_the_last_bit() -> None:
    settings, cells = LearnSettings(warm_up=3, rest=1, looks=(2, 3)), len(run().twin.network.cells)
    whole = Learner(cells, settings)
    decided = follow(whole)
    half = Learner(cells, settings)
    follow(half, last=14)
    rest = Learner.load(half.dump(), cells, settings)
    assert rest.dump() == half.dump()
    assert repr(follow(rest, first=14)) == repr(decided[14:])  # scores before any period are NaN
    assert rest.dump() == whole.dump()
    actions = [d.action for learned in decided for d in learned.decisions]
    assert actions.count("challenger") >= 2
    assert set(actions) - {"challenger"}, "something was ruled"


def test_cells_that_a_change_has_moved_teach_and_judge_nothing() -> None:
    made = run()
    twin = made.twin
    name = twin.network.cells[3]
    seen = made.observations[-1]
    later = replace(
        seen, period_end_ms=seen.period_end_ms + 60_000, configuration={(name, "administrativeState"): "LOCKED"}
    )
    after = twin.apply(later, {})
    learner = Learner(len(twin.network.cells), SETTINGS)
    learner.step(None, twin, observed(seen, len(twin.network.cells)))
    learner.step(twin, after, observed(later, len(twin.network.cells)))
    touched = learner._untouched_ms == after.period_end_ms
    assert touched[3]
    assert 1 < touched.sum() < len(touched), "the cell and its heirs, not the network"


def test_a_state_of_another_network_or_garbage_is_refused() -> None:
    data = Learner(CELLS, SETTINGS).dump()
    with pytest.raises(BadLearnerState, match="6 cells, the network has 21"):
        Learner.load(data, 21, SETTINGS)
    with pytest.raises(BadLearnerState, match="no state of a learner"):
        Learner.load(data[:50], CELLS, SETTINGS)

"""Environments over the twin: what their makers' checkers ask, determinism, refusals, and what agents gain and lose."""

import copy
import dataclasses
import importlib
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pettingzoo.test
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

import twin_core.training
from schemas.levers import CIO_GRID_DB
from schemas.topology import NetworkSlice
from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidAction, InvalidConfiguration, InvalidScenarios, InvalidTask, MissingLibrary
from twin_core.kpis import POWER, THROUGHPUT, UNSERVED, kpi_index
from twin_core.layouts import hexagonal
from twin_core.rollout import rollout
from twin_core.scenarios import CLASSES, draw
from twin_core.training import FEATURES, BatchedNetworkEnv, CellsEnv, Move, NetworkEnv, Task, Term
from twin_core.training.task import BIAS, CELL_STATE, DEFAULT_MOVES, TILT, TX_POWER
from twin_core.twin import Twin
from twin_core.worlds import Ground, World

CELLS, LEVERS = 9, len(DEFAULT_MOVES)
QUIET, BUSY = {"scenario": "nominal", "demand": 0.3}, {"scenario": "nominal", "demand": 2.5}
SHORT, BRIEF = Task(periods=3), Task(periods=2)
DISCRETE = Task(periods=3, actions="discrete")
HOLD = np.ones((CELLS, LEVERS), dtype=np.int64)
Course = list[tuple[NDArray[np.float32], float]]


@cache
def twin() -> Twin:
    return Twin.create(hexagonal(sites=3))


def course(env: NetworkEnv, seed: int, steps: int = 3) -> Course:
    """Random actions, the same for the same seed."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    return [env.step(env.action_space.sample())[:2] for _ in range(steps)]


def same(one: Course, other: Course) -> bool:
    return all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(one, other, strict=True))


def moving(lever: int, choice: int, cells: list[int] | slice = slice(None)) -> NDArray[np.int64]:
    """One lever of some cells a step down (0) or up (2)."""
    action = HOLD.copy()
    action[cells, lever] = choice
    return action.reshape(-1)


def mean_reward(action: NDArray[np.int64], options: dict[str, Any]) -> float:
    env = NetworkEnv(twin(), DISCRETE)
    env.reset(seed=5, options=options)
    return float(np.mean([env.step(action)[1] for _ in range(DISCRETE.periods)]))


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_gymnasium_finds_nothing_to_warn_of(actions: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("twinloop/Network-v0", twin=twin(), task=Task(periods=3, actions=actions))
        check_env(env.unwrapped)


def test_pettingzoo_finds_nothing_to_warn_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pettingzoo.test.parallel_api_test(CellsEnv(twin(), SHORT), num_cycles=8)
        pettingzoo.test.parallel_seed_test(lambda: CellsEnv(twin(), SHORT), num_cycles=3)


def test_the_same_seed_and_actions_give_the_same_bits_and_another_seed_others() -> None:
    before = twin().state_hash()
    one, again = course(NetworkEnv(twin(), SHORT), 1), course(NetworkEnv(twin(), SHORT), 1)
    restored = course(NetworkEnv(Twin.restore(twin().snapshot()), SHORT), 1)
    assert same(one, again)
    assert same(one, restored)
    assert not same(one, course(NetworkEnv(twin(), SHORT), 2))
    assert twin().state_hash() == before, "the twin itself is only looked at"


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_copies_of_a_batch_do_to_the_bit_what_single_environments_do(mode: AutoresetMode) -> None:
    def single() -> NetworkEnv:
        return NetworkEnv(twin(), BRIEF)

    alone: Any = SyncVectorEnv([single] * 2, autoreset_mode=mode)
    batch = gymnasium.make_vec("twinloop/Network-v0", num_envs=2, twin=twin(), task=BRIEF, autoreset_mode=mode)
    assert isinstance(batch, BatchedNetworkEnv)
    assert batch.metadata["autoreset_mode"] == mode
    assert (batch.observation_space, batch.action_space) == (alone.observation_space, alone.action_space)

    def both_reset(**given: Any) -> bool:
        return alike(*(env.reset(**copy.deepcopy(given)) for env in (alone, batch)))

    assert both_reset(seed=7)
    batch.action_space.seed(7)
    for step in range(5):
        action = batch.action_space.sample()
        ours = batch.step(action)
        assert alike(alone.step(action), ours)
        over = ours[3]
        if mode == AutoresetMode.DISABLED and over.any():
            with pytest.raises(ResetNeeded, match="reset_mask"):
                batch.step(action)
            assert both_reset(options={"reset_mask": over})
        elif mode == AutoresetMode.DISABLED and step == 0:
            assert both_reset(options={"reset_mask": FIRST}), "so that episodes end apart"


def alike(one: Any, other: Any) -> bool:
    """Whether nested results are equal to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, np.ndarray) and one.dtype == object:
        return all(map(alike, one, other))
    return bool(np.array_equal(one, other))


def test_copies_with_the_same_configuration_in_the_same_radio_share_what_is_prepared_for_it() -> None:
    env = BatchedNetworkEnv(3, twin(), Task(periods=3, actions="discrete", classes=("nominal",)))
    env.reset(seed=1)
    env.step(np.stack([moving(3, 0, [4]), moving(3, 0, [4]), moving(3, 0, [5])]))
    first, second, third = env.configurations
    assert first.same_as(second)
    assert not first.same_as(third)
    physics = [episode._world._physics for episode in env._episodes]
    assert physics[0] is physics[1] is not physics[2]


NAN = np.full(CELLS * LEVERS, np.nan, dtype=np.float32)
BAD = {
    "NaN": (SHORT, NAN, "nan at .0., outside .-1, 1."),
    "out of bounds": (SHORT, np.full(CELLS * LEVERS, 1.5), "1.5 at .0., outside"),
    "wrong shape": (SHORT, np.zeros(CELLS), "shape .9,., not .36,.: 4 moves a cell"),
    "no numbers": (SHORT, np.full(CELLS * LEVERS, "up"), "numbers from -1 to 1"),
    "no whole numbers": (DISCRETE, np.ones(CELLS * LEVERS), "whole numbers 0, 1 or 2"),
    "no such choice": (DISCRETE, 3 * HOLD.reshape(-1), "3 at .0., outside .0, 2."),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refused_action_leaves_the_environment_as_it_was(case: str) -> None:
    task, action, message = BAD[case]
    undisturbed = course(NetworkEnv(twin(), task), 3, steps=1)
    env = NetworkEnv(twin(), task)
    env.reset(seed=3)
    with pytest.raises(InvalidAction, match=message):
        env.step(action)
    env.action_space.seed(3)
    assert same(undisturbed, [env.step(env.action_space.sample())[:2]])


def test_one_bad_action_steps_no_copy_and_no_cell() -> None:
    batch = BatchedNetworkEnv(2, twin(), SHORT)
    batch.reset(seed=0)
    actions = np.zeros((2, CELLS * LEVERS), dtype=np.float32)
    actions[1, 5] = np.nan
    with pytest.raises(InvalidAction, match=r"nan at \[1, 5\]"):
        batch.step(actions)
    assert [episode._world.periods_left for episode in batch._episodes] == [3, 3]
    cells = CellsEnv(twin(), SHORT)
    cells.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"cell_3: .*nan"):
        cells.step({a: np.full(LEVERS, np.nan if a == "cell_3" else 0.0) for a in cells.agents})
    with pytest.raises(InvalidAction, match="'cell_0' is one too many or missing"):
        cells.step({a: np.zeros(LEVERS) for a in cells.agents[1:]})
    assert cells.agents == cells.possible_agents


def test_no_step_without_an_episode() -> None:
    single, cells, batch = NetworkEnv(twin(), SHORT), CellsEnv(twin(), SHORT), BatchedNetworkEnv(2, twin(), SHORT)
    for env in (single, batch):
        with pytest.raises(ResetNeeded, match="call reset"):
            env.step(np.zeros(1))
    with pytest.raises(ResetNeeded, match="call reset"):
        cells.step({})
    with pytest.raises(ResetNeeded, match="call reset"):
        cells.state()
    course(single, 0)
    with pytest.raises(ResetNeeded, match="call reset"):
        single.step(np.zeros(CELLS * LEVERS))


def test_switching_all_off_is_worse_than_leaving_on_and_worst_when_busy() -> None:
    for hours in (QUIET, BUSY):
        assert mean_reward(moving(3, 0), hours) < mean_reward(HOLD.reshape(-1), hours) - 5


def test_sleep_and_less_power_pay_in_quiet_hours_and_sleep_costs_in_busy_ones() -> None:
    quiet, busy = (mean_reward(HOLD.reshape(-1), hours) for hours in (QUIET, BUSY))
    assert mean_reward(moving(3, 0, [4]), QUIET) > quiet
    assert mean_reward(moving(0, 0), QUIET) > quiet
    assert mean_reward(moving(3, 0, [4]), BUSY) < busy


def test_the_reward_is_the_weighted_sum_that_the_task_says() -> None:
    task = Task(periods=2, reward=(Term(POWER, -2.0), Term(THROUGHPUT, 1.0, 1000.0), Term(UNSERVED, -3.0, 1.0)))
    env = NetworkEnv(twin(), task)
    usual = float(twin().predicted[POWER].sum())
    env.reset(seed=1, options={"scenario": "surge", "demand": 2.0})
    _, reward, terminated, truncated, info = env.step(np.zeros(CELLS * LEVERS))
    power, speed, unserved = (info["kpis"][kpi_index(kpi)] for kpi in (POWER, THROUGHPUT, UNSERVED))
    assert info["reward_terms"] == pytest.approx([-2 * power / usual, speed / 1000, -3 * unserved], rel=1e-4)
    assert reward == pytest.approx(sum(info["reward_terms"]))
    assert (terminated, truncated) == (False, False)
    assert env.step(np.zeros(CELLS * LEVERS))[2:4] == (False, True)


def test_levers_stay_within_bounds_on_their_grids_and_can_be_set_on_the_network() -> None:
    task = Task(moves=(Move(TX_POWER, 2, -5, 0), Move(TILT, 0.75, 2, 8), Move(BIAS, 2, -8, 8)), periods=12)
    env = NetworkEnv(twin(), task)
    env.reset(seed=0)
    action = np.zeros((CELLS, 3), dtype=np.float32)
    action[0], action[1], action[2] = 1, -1, 0.3
    for _ in range(12):
        env.step(action.reshape(-1))
    got, network = env.configuration, twin().network
    power = got.tx_power_dbm - network.rated_dbm
    assert power[:3].tolist() == pytest.approx([0, -5, 0])
    assert got.tilt_deg[:3].tolist() == pytest.approx([8, 2, 8])
    near = list(network.neighbours[0])
    assert set(got.cio_db[0, near].tolist()) == {8.0}
    assert set(got.cio_db[1, list(network.neighbours[1])].tolist()) == {-8.0}
    assert set(got.cio_db.reshape(-1).tolist()) <= set(CIO_GRID_DB)
    assert got.same_as(got.with_active(twin().configuration.active)), "what is no action stays"
    assert all(torch.equal(a[3:], b[3:]) for a, b in _levers(got, twin().configuration))
    told = {(d.object, d.attribute): d.after for d in twin().configuration.differences(network, got)}
    reached = twin().configuration.with_values(network, told)
    assert all(
        torch.allclose(value, getattr(reached, name)) for name, value in got.tensors().items() if name != "active"
    )


def _levers(one: Configuration, other: Configuration) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return zip(one.tensors().values(), other.tensors().values(), strict=True)


def test_a_lever_that_starts_beyond_its_bounds_is_not_moved_by_them_and_goes_no_further() -> None:
    env = NetworkEnv(twin(), Task(moves=(Move(TILT, 1, 8, 12),), periods=4))
    env.reset(seed=0)
    for step, tilt in ((0.0, 6.0), (-1.0, 6.0), (1.0, 7.0), (-1.0, 7.0)):
        env.step(np.full(CELLS, step))
        assert set(env.configuration.tilt_deg.tolist()) == {tilt}


def test_observations_are_what_they_are_named() -> None:
    env = NetworkEnv(twin(), DISCRETE)
    seen, info = env.reset(seed=2, options={"scenario": "nominal", "demand": 0.0})
    assert info["demand"] == 0
    by_name = dict(zip(FEATURES, seen.reshape(CELLS, len(FEATURES)).T, strict=True))
    assert set(by_name["measured"]) == set(by_name["throughput"]) == set(by_name["load"]) == {0.0}
    seen = env.step(moving(3, 0, [2]))[0]
    by_name = dict(zip(FEATURES, seen.reshape(CELLS, len(FEATURES)).T, strict=True))
    assert by_name["unlocked"].tolist() == by_name["on_air"].tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert set(by_name["tilt"]) == {np.float32(0.6)}
    env.reset(options={"scenario": "nominal", "demand": 1.0})
    usual = env.step(moving(2, 2, [0]))[0].reshape(CELLS, len(FEATURES))
    assert usual[:, FEATURES.index("users")].mean() == pytest.approx(1, rel=0.3)
    assert usual[0, FEATURES.index("bias")] == pytest.approx(1 / 6)
    assert env.observation_space.contains(usual.reshape(-1))


def test_worlds_lived_through_period_by_period_come_to_what_roll_outs_come_to() -> None:
    drawn = draw(twin().network, CLASSES, 4, seed=3)
    rolled = rollout(twin(), twin().configuration, drawn)
    ground = Ground(twin(), torch.arange(1, 5))
    for i in range(len(CLASSES)):
        world = World(ground, drawn.select([i]))
        for t in range(4):
            period = world.step(twin().configuration)
            assert torch.allclose(period.kpis, rolled.kpis[i, t], rtol=5e-3, atol=0.1, equal_nan=True)
            assert torch.allclose(period.network, rolled.network[i, t], rtol=5e-3, atol=0.1)
    with pytest.raises(InvalidScenarios, match="begin anew"):
        world.step(twin().configuration)
    with pytest.raises(InvalidScenarios, match="select one"):
        World(ground, drawn)
    with pytest.raises(InvalidConfiguration, match="derive it from the twin's"):
        World(ground, drawn.select([0])).step(Twin.create(hexagonal(sites=1)).configuration)


def test_what_was_not_served_waits_for_the_next_period() -> None:
    env = NetworkEnv(twin(), Task(moves=(Move(CELL_STATE),), periods=3))
    leave, all_off = np.zeros(CELLS), np.full(CELLS, -1.0)

    def volume(first: NDArray[np.float64]) -> float:
        env.reset(seed=4, options={"scenario": "nominal", "demand": 1.0})
        sleeping = np.where(np.arange(CELLS) == 0, 0.0, first)  # one cell alone is overloaded, if the others sleep
        env.step(sleeping)
        return float(env.step(np.ones(CELLS))[4]["kpis"][2])

    assert volume(all_off) > 1.01 * volume(leave)


def test_an_agent_of_a_cell_sees_its_own_neighbourhood_and_moves_its_own_levers() -> None:
    env = CellsEnv(twin(), DISCRETE, team_share=1.0)
    seen, _ = env.reset(seed=1)
    whole = env.state().reshape(CELLS, len(FEATURES))
    for i, near in enumerate(twin().network.neighbours):
        around = seen[f"cell_{i}"]
        here, there = around[: len(FEATURES)], around[len(FEATURES) : len(FEATURES) * (1 + len(near))]
        assert np.array_equal(here, whole[i])
        assert np.array_equal(there.reshape(len(near), -1), whole[list(near)])
        assert around[len(FEATURES) * (1 + env._near.most) :].sum() == len(near)
    before = env.configuration
    action = dict.fromkeys(env.agents, HOLD[0]) | {"cell_2": np.array([0, 2, 1, 0])}
    _, rewards, _, _, infos = env.step(action)
    assert list(rewards.values()) == pytest.approx([sum(infos["cell_0"]["reward_terms"])] * CELLS)
    after = env.configuration
    assert before.active.logical_xor(after.active).nonzero().tolist() == [[2]]
    assert (after.tx_power_dbm - before.tx_power_dbm).nonzero().tolist() == [[2]]
    assert (after.tilt_deg - before.tilt_deg).nonzero().tolist() == [[2]]
    assert after.same_as(dataclasses.replace(after, cio_db=before.cio_db)), "left alone"


def test_own_rewards_tell_who_did_it_and_team_rewards_who_suffers() -> None:
    own, team = (CellsEnv(twin(), DISCRETE, team_share=share) for share in (0.0, 1.0))
    far = next(i for i in range(CELLS) if 0 not in twin().network.neighbours[i] and i)
    change = {}
    for env in (own, team):
        for off in (False, True):
            env.reset(seed=1, options=QUIET)
            action = dict.fromkeys(env.agents, HOLD[0]) | {"cell_0": np.array([1, 1, 1, 0 if off else 1])}
            change[env is team, off] = env.step(action)[1]
    assert change[False, True]["cell_0"] > change[False, False]["cell_0"]
    assert change[True, True][f"cell_{far}"] > change[True, False][f"cell_{far}"]
    gain = {a: change[False, True][a] - change[False, False][a] for a in own.possible_agents}
    assert abs(gain[f"cell_{far}"]) < abs(gain["cell_0"])


def test_slices_can_be_rewarded() -> None:
    slices = (NetworkSlice(s_nssai="1-000001"), NetworkSlice(s_nssai="2-000001"))
    sliced = Twin.create(hexagonal(sites=1).model_copy(update={"slices": slices}))
    env = CellsEnv(sliced, Task(periods=1, reward=(Term("DRB.RlcSduDelayDl.2-000001", -1.0),)), team_share=0.0)
    env.reset(seed=0, options={"scenario": "nominal", "demand": 1.0})
    _, rewards, _, truncated, _ = env.step({a: np.zeros(LEVERS) for a in env.agents})
    assert list(rewards.values()) == pytest.approx([-1] * 3, rel=0.3)
    assert all(truncated.values())
    assert env.agents == []


FIRST = np.array([True, False])
WRONG: dict[str, Any] = {
    "no lever that an environment can move": lambda: Move("digitalAzimuth"),
    "give a positive number": lambda: Move(TILT, 0, 0, 12),
    "nowhere to go": lambda: Move(TILT, 1, 12, 12),
    "all that the attribute can say": lambda: Move(BIAS, 1, -30, 30),
    "moves no cellIndividualOffset": lambda: Move(BIAS, 0.5, -6, 6),
    "grid of TS 38.331": lambda: Move(BIAS, 1, 6.5, 7.5),
    "more than a carrier has": lambda: Move(TX_POWER, 1, 0, 3),
    "narrow the bounds": lambda: NetworkEnv(twin(), Task(moves=(Move(TX_POWER, 1, -60, 0),))),
    "give each that is to be moved once": lambda: Task(moves=(Move(CELL_STATE), Move(CELL_STATE))),
    "continuous or discrete": lambda: Task(actions="binary"),
    "has no step": lambda: Task(periods=0),
    "teaches nothing": lambda: Task(reward=()),
    "known: nominal": lambda: Task(classes=("flood",)),
    "0 <= low <= high": lambda: Task(demand=(2, 1)),
    "predicts no KPI 'MOS'": lambda: NetworkEnv(twin(), Task(reward=(Term("MOS", 1),))),
    "the weight of": lambda: Term(POWER, float("nan")),
    "or none": lambda: Term(POWER, 1, 0),
    "option demand": lambda: NetworkEnv(twin(), SHORT).reset(options={"demand": -1}),
    "option scenario": lambda: CellsEnv(twin(), SHORT).reset(options={"scenario": "flood"}),
    "ask for at least 1": lambda: BatchedNetworkEnv(0, twin(), SHORT),
    "3 seeds for 2": lambda: BatchedNetworkEnv(2, twin(), SHORT).reset(seed=[1, 2, 3]),
    "2 booleans": lambda: BatchedNetworkEnv(2, twin(), SHORT).reset(options={"reset_mask": np.zeros(2, np.bool_)}),
    "leave reset_mask out": lambda: BatchedNetworkEnv(2, twin()).reset(
        options={"reset_mask": np.eye(2, dtype=bool)[0]}
    ),
    "from 0 to 1": lambda: CellsEnv(twin(), SHORT, team_share=2),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_refused_with_cause_and_remedy(message: str) -> None:
    with pytest.raises(InvalidTask, match=message):
        WRONG[message]()


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text()
    exec(page.split("```python\n")[1].split("```")[0], {})
    said = capsys.readouterr().out
    assert "mean return of random agents: -" in said
    assert "digitalTilt" in said


@pytest.mark.parametrize("library", ["gymnasium", "pettingzoo"])
def test_without_the_extra_the_error_says_what_to_install(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibrary, match=rf"{library}.*pip install 'twinloop\[training\]'"):
        importlib.reload(twin_core.training)

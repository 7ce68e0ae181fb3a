"""Many networks of one agent at once: a Gymnasium vector environment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidTask
from twin_core.training.episode import Arena, Episode, example
from twin_core.training.levers import Array
from twin_core.training.senses import Seen
from twin_core.training.task import Task
from twin_core.twin import Twin

Action = NDArray[Any]
Flags = NDArray[np.bool_]


class BatchedNetworkEnv(VectorEnv[Seen, Action, NDArray[Any]]):
    """Copies of one network, each in worlds and with a configuration of its own.

    Copy i, seeded with seed + i, does to the bit what a `NetworkEnv` with that seed does: every world is solved by
    itself. What copies share is prepared once: the ground that all worlds go on from, and attachment and links of those
    that have the same configuration in the same radio.

    Parameters
    ----------
    num_envs
        Copies.
    twin, task
        As for `NetworkEnv`.
    autoreset_mode
        When a copy whose episode is over begins anew: with the next step, which then ignores its action; with the
        same step, the last observation and info in `final_obs` and `final_info`; or when `reset` is called with a
        `reset_mask` in its options.

    Raises
    ------
    InvalidTask
        If the task does not fit the twin, or there is no copy.
    """

    def __init__(
        self,
        num_envs: int = 1,
        twin: Twin | None = None,
        task: Task | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        if num_envs < 1:
            raise InvalidTask(f"{num_envs} environments are none to step; ask for at least 1")
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self.autoreset_mode}
        self.arena = Arena(twin or example(), task or Task())
        self.kpis = self.arena.kpis
        self.single_observation_space = self.arena.senses.space
        self.single_action_space = self.arena.levers.space(self.arena.levers.cells)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._random: list[np.random.Generator | None] = [None] * num_envs
        self._episodes: list[Episode] = []

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """In force now in each copy."""
        if not self._episodes:
            return (self.arena.twin.configuration,) * self.num_envs
        return tuple(episode.configuration for episode in self._episodes)

    def reset(
        self, *, seed: int | np.integer[Any] | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Seen, dict[str, Any]]:
        """Begin episodes.

        Parameters
        ----------
        seed
            One for each copy, or the first copy's, from which the others' count up.
        options
            `scenario` and `demand` as for `NetworkEnv`; `reset_mask` ([num_envs] bool) to begin some copies only.

        Raises
        ------
        InvalidTask
            If an option is impossible, or seeds are too few or too many.
        """
        rest = dict(options or {})
        mask = self._mask(rest.pop("reset_mask", None))
        self.arena.task.options(rest)
        seeds = [int(seed) + i for i in range(self.num_envs)] if isinstance(seed, int | np.integer) else seed
        if seeds is not None and len(seeds) != self.num_envs:
            raise InvalidTask(f"{len(seeds)} seeds for {self.num_envs} environments; give one each, or the first")
        infos: dict[str, Any] = {}
        begun: dict[int, Episode] = {}
        for i in np.flatnonzero(mask).tolist():
            if self._random[i] is None or (seeds is not None and seeds[i] is not None):
                self._random[i] = seeding.np_random(None if seeds is None else seeds[i])[0]
            begun[i] = self._begin(i, rest)
            infos = self._add_info(infos, dict(begun[i].beginning), i)
        self._episodes = [begun[i] if i in begun else self._episodes[i] for i in range(self.num_envs)]
        return self._seen(), infos

    def _mask(self, given: object) -> Flags:
        if given is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        mask = np.asarray(given)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise InvalidTask(f"reset_mask must be {self.num_envs} booleans, at least one of them true, not {given!r}")
        if not self._episodes and not mask.all():
            raise InvalidTask("the first reset begins all environments; leave reset_mask out")
        return mask

    def _begin(self, i: int, options: dict[str, Any] | None = None) -> Episode:
        random = self._random[i]
        assert random is not None, "seeded by the first reset"
        return Episode(self.arena, random, options)

    def _seen(self) -> Seen:
        return np.stack([episode.seen.reshape(-1) for episode in self._episodes])

    def step(self, actions: Action) -> tuple[Seen, Array, Flags, Flags, dict[str, Any]]:
        """Move levers and live through a period in every copy.

        Raises
        ------
        InvalidAction
            If any action has the wrong shape, NaN, or values out of bounds; no copy is stepped then.
        gymnasium.error.ResetNeeded
            Before the first reset, or if episodes are over and do not begin anew by themselves.
        """
        if not self._episodes:
            raise ResetNeeded("no episode is under way; call reset() first")
        over = [i for i, episode in enumerate(self._episodes) if episode.over]
        if over and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(f"episodes of {over} are over; call reset() with a reset_mask")
        levers = self.arena.levers
        steps = levers.read(actions, (self.num_envs, levers.cells))
        rewards = np.zeros(self.num_envs)
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        infos: dict[str, Any] = {}
        for i, episode in enumerate(self._episodes):
            if episode.over:
                self._episodes[i] = episode = self._begin(i)
                info = episode.beginning
            else:
                outcome = episode.step(steps[i])
                rewards[i], truncated[i], info = outcome.reward, episode.over, episode.information(outcome)
                if episode.over and self.autoreset_mode == AutoresetMode.SAME_STEP:
                    infos = self._add_info(infos, {"final_obs": episode.seen.reshape(-1), "final_info": info}, i)
                    self._episodes[i] = episode = self._begin(i)
                    info = episode.beginning
            infos = self._add_info(infos, dict(info), i)
        return self._seen(), rewards, np.zeros_like(truncated), truncated, infos

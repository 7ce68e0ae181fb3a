"""One agent for the whole network: a Gymnasium environment."""

from typing import Any

import gymnasium
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from twin_core.configuration import Configuration
from twin_core.training.episode import Arena, Episode, example
from twin_core.training.senses import Seen
from twin_core.training.task import Task
from twin_core.twin import Twin

Action = NDArray[Any]


class NetworkEnv(gymnasium.Env[Seen, Action]):
    """A twin's network, whose levers one agent holds.

    Each step moves levers and lives through one granularity period, backlog carried over. An episode is truncated
    after the task's periods and never terminates. Observations are `senses.FEATURES` of each cell, one cell after the
    other; actions the task's moves of each cell, one cell after the other. The same seed and actions give the same
    trajectory to the bit. An action that is refused leaves the environment as it was.

    Parameters
    ----------
    twin
        Where every episode starts; 21 cells of `layouts.hexagonal` by default. It is not changed.
    task
        What the environment is about.

    Raises
    ------
    InvalidTask
        If the task does not fit the twin.

    Notes
    -----
    `info` holds `kpis` ([M] of the whole network, named by `kpis`) and, after a step, `reward_terms` ([R], in the order
    of the task's reward) and `converged` (of the load coupling); after a reset `scenario` and `demand`, which the
    options of `reset` may set.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(self, twin: Twin | None = None, task: Task | None = None) -> None:
        self.arena = Arena(twin or example(), task or Task())
        self.kpis = self.arena.kpis
        self.observation_space = self.arena.senses.space
        self.action_space = self.arena.levers.space(self.arena.levers.cells)
        self._episode: Episode | None = None

    @property
    def configuration(self) -> Configuration:
        """In force now; its `differences` from the twin's are what a network would have to be told."""
        return self._episode.configuration if self._episode else self.arena.twin.configuration

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Seen, dict[str, Any]]:
        """Begin an episode.

        Parameters
        ----------
        seed
            Of this and all later episodes.
        options
            `scenario` (a class) and `demand` (a factor) instead of drawn ones.

        Raises
        ------
        InvalidTask
            If an option is impossible.
        """
        self.arena.task.options(options)
        super().reset(seed=seed)
        self._episode = Episode(self.arena, self.np_random, options)
        return self._episode.seen.reshape(-1), dict(self._episode.beginning)

    def step(self, action: Action) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        """Move levers and live through a period.

        Raises
        ------
        InvalidAction
            If the action has the wrong shape, NaN, or values out of bounds.
        gymnasium.error.ResetNeeded
            If no episode is under way.
        """
        episode = self._episode
        if episode is None or episode.over:
            raise ResetNeeded("no episode is under way; call reset() first")
        outcome = episode.step(self.arena.levers.read(action, (self.arena.levers.cells,)))
        return episode.seen.reshape(-1), outcome.reward, False, episode.over, dict(episode.information(outcome))

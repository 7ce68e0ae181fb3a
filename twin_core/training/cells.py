"""One agent for each cell: a PettingZoo parallel environment."""

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Space
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from twin_core.configuration import Configuration
from twin_core.exceptions import InvalidAction, InvalidTask
from twin_core.training.episode import Arena, Episode, example
from twin_core.training.neighbourhoods import Neighbourhoods
from twin_core.training.senses import Seen, bounds
from twin_core.training.task import Task
from twin_core.twin import Twin

Action = NDArray[Any]


class CellsEnv(ParallelEnv[str, Seen, Action]):  # type: ignore[misc] # PettingZoo publishes no types
    """A twin's network in which an agent holds the levers of each cell.

    Agent "cell_i" sees `senses.FEATURES` of its own cell, then those of its neighbours (`Network.neighbours`, longest
    border first; zeros where it has fewer than others), then which of these there are. Its reward is that of the cells
    it sees, the task's terms taken over them as over a network, and for `team_share` that of the whole network. All
    act in the same period; all episodes end together.

    Parameters
    ----------
    twin, task
        As for `NetworkEnv`.
    team_share
        Part of the network's reward in each agent's, 0..1. At 1 all are rewarded alike; at 0 nothing stops an agent
        from pushing its load beyond its neighbours.

    Attributes
    ----------
    cells
        [C] name of each agent's cell, in the order of `possible_agents`.

    Raises
    ------
    InvalidTask
        If the task does not fit the twin, or team_share is outside 0..1.
    """

    metadata: dict[str, Any] = {"name": "twinloop_cells_v0", "render_modes": []}  # noqa: RUF012 - declared so

    def __init__(self, twin: Twin | None = None, task: Task | None = None, team_share: float = 0.5) -> None:
        if not 0 <= team_share <= 1:
            raise InvalidTask(f"team_share is {team_share:g}; give a part from 0 to 1")
        self.arena = Arena(twin or example(), task or Task())
        self.kpis, self.cells = self.arena.kpis, self.arena.network.cells
        self.possible_agents = [f"cell_{i}" for i in range(len(self.cells))]
        self.agents: list[str] = []
        self.render_mode = None
        self._team_share = team_share
        self._near = Neighbourhoods(self.arena.network)
        low, high = (np.tile(edge, 1 + self._near.most) for edge in bounds())
        there = np.ones(self._near.most, dtype=np.float32)
        low, high = np.concatenate([low, 0 * there]), np.concatenate([high, there])
        self.observation_spaces: dict[str, Space[Seen]] = {
            agent: Box(low, high, dtype=np.float32) for agent in self.possible_agents
        }
        self.action_spaces: dict[str, Space[Action]] = {
            agent: self.arena.levers.space(1) for agent in self.possible_agents
        }
        self._random: np.random.Generator | None = None
        self._episode: Episode | None = None

    def observation_space(self, agent: str) -> Space[Seen]:
        """Of one agent."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Action]:
        """Of one agent."""
        return self.action_spaces[agent]

    @property
    def state_space(self) -> Space[Seen]:
        """Of `state`."""
        return self.arena.senses.space

    @property
    def configuration(self) -> Configuration:
        """In force now; its `differences` from the twin's are what a network would have to be told."""
        return self._episode.configuration if self._episode else self.arena.twin.configuration

    def state(self) -> Seen:
        """[C x F] features of all cells, for critics that see everything.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first reset.
        """
        if self._episode is None:
            raise ResetNeeded("nothing has been seen yet; call reset() first")
        return self._episode.seen.reshape(-1)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Seen], dict[str, dict[str, Any]]]:
        """Begin an episode; seed and options as for `NetworkEnv`.

        Raises
        ------
        InvalidTask
            If an option is impossible.
        """
        self.arena.task.options(options)
        if self._random is None or seed is not None:
            self._random = seeding.np_random(seed)[0]
        self._episode = Episode(self.arena, self._random, options)
        self.agents = list(self.possible_agents)
        return self._observations(self._episode), self._for_all(dict(self._episode.beginning))

    def step(
        self, actions: dict[str, Action]
    ) -> tuple[dict[str, Seen], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Move every agent's levers and live through a period.

        Raises
        ------
        InvalidAction
            If an agent is missing or unknown, or an action has the wrong shape, NaN, or values out of bounds.
        gymnasium.error.ResetNeeded
            If no episode is under way.
        """
        episode = self._episode
        if episode is None or episode.over:
            raise ResetNeeded("no episode is under way; call reset() first")
        outcome = episode.step(self._read(actions))
        own = self.arena.terms(self._near.kpis(outcome.period, self.kpis)).sum(dim=-1)
        rewards = (1 - self._team_share) * own + self._team_share * outcome.reward
        observed, infos = self._observations(episode), self._for_all(dict(episode.information(outcome)))
        names = self.possible_agents
        if episode.over:
            self.agents = []
        return (
            observed,
            dict(zip(names, rewards.tolist(), strict=True)),
            dict.fromkeys(names, False),
            dict.fromkeys(names, episode.over),
            infos,
        )

    def _read(self, actions: dict[str, Action]) -> NDArray[np.float64]:
        if wrong := set(actions) ^ set(self.agents):
            raise InvalidAction(
                f"{len(actions)} actions for {len(self.agents)} agents, {sorted(wrong)[0]!r} is one too many or "
                "missing; give one for each of `agents`"
            )
        steps = []
        for agent in self.agents:
            try:
                steps.append(self.arena.levers.read(actions[agent], (1,)))
            except InvalidAction as error:
                raise InvalidAction(f"{agent}: {error}") from None
        return np.concatenate(steps)

    def _observations(self, episode: Episode) -> dict[str, Seen]:
        return dict(zip(self.possible_agents, self._near.seen(episode.seen), strict=True))

    def _for_all(self, info: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The same for every agent, in objects of their own."""
        return {
            agent: {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in info.items()}
            for agent in self.possible_agents
        }

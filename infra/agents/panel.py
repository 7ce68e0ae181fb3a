"""All agents of an inner loop: asked together, each within its time, left out for a while after failures in a row."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from infra.agents.process import AgentProcess, packed
from loops.agents.agent import NetworkView, offer_of
from loops.agents.conduct import Conduct, accept
from loops.exceptions import AgentFailed
from schemas.strategies import Strategy


class Answer(NamedTuple):
    """What came of asking one agent."""

    agent: str  # as in the settings
    strategies: list[Strategy]
    failure: str = ""
    suspended_periods: int = 0  # from now on, because of this failure


class Panel:
    """Agents in processes of their own.

    Parameters
    ----------
    full_names
        ``NAME`` or ``NAME:FORM``.
    deadline_s
        For an answer.
    most
        Strategies that one may propose at once.
    failures, periods
        As in `Conduct`.

    Raises
    ------
    UnknownAgent
        If no package offers an agent of that name, or there is no such form.
    """

    def __init__(
        self, full_names: Sequence[str], deadline_s: float, most: int, failures: int = 3, periods: int = 60
    ) -> None:
        for name in full_names:
            offer_of(name)  # each loads in its own process only
        self._agents = [AgentProcess(name) for name in full_names]
        self._deadline_s, self._most, self._periods = deadline_s, most, periods
        self._conduct = Conduct(failures, periods)
        self._log = structlog.get_logger().bind(role="inner")

    def start(self) -> None:
        """Start the processes, so that they are there when asked."""
        for agent in self._agents:
            agent.start()

    def ask(self, view: NetworkView) -> list[Answer]:
        """What each agent proposes, in the order of the settings; without those that are suspended."""
        asked = [a for a in self._agents if not self._conduct.suspended(a.full_name, view.period_end_ms)]
        request = packed(view) if asked else b""
        failed: dict[str, AgentFailed] = {}
        for agent in asked:
            try:
                agent.ask(request)
            except AgentFailed as error:
                failed[agent.full_name] = error
        out = []
        for agent in asked:
            try:
                if agent.full_name in failed:
                    raise failed[agent.full_name]
                strategies = accept(agent.name, agent.answer(self._deadline_s), view, self._most)
            except AgentFailed as error:
                out.append(self._failure(agent, str(error), view))
            else:
                self._conduct.well(agent.full_name)
                out.append(Answer(agent.full_name, strategies))
        return out

    def close(self) -> None:
        """End all processes."""
        for agent in self._agents:
            agent.close()

    def _failure(self, agent: AgentProcess, why: str, view: NetworkView) -> Answer:
        suspended = self._conduct.failed(agent.full_name, view.period_end_ms, 1000 * view.topology.granularity_s)
        self._log.error("an agent failed", agent=agent.full_name, why=why, suspended=suspended)
        if suspended:
            agent.close()
        return Answer(agent.full_name, [], why, self._periods if suspended else 0)

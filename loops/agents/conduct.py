"""What is expected of agents, who may come from anywhere: answers that are proposals for this network, and not one
failure after another."""

from collections.abc import Sequence

from pydantic import ValidationError

from loops.agents.agent import NetworkView
from loops.exceptions import AgentFailed
from schemas.names import cell_of
from schemas.strategies import Strategy


def accept(agent: str, answer: Sequence[str], view: NetworkView, most: int) -> list[Strategy]:
    """An agent's answer as strategies.

    All or nothing: an agent of which one proposal cannot be meant has not understood its view.

    Parameters
    ----------
    agent
        Name under which it was asked.
    answer
        Strategies as JSON.
    most
        How many it may propose at once.

    Raises
    ------
    AgentFailed
        If there are too many, or one is no strategy, or is not this agent's, not for this network, region and period,
        stands twice, or changes a cell that the network does not have.
    """
    if len(answer) > most:
        raise AgentFailed(f"it proposes {len(answer)} strategies at once; {most} are permitted (inner.agent_most)")
    out, cells = list[Strategy](), frozenset(view.cells)
    for text in answer:
        try:
            proposal = Strategy.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            raise AgentFailed(f"it proposes what is no strategy: {place}: {first['msg']}") from None
        if wrong := _wrong(proposal, agent, view, cells):
            raise AgentFailed(f"strategy {proposal.strategy_id!r} {wrong}")
        out.append(proposal)
    if len({p.strategy_id for p in out}) < len(out):
        raise AgentFailed("two of its strategies have the same id")
    return out


def _wrong(proposal: Strategy, agent: str, view: NetworkView, cells: frozenset[str]) -> str:
    """What speaks against taking a proposal as this agent's for this view; nothing if all is well."""
    due = {
        "agent": agent,
        "network_id": view.network_id,
        "region": view.region,
        "proposed_at_ms": view.period_end_ms,
        "revision": view.revision,
    }
    for name, value in due.items():
        if getattr(proposal, name) != value:
            return f"has {name} {getattr(proposal, name)!r}, not {value!r}"
    strange = sorted({cell_of(c.object) for c in proposal.all_changes} - cells)
    return f"changes {strange[0]!r}, which the network does not have" if strange else ""


class Conduct:
    """Failures in a row of each agent, and for how long one is left out after too many.

    Parameters
    ----------
    failures
        In a row, after which an agent is suspended.
    periods
        For how many it is then not asked. When it is asked again, one more failure suspends it again.
    """

    def __init__(self, failures: int, periods: int) -> None:
        self._most, self._periods = failures, periods
        self._in_row: dict[str, int] = {}
        self._until: dict[str, int] = {}

    def suspended(self, agent: str, period_end_ms: int) -> bool:
        """Whether it is left out in that period."""
        return period_end_ms <= self._until.get(agent, -1)

    def well(self, agent: str) -> None:
        """It answered as it should."""
        self._in_row.pop(agent, None)
        self._until.pop(agent, None)

    def failed(self, agent: str, period_end_ms: int, period_ms: int) -> bool:
        """It failed; whether it is suspended from now on."""
        self._in_row[agent] = self._in_row.get(agent, 0) + 1
        if self._in_row[agent] < self._most:
            return False
        self._until[agent] = period_end_ms + self._periods * period_ms
        return True

"""What an agent is, what it sees, and how it speaks.

An agent is a pure function of its view: asked twice it proposes the same strategies under the same ids. It keeps no
state of its own; what it did before, and what came of it, is in the view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from loops.exceptions import UnknownAgent
from schemas.identifiers import digest
from schemas.names import cell_of
from schemas.ndt import Diagnosis
from schemas.strategies import ConfigChange, Objective, Strategy
from schemas.topology import Topology

Array = NDArray[np.float64]
Setting = tuple[str, str, float | str]
"""Object, attribute, value."""

GROUP = "twinloop.agents"


class Form(StrEnum):
    """How an agent hands in what it wants."""

    CHANGE = "change"  # once
    SCHEDULE = "schedule"  # every day at its time
    POLICY = "policy"  # whenever its reason comes true


class Fate(StrEnum):
    """What became of a strategy."""

    OPEN = "open"  # being verified, or in rollout
    DONE = "done"  # in force
    REFUSED = "refused"  # rejected by verification
    UNDECIDED = "undecided"  # verification could not tell, or the plan never began
    UNDONE = "undone"  # rolled back or failed


@dataclass(frozen=True)
class Attempt:
    """A strategy of an agent, and what came of it.

    Parameters
    ----------
    settings
        What it set.
    period_end_ms
        When it was proposed.
    standing
        Whether it is a schedule or policy.
    diagnosis
        Why it failed, where that is known.
    """

    strategy_id: str
    agent: str
    settings: frozenset[Setting]
    period_end_ms: int
    fate: Fate
    standing: bool = False
    diagnosis: Diagnosis | None = None

    @cached_property
    def cells(self) -> frozenset[str]:
        """DNs of the cells whose objects it set."""
        return frozenset(cell_of(dn) for dn, _, _ in self.settings)

    @cached_property
    def blamed(self) -> frozenset[str]:
        """Of these, the cells to which a failure is laid: that of the change that caused it, else all."""
        found = self.diagnosis
        if found is None or not found.change_id:
            return self.cells
        named = frozenset(c for c in self.cells if any(cell_of(dn) == c for dn in _objects(found.change)))
        return named or self.cells


@dataclass(frozen=True, eq=False)
class NetworkView:
    """What agents see at the end of a period. Cell axis C in topology order.

    Parameters
    ----------
    active
        [C] unlocked.
    in_service
        [C] free of failure.
    cio_db
        [C, C] handover bias from a cell (row) towards another.
    tx_power_dbm, tilt_deg
        [C] configured power and electrical down-tilt.
    weak_share
        [C] share of a cell's users who hear it weakly.
    disturbed_share
        [C] share of the other cells' traffic that a cell disturbs strongly.
    slices
        [K] S-NSSAIs.
    dedicated_ratio, min_ratio, max_ratio
        [C, K] RRMPolicyRatio of each slice, percent.
    neighbours
        For each cell its neighbours' indices, longest border first.
    heirs
        [C, C] share of a cell's (row) traffic that each other cell would take over if it were off.
    kpis
        3GPP name to [C], smoothed over the latest periods, NaN where unknown.
    forecast
        3GPP name to [C], expected of the next period.
    locked
        Cells that a plan in rollout holds; nothing else should touch them.
    history
        Earlier strategies of all agents, oldest first.
    """

    network_id: str
    region: str
    topology: Topology
    revision: int
    period_end_ms: int
    active: NDArray[np.bool_]
    in_service: NDArray[np.bool_]
    cio_db: Array
    tx_power_dbm: Array
    tilt_deg: Array
    weak_share: Array
    disturbed_share: Array
    neighbours: tuple[tuple[int, ...], ...]
    heirs: Array
    kpis: Mapping[str, Array]
    forecast: Mapping[str, Array]
    slices: tuple[str, ...] = ()
    dedicated_ratio: Array = field(default_factory=lambda: np.zeros((0, 0)))
    min_ratio: Array = field(default_factory=lambda: np.zeros((0, 0)))
    max_ratio: Array = field(default_factory=lambda: np.zeros((0, 0)))
    locked: frozenset[str] = frozenset()
    history: tuple[Attempt, ...] = field(default=())

    @property
    def cells(self) -> tuple[str, ...]:
        """[C] DNs."""
        return self.topology.cell_names

    def worst(self, kpi: str) -> Array:
        """[C] the larger of smoothed and expected: what a careful agent goes by; NaN where both are unknown."""
        nothing = np.full(len(self.cells), np.nan)
        return np.fmax(self.kpis.get(kpi, nothing), self.forecast.get(kpi, nothing))

    def periods_since(self, time_ms: int) -> float:
        """Granularity periods from then to now."""
        return (self.period_end_ms - time_ms) / (1000 * self.topology.granularity_s)


class Agent(Protocol):
    """Proposes strategies. Contract suite: tests/contracts/test_agents.py."""

    @property
    def name(self) -> str:
        """Under which it is known; the same as its entry point."""

    def propose(self, view: NetworkView) -> list[Strategy]:
        """Strategies for the network as it is, best first; often none."""


def offer_of(full_name: str) -> tuple[EntryPoint, Form | None]:
    """Who offers an agent, under the entry points ``twinloop.agents`` of all installed packages; nothing is loaded.

    Parameters
    ----------
    full_name
        ``NAME``, or ``NAME:FORM``: an agent that proposes its changes as a schedule or policy.

    Returns
    -------
    tuple[EntryPoint, Form | None]
        The form is None where none is named.

    Raises
    ------
    UnknownAgent
        If no package offers one of that name, or there is no such form.
    """
    name, _, form = full_name.partition(":")
    found = {e.name: e for e in entry_points(group=GROUP)}
    if name not in found:
        raise UnknownAgent(
            f"no agent {name!r}; installed: {', '.join(sorted(found)) or 'none'}. Install the package that offers "
            f"it under the entry points {GROUP}, or take it out of inner.agents"
        )
    if form and form not in set(Form):
        raise UnknownAgent(f"agent {name!r} is asked in the form {form!r}; forms are {', '.join(Form)}")
    return found[name], Form(form) if form else None


def load_agents(full_names: Sequence[str]) -> list[Agent]:
    """Agents by name.

    Raises
    ------
    UnknownAgent
        As `offer_of`, and if an agent does not take the form that is asked of it.
    """
    agents: list[Agent] = []
    for full_name in full_names:
        offer, form = offer_of(full_name)
        try:
            agents.append(offer.load()(**({"form": form} if form else {})))
        except (TypeError, ValueError):
            raise UnknownAgent(
                f"agent {offer.name!r} cannot propose in the form {form!r}; forms are {', '.join(Form)}, where the "
                "agent takes one. Correct inner.agents"
            ) from None
    return agents


def _objects(words: str) -> list[str]:
    """DNs named in words."""
    return [word.rstrip(",") for word in words.split() if "=" in word]


def strategy(
    view: NetworkView,
    agent: str,
    title: str,
    settings: Sequence[Setting],
    objective: Objective,
    rationale: str = "",
    priority: int = 5,
) -> Strategy:
    """A strategy on this view; its id follows from agent, period and content."""
    changes = [
        ConfigChange(change_id=f"{i + 1}", object=o, attribute=a, value=v) for i, (o, a, v) in enumerate(settings)
    ]
    content = [agent, view.period_end_ms, objective.model_dump_json(), *(c.model_dump_json() for c in changes)]
    strategy_id = f"{agent.replace(':', '-')}-{digest(view.network_id, view.region, *content, length=12)}"
    return Strategy(
        network_id=view.network_id,
        event_id=strategy_id,
        strategy_id=strategy_id,
        region=view.region,
        agent=agent,
        title=title,
        changes=changes,
        objective=objective,
        priority=priority,
        proposed_at_ms=view.period_end_ms,
        revision=view.revision,
        rationale=rationale,
    )

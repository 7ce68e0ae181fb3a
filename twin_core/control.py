"""Who holds the levers during a roll-out: a schedule by time of day, or a policy of rules that acts by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from schemas.strategies import Condition, ConfigChange, Rule, ScheduleEntry, Strategy
from twin_core.configuration import Configuration
from twin_core.exceptions import UnknownObject
from twin_core.fit.demand_fit import seen_at
from twin_core.kpis import kpis_of
from twin_core.network import Network
from twin_core.twin import Twin

Tensor = torch.Tensor
_MINUTE_MS, _DAY_MINUTES = 60_000, 1440


class Course(Protocol):
    """A control in one scenario, asked once for each period, in order."""

    def configuration(self, period: int, before: Tensor | None) -> Configuration:
        """What holds in a period (0, 1, …).

        Parameters
        ----------
        before
            [M, C] KPIs of the period before; None for the first.
        """


class Control(Protocol):
    """What holds the levers."""

    def begin(self) -> Course:
        """A course of its own for each scenario."""

    def ahead(self, horizon: int) -> Tensor | None:
        """[T] how many periods ahead each step of the roll-out lies; None for 1, 2, …, T."""


def control_of(twin: Twin, strategy: Strategy) -> "Configuration | Control":
    """What a strategy does to the levers: for a change simply the configuration after it.

    Raises
    ------
    UnknownObject
        If it names an object, or a KPI, that the twin does not know.
    InvalidConfiguration
        If a value is out of range.
    """
    if strategy.kind == "schedule":
        return Schedule(twin, strategy.schedule)
    if strategy.kind == "policy":
        return Policy(twin, strategy.rules, strategy.rest_periods)
    return twin.configuration.with_changes(twin.network, strategy.changes)


class Schedule:
    """Changes by time of day, as a time lapse: each entry's hour gets its share of the horizon.

    Entries hold one after the other, in the order of the day from now on, each on top of those before it.
    """

    def __init__(self, twin: Twin, entries: Sequence[ScheduleEntry]) -> None:
        granularity_ms = 1000 * twin.network.topology.granularity_s
        now = twin.period_end_ms // _MINUTE_MS % _DAY_MINUTES
        order = sorted(entries, key=lambda e: ((e.at_minute - now) % _DAY_MINUTES, e.at_minute))
        self._first_ahead: list[int] = []
        self._held: list[Configuration] = []
        self._share = 1  # periods of the horizon for each entry
        held = twin.configuration
        for entry in order:
            held = held.with_changes(twin.network, entry.changes)
            wait_ms = (entry.at_minute - now) % _DAY_MINUTES * _MINUTE_MS
            self._first_ahead.append(1 + wait_ms // granularity_ms)
            self._held.append(held)

    def begin(self) -> "Schedule":
        """The same in every scenario."""
        return self

    def configuration(self, period: int, before: Tensor | None) -> Configuration:
        """What the entry of that step holds; see `Course.configuration`."""
        return self._held[min(period // self._share, len(self._held) - 1)]

    def ahead(self, horizon: int) -> Tensor:
        """[T] periods ahead; fixes how the horizon is shared among the entries."""
        self._share = max(1, horizon // len(self._held))
        at = [min(t // self._share, len(self._held) - 1) for t in range(horizon)]
        return torch.tensor([self._first_ahead[e] + t - e * self._share for t, e in enumerate(at)])


class Policy:
    """Rules that act on the KPIs of the period before."""

    def __init__(self, twin: Twin, rules: Sequence[Rule], rest_periods: int) -> None:
        self.twin, self.rules, self.rest_periods = twin, tuple(rules), rest_periods
        self.places = [places_of(twin.network, rule.when) for rule in rules]
        for rule in rules:  # mistakes show before anything is rolled out
            twin.configuration.with_changes(twin.network, rule.changes)
        self._after: dict[tuple[int, int], tuple[Configuration, Configuration]] = {}

    def after(self, held: Configuration, rule: int) -> Configuration:
        """The configuration after a rule has acted; the same object for the same one before: so radio is shared."""
        key = id(held), rule
        if key not in self._after:
            new = held.with_changes(self.twin.network, self.rules[rule].changes)
            self._after[key] = held, held if new.same_as(held) else new
        return self._after[key][1]

    def begin(self) -> "_PolicyCourse":
        """A course with counters of its own."""
        return _PolicyCourse(self, self.twin.configuration, [0] * len(self.rules))

    def ahead(self, horizon: int) -> None:
        """From now on, period by period."""


@dataclass
class _PolicyCourse:
    policy: Policy
    held: Configuration
    true_for: list[int]
    rested: int = 10**9

    def configuration(self, period: int, before: Tensor | None) -> Configuration:
        """Act on what was; see `Course.configuration`."""
        if before is None:
            return self.held
        self.rested += 1
        policy = self.policy
        for i, (rule, (kpi, cells)) in enumerate(zip(policy.rules, policy.places, strict=True)):
            self.true_for[i] = self.true_for[i] + 1 if holds(rule.when, before[kpi, cells]) else 0
        for i, rule in enumerate(policy.rules):
            if self.true_for[i] >= rule.when.periods and self.rested >= policy.rest_periods:
                new = policy.after(self.held, i)
                if new is not self.held:
                    self.held, self.rested = new, 0
                    break
        return self.held


def places_of(network: Network, condition: Condition) -> tuple[int, Tensor]:
    """Positions of a condition's KPI and cells.

    Raises
    ------
    UnknownObject
        If the twin knows no such KPI or cell.
    """
    kpis = kpis_of(network)
    if condition.kpi not in kpis:
        raise UnknownObject(f"the twin predicts no KPI {condition.kpi!r}; it predicts {', '.join(kpis)}")
    cells = [network.cell_index(c) for c in condition.cells] or list(range(len(network.cells)))
    return kpis.index(condition.kpi), torch.tensor(cells, dtype=torch.long)


def holds(condition: Condition, values: Tensor) -> bool:
    """Whether a condition is true of one period.

    Parameters
    ----------
    values
        [n] the KPI of its cells; NaN is unknown, and nothing known makes no condition true.

    Examples
    --------
    >>> quiet = Condition(kpi="RRU.PrbTotDl", statistic="max", below=20)
    >>> holds(quiet, torch.tensor([12.0, torch.nan])), holds(quiet, torch.tensor([12.0, 25.0]))
    (True, False)
    """
    known = values[~values.isnan()]
    if not len(known):
        return False
    match condition.statistic:
        case "max":
            value = float(known.max())
        case "min":
            value = float(known.min())
        case _:
            value = float(known.mean())
    return value > condition.above if condition.above is not None else value < (condition.below or 0.0)


def unseen_hours(twin: Twin, strategy: Strategy) -> list[str]:
    """Times of day at which a schedule acts and of which the twin knows no demand."""
    return [
        f"{e.at_minute // 60:02d}:{e.at_minute % 60:02d}"
        for e in strategy.schedule
        if not seen_at(twin.environment, e.at_minute * _MINUTE_MS)
    ]


def locked_by(strategy: Strategy) -> frozenset[str]:
    """DNs of the cells that a strategy may switch off."""
    return frozenset(
        c.object for c in strategy.all_changes if c.attribute == "administrativeState" and c.value != "UNLOCKED"
    )


def wanted(changes: Sequence[ConfigChange]) -> Mapping[tuple[str, str], float | str]:
    """Attributes and the values they are to get."""
    return {(c.object, c.attribute): c.value for c in changes}

"""The same wish in three forms: made once, every day at its time, or whenever its reason comes true."""

from collections.abc import Sequence
from dataclasses import dataclass

from loops.agents.agent import Form, NetworkView, Setting, strategy
from schemas.strategies import Condition, ConfigChange, Objective, Rule, ScheduleEntry, Strategy

_MINUTE_MS, _DAY_MINUTES = 60_000, 1440
# A schedule begins at a full quarter of an hour and lasts so long, where an agent knows no better.
_QUARTER, _LASTING = 15, 180
_PERIODS, _REST_PERIODS = 3, 10


@dataclass(frozen=True)
class Trigger:
    """The reason of a wish, as a condition on a KPI of cells, and where it no longer holds.

    Parameters
    ----------
    above, below
        One of them: the reason holds while the KPI is beyond it.
    clear
        On the other side of this it holds no longer; apart from the first, so that a policy does not swing.
    """

    kpi: str
    cells: Sequence[str]
    above: float | None = None
    below: float | None = None
    clear: float = 0.0
    statistic: str = "mean"

    def comes(self) -> Condition:
        """The reason has come true."""
        return self._condition(above=self.above, below=self.below)

    def goes(self) -> Condition:
        """The reason holds no longer."""
        beyond = {"below": self.clear} if self.above is not None else {"above": self.clear}
        return self._condition(**beyond)

    def _condition(self, **beyond: float | None) -> Condition:
        return Condition.model_validate(
            {
                "kpi": self.kpi,
                "cells": list(self.cells),
                "statistic": self.statistic,
                "periods": _PERIODS,
                **{name: round(value, 3) for name, value in beyond.items() if value is not None},
            }
        )


def proposal(
    view: NetworkView,
    agent: str,
    form: Form,
    title: str,
    new: Sequence[Setting],
    old: Sequence[Setting],
    objective: Objective,
    rationale: str,
    trigger: Trigger,
    priority: int = 5,
) -> Strategy:
    """A strategy in the form asked for.

    Parameters
    ----------
    new, old
        What is wanted, and what to go back to when the reason or the time has gone.
    trigger
        Why.
    """
    once = strategy(view, agent, title, new, objective, rationale, priority)
    if form is Form.CHANGE:
        return once
    back = strategy(view, agent, title, old, objective, rationale, priority)
    if form is Form.POLICY:
        rules = [_rule(trigger.comes(), once.changes), _rule(trigger.goes(), back.changes)]
        return _as(once, "policy", f"{title} whenever {_words(trigger)}", rules=rules, rest_periods=_REST_PERIODS)
    now = view.period_end_ms // _MINUTE_MS
    begins = (now // _QUARTER + 1) * _QUARTER
    entries = [
        ScheduleEntry(at_minute=begins % _DAY_MINUTES, changes=once.changes),
        ScheduleEntry(at_minute=(begins + _LASTING) % _DAY_MINUTES, changes=back.changes),
    ]
    return _as(once, "schedule", f"{title} every day at {_clock(entries[0].at_minute)}", schedule=entries)


def _as(once: Strategy, kind: str, title: str, **parts: object) -> Strategy:
    """The same wish as another kind, under the id of what it would be once, and the kind."""
    strategy_id = f"{once.strategy_id}-{kind}"
    update = {"kind": kind, "title": title[:300], "changes": [], "event_id": strategy_id, "strategy_id": strategy_id}
    return Strategy.model_validate(once.model_dump() | update | parts)


def _rule(when: Condition, changes: list[ConfigChange]) -> Rule:
    return Rule(when=when, changes=changes)


def _words(trigger: Trigger) -> str:
    sign, limit = (">", trigger.above) if trigger.above is not None else ("<", trigger.below)
    return f"{trigger.statistic} {trigger.kpi} {sign} {limit:g}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"

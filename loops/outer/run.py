"""A step in the making: the plan as it changes, and everything that follows from it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from loops.alerts.events import Kind, alert
from loops.outer.commands import commands_for, reversal
from loops.outer.comparison import Windows, windows
from loops.outer.diagnosis import diagnose
from loops.outer.ground import Ground
from loops.outer.history import KpiHistory
from loops.outer.inputs import Inputs, Note, Step
from loops.outer.judgement import Judgement, judge
from loops.outer.neighbours import NeighbourGraph
from loops.outer.outcomes import outcomes
from loops.outer.plan import Attribute, CommandStatus, Plan, PushedCommand, as_mapping, as_values
from loops.outer.reconcile import Reconciliation, desired, reconcile
from loops.outer.settings import OuterSettings, watches_from
from loops.outer.states import check
from schemas.alerts import Alert
from schemas.levers import UNLOCKED
from schemas.names import cell_of
from schemas.ndt import Diagnosis
from schemas.plans import ConfigCommand, Outcome, PlanState, PlanTransition
from schemas.telemetry import AttributeValue


class Run:
    """One plan in one period."""

    def __init__(self, plan: Plan, inputs: Inputs, graph: NeighbourGraph, settings: OuterSettings) -> None:
        self.plan, self.inputs, self.graph, self.settings = plan, inputs, graph, settings
        self.judgement: Judgement | None = None
        self.notes: list[Note] = []
        self.ordered = False  # by a person
        self._transitions: list[PlanTransition] = []
        self._commands: list[ConfigCommand] = []
        self._outcomes: tuple[Outcome, ...] = ()
        self._alerts: list[Alert] = []

    @property
    def now(self) -> int:
        """End of the period."""
        return self.inputs.period_end_ms

    def periods_since(self, time_ms: int) -> float:
        """Granularity periods since then."""
        return (self.now - time_ms) / self.inputs.granularity_ms

    def step(self) -> Step:
        """What has become of the plan."""
        return Step(
            plan=self.plan,
            transitions=tuple(self._transitions),
            commands=tuple(self._commands),
            outcomes=self._outcomes,
            alerts=tuple(self._alerts),
            notes=tuple(self.notes),
            judgement=self.judgement,
            diagnosis=self._diagnosis(),
        )

    def _diagnosis(self) -> Diagnosis | None:
        if self.ordered or not any(t.to_state is PlanState.ROLLING_BACK for t in self._transitions):
            return None
        return diagnose(self.plan, self.judgement, self.inputs, sorted(self.alarmed()))

    # -- changing the plan

    def set(self, **changes: Any) -> None:
        """Change fields of the plan."""
        self.plan = self.plan.model_copy(update=changes)

    def go(self, state: PlanState, reason: str) -> None:
        """Make a transition; raises IllegalTransition."""
        plan = self.plan
        check(plan.state, state)
        reason = reason[:4000]
        self._transitions.append(
            PlanTransition(
                network_id=plan.network_id,
                event_id=f"{plan.plan_id}/{plan.seq}",
                plan_id=plan.plan_id,
                strategy_id=plan.strategy.strategy_id,
                job_id=plan.job_id,
                seq=plan.seq,
                from_state=plan.state,
                to_state=state,
                stage=plan.stage_name,
                reason=reason,
                time_ms=self.now,
            )
        )
        self.set(state=state, seq=plan.seq + 1, reason=reason)

    def wait(self, reason: str) -> None:
        """Stay, and say why, once for each reason."""
        if reason != self.plan.reason:
            self.set(reason=reason)
            self.notes.append(Note("waits", {"reason": reason}))

    def push(self, stage_index: int, reason: str) -> None:
        """Send the commands of a stage. With the first one the plan gets the fallback of *all* its changes."""
        if self.plan.first_push_ms is None:
            changes = (c for s in self.plan.stages for c in s.changes)
            keys = {(c.object, c.attribute) for c in changes}
            fallback = as_values((k, self.inputs.actual[k]) for k in keys)
            self.set(first_push_ms=self.now, fallback=fallback)
        self.set(stage_index=stage_index, held_ms=None, waited=0, blind=0)
        self._send(commands_for(self.plan, "apply", self.plan.stage.changes, self.now))
        self.go(PlanState.PUSHING, reason)

    def hold(self) -> None:
        """The stage is in force: watch it."""
        self.set(held_ms=self.now, waited=0, blind=0)
        self.go(PlanState.HOLDING, "all commands in force")

    def roll_back(self, reason: str, foreign: Mapping[Attribute, float | str] | None = None) -> None:
        """Bring back the fallback of everything that was sent, but for what other hands hold."""
        if self.plan.held_ms is not None:
            self._outcomes = self._find_outcomes()
        fallback = as_mapping(self.plan.fallback)
        own = [k for k in desired(self.plan) if k not in (foreign or {})]
        self.set(cause=reason, left_alone=as_values((foreign or {}).items()), waited=0)
        self._send(commands_for(self.plan, "rollback", reversal(self.plan, self._values(own, fallback)), self.now))
        self.go(PlanState.ROLLING_BACK, reason)

    def resend(self, pushed: Iterable[PushedCommand]) -> None:
        """Send commands again under their ids."""
        again = {p.command.command_id for p in pushed}
        commands = tuple(
            p.model_copy(update={"status": CommandStatus.SENT, "attempts": p.attempts + 1})
            if p.command.command_id in again
            else p
            for p in self.plan.commands
        )
        self.set(commands=commands)
        self._commands += [p.command for p in commands if p.command.command_id in again]

    def promoted(self) -> None:
        """The present stage has ended well: write its outcomes."""
        self._outcomes = self._find_outcomes()

    def _send(self, commands: tuple[ConfigCommand, ...]) -> None:
        self.set(commands=(*self.plan.commands, *(PushedCommand(command=c) for c in commands)))
        self._commands += commands

    @staticmethod
    def _values(keys: Iterable[Attribute], values: Mapping[Attribute, float | str]) -> tuple[AttributeValue, ...]:
        return tuple(AttributeValue(object=k[0], attribute=k[1], value=values[k]) for k in keys)

    # -- telling

    def tell(self, kind: Kind, summary: str, **data: str) -> None:
        """Raise an alert about the plan."""
        plan = self.plan
        more = {"strategy": plan.strategy.strategy_id, "title": plan.strategy.title, "job": plan.job_id, **data}
        self._alerts.append(alert(kind, plan.network_id, plan.plan_id, self.now, summary, more))

    # -- seeing

    def reconcile(self) -> Reconciliation | None:
        """Desired against actual; None if the actual configuration is not known as of this period."""
        return reconcile(self.plan, self.inputs.actual) if self.inputs.actual else None

    def open_commands(self, kind: str, stage: str | None = None) -> list[PushedCommand]:
        """Commands that are not known to be applied."""
        return [p for p in self.plan.of_kind(kind, stage) if p.status is not CommandStatus.APPLIED]

    def ground(self) -> Ground:
        """Changed cells, ring and controls of the stages pushed so far."""
        treated = frozenset(self.plan.touched)
        ring = self.graph.ring(treated)
        away = treated | ring | self.inputs.busy | self.inputs.out_of_service
        return Ground(treated, ring, frozenset(self.graph.cells) - away, self.silenced())

    def silenced(self) -> frozenset[str]:
        """Cells that the plan has switched off."""
        return frozenset(
            cell_of(dn)
            for (dn, attribute), value in desired(self.plan).items()
            if attribute == "administrativeState" and value != UNLOCKED
        )

    def alarmed(self) -> frozenset[str]:
        """Changed or neighbouring cells that are out of service, though not by the plan's own order."""
        return (self.graph.area(self.plan.touched) & self.inputs.out_of_service) - self.silenced()

    def hindrance(self) -> str | None:
        """Why nothing may be pushed now."""
        plan, seen = self.plan, self.inputs
        if not seen.gate_open:
            return "the twin's fidelity gate is closed"
        if not seen.actual:
            return "the configuration is not known as of this period"
        if taken := seen.busy & frozenset(plan.area):
            return f"another plan holds {_few(taken)}"
        if down := (seen.out_of_service & frozenset(plan.area)) - self.silenced():
            return f"out of service: {_few(down)}"
        bounded = not (math.isnan(plan.load_low) and math.isnan(plan.load_high))
        if bounded and math.isnan(seen.load_pct):
            return "the load of the network is not known"
        margin = self.settings.load_margin
        if seen.load_pct < plan.load_low - margin or seen.load_pct > plan.load_high + margin:
            return (
                f"the network's load of {seen.load_pct:.1f} % lies outside the verdict's "
                f"{plan.load_low:.1f} to {plan.load_high:.1f} %"
            )
        return None

    def judge(self) -> Judgement:
        """Judge the present stage."""
        history = self._history()
        watches = (*self.settings.watches, *watches_from(self.plan.guards))
        at = self._windows(history)
        self.judgement = judge(history, at, self.ground(), watches, self.plan.predictions, self.settings)
        return self.judgement

    def reports_now(self) -> bool:
        """Whether the network has reported anything of the period just ended."""
        ends = self._history().period_ends_ms
        return bool(len(ends)) and int(ends[-1]) == self.now

    def _history(self) -> KpiHistory:
        return self.inputs.history.until(self.now)

    def _windows(self, history: KpiHistory) -> Windows:
        plan = self.plan
        assert plan.first_push_ms is not None
        assert plan.held_ms is not None
        judged_after = plan.held_ms + self.settings.settle_periods * self.inputs.granularity_ms
        return windows(history, plan.first_push_ms, judged_after, self.settings.before_periods)

    def _find_outcomes(self) -> tuple[Outcome, ...]:
        history = self._history()
        return outcomes(self.plan, history, self._windows(history), self.ground(), self.now, self.settings)


def _few(names: Iterable[str], most: int = 3) -> str:
    found = sorted(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def listed(values: Iterable[AttributeValue]) -> str:
    """Attributes and their values in words."""
    return ", ".join(f"{v.attribute} of {v.object} = {v.value}" for v in values)

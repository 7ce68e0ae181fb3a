"""What the inner loop is to verify in a period: what agents, people, the schedule and the topic propose."""

import structlog

from infra.agents.panel import Answer, Panel
from infra.roles.base import Context
from infra.roles.inbox import Inbox
from infra.roles.inner_sight import Sight, revision_at
from infra.roles.schedule import Schedule
from infra.storage import progress
from infra.storage.alerts import save_alert
from infra.storage.database import Connection
from infra.storage.plans import standing_plans, write_audit
from infra.storage.strategies import last_child, take_in, verifying
from infra.topologies import lacking_levers
from loops.agents.standing import due
from loops.alerts.events import Kind, alert
from schemas.names import cell_of
from schemas.strategies import Strategy
from schemas.twin import TwinUpdate
from twin_core.exceptions import TwinError
from twin_core.regions import Shard


class Proposals:
    """All who propose.

    Parameters
    ----------
    role
        In whose name strategies are taken in, and whose progress counts.
    agents
        Who is asked every period.
    inbox
        What others hand in on `strategies.proposed`.
    shard
        The region's cells.
    """

    def __init__(
        self,
        context: Context,
        role: str,
        agents: Panel,
        schedule: Schedule,
        inbox: Inbox[Strategy],
        shard: Shard,
    ) -> None:
        self._context, self._role = context, role
        self._agents, self._schedule, self._inbox, self._shard = agents, schedule, inbox, shard
        self._log = structlog.get_logger().bind(role=role, network=context.network_id, region=context.region)

    def save(self, connection: Connection) -> None:
        """Keep the position to which the topic was read."""
        self._inbox.save(connection)

    def of_period(self, connection: Connection, sight: Sight, update: TwinUpdate) -> list[Strategy]:
        """What is to be verified: what was taken in before a restart, else what is proposed now."""
        context = self._context
        left = verifying(connection, context.network_id, context.region)
        if left:
            return left
        proposed = [
            *self._due(connection, update),
            *self._handed_in(),
            *self._standing(connection, sight, update),
            *self._ask(connection, sight),
        ]
        for strategy in proposed:
            if lacking := lacking_levers(connection, strategy):
                self._leave_out(connection, strategy, lacking, update.period_end_ms)
                continue
            take_in(connection, self._role, strategy, update.period_end_ms)
        return verifying(connection, context.network_id, context.region)

    def _handed_in(self) -> list[Strategy]:
        """What others have put on the topic for this region."""
        return [s for s in self._inbox.poll() if s.region == self._context.region]

    def _standing(self, connection: Connection, sight: Sight, update: TwinUpdate) -> list[Strategy]:
        """What schedules and policies in force want now."""
        context, out = self._context, []
        done = progress.reached(connection, context.network_id).get(self._role, update.period_end_ms)
        for plan in standing_plans(connection, context.network_id, context.region):
            standing = plan.strategy
            acted_ms = last_child(connection, context.network_id, standing.strategy_id)
            try:
                child = due(standing, sight.twin, sight.observed, done, acted_ms)
            except TwinError as error:
                self._log.error("a standing strategy cannot act", strategy=standing.strategy_id, error=str(error))
                continue
            out += [child] if child else []
        return out

    def _leave_out(self, connection: Connection, strategy: Strategy, lacking: list[str], time_ms: int) -> None:
        """A strategy that the network could not carry out is not worth a verdict; agents would repeat it for ever."""
        self._log.debug("left out: the network lacks its levers", strategy=strategy.strategy_id, levers=lacking)
        if strategy.agent.startswith("person:"):
            detail = {"title": strategy.title, "levers that the network lacks": lacking}
            write_audit(connection, strategy.network_id, time_ms, self._role, "left out", strategy.strategy_id, detail)

    def _due(self, connection: Connection, update: TwinUpdate) -> list[Strategy]:
        """What the schedule hands in by this revision."""
        context = self._context
        done = progress.reached(connection, context.network_id).get(self._role, -1)
        before = revision_at(connection, context.network_id, context.region, done)
        due = self._schedule.between(before, update.revision, update.period_end_ms)
        # Of a network in several regions each is handed in where its first change is.
        return [s for s in due if cell_of(s.all_changes[0].object) in self._shard.owned]

    def _ask(self, connection: Connection, sight: Sight) -> list[Strategy]:
        """What agents propose. They are not asked before the twin is worth it: nothing could be concluded."""
        if sight.twin.revision < self._context.settings.inner.warm_up_periods or not sight.twin.gate_open:
            return []
        answers = self._agents.ask(sight.view(connection))
        for answer in answers:
            if answer.failure:
                self._note_failure(connection, answer, sight.twin.period_end_ms)
        return [s for answer in answers for s in answer.strategies]

    def _note_failure(self, connection: Connection, answer: Answer, period_end_ms: int) -> None:
        """An agent may come from anywhere; its failure is told, and is not the loop's."""
        network_id, detail = self._context.network_id, {"error": answer.failure}
        write_audit(connection, network_id, period_end_ms, self._role, "agent failed", answer.agent, detail)
        if not answer.suspended_periods:
            return
        summary = f"{answer.agent} failed too often and rests {answer.suspended_periods} periods: {answer.failure}"
        write_audit(connection, network_id, period_end_ms, self._role, "agent suspended", answer.agent, detail)
        told = alert(Kind.AGENT_SUSPENDED, network_id, answer.agent, period_end_ms, summary)
        save_alert(connection, self._role, told, period_end_ms)

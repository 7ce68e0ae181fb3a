"""Hand a person's strategy to the inner loop (`twinloop propose`): from there it goes the way of every agent's."""

import time
from pathlib import Path

from infra.exceptions import InfraError
from infra.roles.base import Context
from infra.storage.database import Database
from infra.storage.plans import write_audit
from infra.storage.rows import find_one
from infra.storage.strategies import verdict_of
from infra.topologies import lacking_levers, topology_or_explain
from infra.verifying import Verified, revision_or_newest
from loops.agents.from_file import load_strategy
from schemas.strategies import Guard, Strategy
from schemas.topics import STRATEGIES, TOPICS

_SEND_S = 10.0
_LOOK_EVERY_S = 0.25


def propose(context: Context, path: Path, actor: str) -> Strategy:
    """Put a strategy file on the topic ``strategies.proposed``.

    Parameters
    ----------
    actor
        Who hands it in, for the audit; the strategy itself names who wrote it.

    Raises
    ------
    BadStrategyFile
        If the file is no strategy for this network.
    InfraError
        If the network is not known yet, or has not the levers that the strategy sets.
    DeliveryFailed
        If Kafka does not take it.
    """
    with context.database("propose") as database:
        topology = topology_or_explain(database, context.network_id)
        update = revision_or_newest(context, database)
        strategy = load_strategy(
            path, topology, proposed_at_ms=update.period_end_ms, revision=update.revision, region=context.region
        )
        with database.transaction() as connection:
            if lacking := lacking_levers(connection, strategy):
                raise InfraError(
                    f"network {strategy.network_id} has no lever {', '.join(lacking)}, so «{strategy.title}» could not "
                    "be pushed",
                    "leave these changes out, or try them in the twin alone with `twinloop verify`",
                )
        context.transport.ensure_topics(TOPICS)
        producer = context.transport.producer("propose")
        producer.send(STRATEGIES.name, STRATEGIES.key_of(strategy), context.serde.encode(STRATEGIES, strategy))
        producer.flush(_SEND_S)
        with database.transaction() as connection:
            detail = {"title": strategy.title, "changes": len(strategy.all_changes)}
            write_audit(
                connection, strategy.network_id, update.period_end_ms, actor, "handed in", strategy.strategy_id, detail
            )
    return strategy


def await_verdict(context: Context, strategy: Strategy, deadline_s: float) -> Verified | None:
    """Wait for the inner loop's verdict; None if it has none by the deadline."""
    end = time.monotonic() + deadline_s
    with context.database("propose") as database:
        while True:
            if found := _verified(database, strategy):
                return found
            if time.monotonic() >= end:
                return None
            time.sleep(_LOOK_EVERY_S)


def _verified(database: Database, strategy: Strategy) -> Verified | None:
    with database.transaction() as connection:
        report = verdict_of(connection, strategy.network_id, strategy.strategy_id)
        if report is None:
            return None
        job = find_one(connection, "jobs", {"network_id": report.network_id, "job_id": report.job_id})
    guards = [Guard.model_validate(g) for g in job["body"]["guards"]] if job else []
    return Verified(strategy, guards, report, "the inner loop")

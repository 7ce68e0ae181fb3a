"""What a schedule or policy in force wants now: a change of its own, to be verified like any other."""

from collections.abc import Mapping

import torch

from loops.agents.agent import Array
from schemas.identifiers import digest
from schemas.strategies import ConfigChange, Strategy
from twin_core.control import holds, places_of, wanted
from twin_core.twin import Twin

_MINUTE_MS, _DAY_MINUTES = 60_000, 1440


def due(
    standing: Strategy, twin: Twin, recent: Mapping[str, Array], since_ms: int, acted_ms: int | None
) -> Strategy | None:
    """The change that is due, None if none is.

    Parameters
    ----------
    standing
        A schedule or policy in force.
    twin
        At the end of the period; tells what is in force already.
    recent
        KPI to [n, C] observed in the latest periods, oldest first, NaN where missing.
    since_ms
        End of the last period in which this was asked.
    acted_ms
        When it last brought a change forth, None if never.

    Raises
    ------
    TwinError
        If it names what the network does not have.
    """
    if standing.kind == "schedule":
        return _scheduled(standing, twin, since_ms)
    return _ruled(standing, twin, recent, acted_ms)


def _scheduled(standing: Strategy, twin: Twin, since_ms: int) -> Strategy | None:
    """The entries whose minute has come since, the latest last."""
    first = max(since_ms, twin.period_end_ms - _DAY_MINUTES * _MINUTE_MS) // _MINUTE_MS
    minutes = {m % _DAY_MINUTES: m for m in range(first + 1, twin.period_end_ms // _MINUTE_MS + 1)}
    come = sorted((e for e in standing.schedule if e.at_minute in minutes), key=lambda e: minutes[e.at_minute])
    changes = [c for e in come for c in e.changes]
    times = ", ".join(f"{e.at_minute // 60:02d}:{e.at_minute % 60:02d}" for e in come)
    return _child(standing, twin, changes, f"it is {times}")


def _ruled(standing: Strategy, twin: Twin, recent: Mapping[str, Array], acted_ms: int | None) -> Strategy | None:
    """The first rule whose condition has held for as long as it asks for and that would change something."""
    period_ms = 1000 * twin.network.topology.granularity_s
    if acted_ms is not None and twin.period_end_ms - acted_ms < standing.rest_periods * period_ms:
        return None
    for rule in standing.rules:
        _, cells = places_of(twin.network, rule.when)
        seen = recent.get(rule.when.kpi)
        n = rule.when.periods
        if seen is None or len(seen) < n:
            continue
        latest = torch.from_numpy(seen[-n:])[:, cells]
        if all(holds(rule.when, row) for row in latest):
            sign, limit = (">", rule.when.above) if rule.when.above is not None else ("<", rule.when.below)
            why = f"{rule.when.statistic} {rule.when.kpi} {sign} {limit:g} for {n} periods"
            if child := _child(standing, twin, rule.changes, why):
                return child
    return None


def _child(standing: Strategy, twin: Twin, changes: list[ConfigChange], why: str) -> Strategy | None:
    """A change by what is not in force already."""
    present = twin.configuration
    left = {
        (dn, attribute): value
        for (dn, attribute), value in wanted(changes).items()
        if present.value_of(twin.network, dn, attribute) != value
    }
    if not left:
        return None
    strategy_id = f"{standing.strategy_id[:150]}-{digest(standing.strategy_id, twin.period_end_ms, length=8)}"
    return standing.model_copy(
        update={
            "event_id": strategy_id,
            "strategy_id": strategy_id,
            "title": f"{standing.title}: {why}"[:300],
            "kind": "change",
            "changes": [
                ConfigChange(change_id=f"{i + 1}", object=dn, attribute=attribute, value=value)
                for i, ((dn, attribute), value) in enumerate(left.items())
            ],
            "schedule": [],
            "rules": [],
            "parent": standing.strategy_id,
            "proposed_at_ms": twin.period_end_ms,
            "revision": twin.revision,
            "rationale": why,
        }
    )

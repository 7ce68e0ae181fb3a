"""Outcomes as lessons for what learns: each stage's changes, from which values to which, with what came of them."""

from itertools import groupby

from infra.storage.database import Connection
from infra.storage.plans import load_plan
from loops.learning.outcomes import Lesson, Moved
from schemas.strategies import ConfigChange


def lessons_between(connection: Connection, network_id: str, after_ms: int, until_ms: int) -> list[Lesson]:
    """Lessons of the stages whose outcomes were written after one event time and by another, in order."""
    rows = connection.execute(
        "SELECT plan_id, stage, cell, kpi, predicted, observed FROM outcomes WHERE network_id = %s AND at_ms > %s "
        "AND at_ms <= %s AND cell <> '' AND predicted IS NOT NULL AND observed IS NOT NULL "
        "ORDER BY at_ms, plan_id, stage, cell, kpi",
        (network_id, after_ms, until_ms),
    ).fetchall()
    found = []
    for (plan_id, stage), of_stage in groupby(rows, key=lambda row: (row[0], row[1])):
        plan = load_plan(connection, network_id, plan_id)
        changes = tuple(c for s in plan.stages if s.name == stage for c in s.changes)
        before = {(v.object, v.attribute): v.value for v in plan.fallback}
        restored = tuple(
            ConfigChange(change_id=c.change_id, object=c.object, attribute=c.attribute, value=value)
            for c in changes
            if (value := before.get((c.object, c.attribute))) is not None
        )
        found.append(Lesson(restored, changes, tuple(Moved(*row[2:]) for row in of_stage)))
    return found

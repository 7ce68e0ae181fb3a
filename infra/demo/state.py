"""What the database says of a running demo, in one look."""

from collections import Counter
from dataclasses import dataclass, field

from infra.storage.database import Connection
from infra.storage.revisions import latest_revision
from schemas.twin import TwinUpdate


@dataclass(frozen=True)
class DemoState:
    """One look at a demo."""

    progress: dict[str, int] = field(default_factory=dict)
    update: TwinUpdate | None = None
    verdicts: Counter[str] = field(default_factory=Counter)
    plans: Counter[str] = field(default_factory=Counter)
    alerts: int = 0
    news: tuple[tuple[int, str], ...] = ()


_NEWS = """
SELECT at_ms, line FROM (
    SELECT v.period_end_ms AS at_ms, 0 AS follows, v.strategy_id AS about, 0 AS seq,
           v.verdict || ': ' || coalesce(s.body->>'title', v.strategy_id) || ' (' || s.agent || ')' AS line
    FROM verdicts v LEFT JOIN strategies s USING (network_id, strategy_id) WHERE v.network_id = %(n)s
    UNION ALL
    SELECT t.at_ms, 1, t.plan_id, t.seq,
           'plan ' || t.to_state || CASE WHEN t.stage = '' THEN '' ELSE ' (' || t.stage || ')' END
           || ': ' || coalesce(p.body->'strategy'->>'title', t.plan_id)
           || CASE WHEN t.reason = '' THEN '' ELSE ' – ' || t.reason END
    FROM plan_transitions t LEFT JOIN plans p USING (network_id, plan_id) WHERE t.network_id = %(n)s
) news ORDER BY at_ms DESC, follows DESC, about DESC, seq DESC LIMIT %(most)s
"""


def look(connection: Connection, network_id: str, region: str, news: int = 40) -> DemoState:
    """Read the present state; ``news`` of the newest verdicts and transitions, oldest first."""
    progress = connection.execute("SELECT role, period_end_ms FROM progress WHERE network_id = %s", (network_id,))
    done: dict[str, int] = dict(progress.fetchall())
    verdicts = connection.execute(
        "SELECT verdict, count(*) FROM verdicts WHERE network_id = %s GROUP BY verdict", (network_id,)
    )
    counts: Counter[str] = Counter(dict(verdicts.fetchall()))
    plans = connection.execute("SELECT state, count(*) FROM plans WHERE network_id = %s GROUP BY state", (network_id,))
    states: Counter[str] = Counter(dict(plans.fetchall()))
    alerts = connection.execute("SELECT count(*) FROM alerts WHERE network_id = %s", (network_id,)).fetchone()
    lines = connection.execute(_NEWS, {"n": network_id, "most": news}).fetchall()
    return DemoState(
        progress=done,
        update=latest_revision(connection, network_id, region),
        verdicts=counts,
        plans=states,
        alerts=int(alerts[0]) if alerts else 0,
        news=tuple((int(at), str(line)) for at, line in reversed(lines)),
    )

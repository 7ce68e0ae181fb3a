"""Rows in and out: the few statements that every table needs, with JSON and NaN turned as the tables want them.

Not an ORM: a row is a mapping from column to value. Models and containers become JSON, NaN becomes NULL.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from infra.storage.database import Connection

# Primary keys; what a repeated write replaces.
KEYS: Mapping[str, tuple[str, ...]] = {
    "networks": ("network_id",),
    "revisions": ("network_id", "region", "revision"),
    "snapshots": ("network_id", "region", "revision"),
    "kpis": ("network_id", "cell", "kpi", "period_end_ms"),
    "features": ("network_id", "cell", "name", "period_end_ms"),
    "progress": ("network_id", "role"),
    "strategies": ("network_id", "strategy_id"),
    "jobs": ("network_id", "job_id"),
    "job_results": ("network_id", "job_id", "shard_index"),
    "verdicts": ("network_id", "job_id"),
    "plans": ("network_id", "plan_id"),
    "plan_transitions": ("network_id", "plan_id", "seq"),
    "commands": ("network_id", "command_id"),
    "outcomes": ("network_id", "plan_id", "stage", "kpi", "cell"),
    "models": ("network_id", "region", "model", "version"),
    "alerts": ("network_id", "alert_id"),
    "conflicts": ("network_id", "conflict_id"),
    "diagnoses": ("network_id", "subject"),
    "anomalies": ("network_id", "cell", "period_end_ms"),
    "learners": ("network_id", "region", "learner"),
    "orders": ("network_id", "id"),
}


def upsert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    """Write a row, replacing the given columns of the one with its key."""
    replaced = [c for c in row if c not in KEYS[table]]
    assignments = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(c)) for c in replaced)
    action = sql.SQL("DO UPDATE SET {}").format(assignments) if replaced else sql.SQL("DO NOTHING")
    connection.execute(_insert(table, row, action), [to_column(v) for v in row.values()])


def insert_once(connection: Connection, table: str, row: Mapping[str, Any]) -> bool:
    """Write a row unless one with its key is there; whether it was written."""
    done = connection.execute(_insert(table, row, sql.SQL("DO NOTHING")), [to_column(v) for v in row.values()])
    return done.rowcount == 1


def update(connection: Connection, table: str, key: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Change columns of the rows with these values; whether there was one."""
    statement = sql.SQL("UPDATE {} SET {} WHERE {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(c)) for c in changes),
        _where(key),
    )
    values = [to_column(v) for v in (*changes.values(), *key.values())]
    return connection.execute(statement, values).rowcount > 0


def find(
    connection: Connection,
    table: str,
    key: Mapping[str, Any],
    *,
    order_by: Sequence[str] = (),
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows with these values, as mappings.

    Parameters
    ----------
    key
        Column to value; a list of values means any of them.
    order_by
        Columns; ``-`` in front means descending.
    """
    statement = sql.SQL("SELECT * FROM {} WHERE {}").format(sql.Identifier(table), _where(key))
    if order_by:
        statement += sql.SQL(" ORDER BY ") + sql.SQL(", ").join(_order(c) for c in order_by)
    if limit is not None:
        statement += sql.SQL(" LIMIT {}").format(sql.Literal(limit))
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, list(key.values())).fetchall()


def find_one(connection: Connection, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row with these values, or None."""
    found = find(connection, table, key, limit=1)
    return found[0] if found else None


def to_column(value: Any) -> Any:
    """A Python value as a column takes it.

    >>> to_column(float("nan")) is None
    True
    """
    if isinstance(value, BaseModel):
        return Jsonb(value.model_dump(mode="json"))
    if isinstance(value, dict | list | tuple):
        return Jsonb(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _insert(table: str, row: Mapping[str, Any], action: sql.Composable) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        sql.SQL(", ").join(map(sql.Identifier, KEYS[table])),
        action,
    )


def _where(key: Mapping[str, Any]) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = ANY(%s)" if isinstance(v, list) else "{} = %s").format(sql.Identifier(c)) for c, v in key.items()
    )


def _order(column: str) -> sql.Composable:
    way = sql.SQL(" DESC") if column.startswith("-") else sql.SQL("")
    return sql.Identifier(column.removeprefix("-")) + way

"""KPIs and features by period, written with COPY.

NaN, which means missing, is NULL in the tables, so that SQL's averages leave it out.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from infra.storage.database import Connection
from infra.storage.rows import upsert
from schemas.twin import Anomaly

_KPI_TYPES = {
    "network_id": "text",
    "cell": "text",
    "kpi": "text",
    "period_end_ms": "int8",
    "observed": "float8",
    "predicted": "float8",
}
_FEATURE_TYPES = {"network_id": "text", "cell": "text", "name": "text", "period_end_ms": "int8", "value": "float8"}

_BOUNDS = """network_id = %(network)s AND period_end_ms > %(after)s
    AND (%(until)s::bigint IS NULL OR period_end_ms <= %(until)s)
    AND (%(cells)s::text[] IS NULL OR cell = ANY(%(cells)s))"""
_ANY_KPI = " AND (%(names)s::text[] IS NULL OR kpi = ANY(%(names)s))"
_ANY_NAME = " AND (%(names)s::text[] IS NULL OR name = ANY(%(names)s))"

KpiRow = tuple[int, str, str, float | None, float | None]
"""Period end in ms, cell, KPI, observed, predicted."""
FeatureRow = tuple[int, str, str, float | None]
"""Period end in ms, cell, name, value."""


def write_kpis(
    connection: Connection,
    network_id: str,
    period_end_ms: int,
    cells: Sequence[str],
    kpis: Sequence[str],
    observed: NDArray[np.floating],
    predicted: NDArray[np.floating],
    *,
    new: bool = False,
) -> None:
    """Write the KPIs of one period; a repeat replaces them.

    Parameters
    ----------
    cells
        [C] objects the KPIs belong to.
    kpis
        [M] names.
    observed, predicted
        [C, M] in the KPI's unit, NaN where missing.
    new
        Whether the period is known to be new: then a plain COPY, which is faster.
    """
    shape = (len(cells), len(kpis))
    if observed.shape != shape or predicted.shape != shape:
        raise ValueError(f"observed {observed.shape} and predicted {predicted.shape} must be [C, M] = {shape}")
    rows = (
        (network_id, cell, kpi, period_end_ms, _or_null(seen), _or_null(said))
        for cell, seen_row, said_row in zip(cells, observed.tolist(), predicted.tolist(), strict=True)
        for kpi, seen, said in zip(kpis, seen_row, said_row, strict=True)
    )
    _write(connection, "kpis", _KPI_TYPES, ("network_id", "cell", "kpi", "period_end_ms"), rows, new)


def write_features(connection: Connection, network_id: str, rows: Iterable[FeatureRow], *, new: bool = False) -> None:
    """Write features; a repeat replaces them."""
    full = ((network_id, cell, name, period, _or_null(value)) for period, cell, name, value in rows)
    _write(connection, "features", _FEATURE_TYPES, ("network_id", "cell", "name", "period_end_ms"), full, new)


def write_anomalies(connection: Connection, scored: Iterable[Anomaly]) -> None:
    """Write anomaly scores; a repeat replaces them."""
    for one in scored:
        row = {"network_id": one.network_id, "cell": one.cell, "period_end_ms": one.time_ms, "score": one.score}
        upsert(connection, "anomalies", {**row, "body": one})


def read_kpis(
    connection: Connection,
    network_id: str,
    *,
    after_ms: int = -1,
    until_ms: int | None = None,
    kpis: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
) -> list[KpiRow]:
    """KPIs of the periods that ended after ``after_ms`` and by ``until_ms``, oldest first."""
    query = "SELECT period_end_ms, cell, kpi, observed, predicted FROM kpis WHERE "
    query += _BOUNDS + _ANY_KPI + " ORDER BY period_end_ms, cell, kpi"
    return connection.execute(query, _bounds(network_id, after_ms, until_ms, kpis, cells)).fetchall()


def read_features(
    connection: Connection,
    network_id: str,
    *,
    after_ms: int = -1,
    until_ms: int | None = None,
    names: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
) -> list[FeatureRow]:
    """Features of the periods that ended after ``after_ms`` and by ``until_ms``, oldest first."""
    query = "SELECT period_end_ms, cell, name, value FROM features WHERE "
    query += _BOUNDS + _ANY_NAME + " ORDER BY period_end_ms, cell, name"
    return connection.execute(query, _bounds(network_id, after_ms, until_ms, names, cells)).fetchall()


def is_hypertable(connection: Connection, table: str) -> bool:
    """Whether TimescaleDB keeps the table in chunks."""
    there = connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    if there is None:
        return False
    found = connection.execute(
        "SELECT FROM timescaledb_information.hypertables WHERE hypertable_name = %s", (table,)
    ).fetchone()
    return found is not None


def _write(
    connection: Connection,
    table: str,
    types: dict[str, str],
    key: Sequence[str],
    rows: Iterable[Sequence[object]],
    new: bool,
) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, types))
    target = sql.Identifier(table if new else f"new_{table}")
    with connection.transaction(), connection.cursor() as cursor:
        if not new:
            cursor.execute(
                sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                    target, columns, sql.Identifier(table)
                )
            )
        copied = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(target, columns)
        with cursor.copy(copied) as copy:
            copy.set_types(list(types.values()))
            for row in rows:
                copy.write_row(row)
        if not new:
            replaced = [c for c in types if c not in key]
            assignments = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(c)) for c in replaced)
            cursor.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO UPDATE SET {}").format(
                    sql.Identifier(table), columns, columns, target,
                    sql.SQL(", ").join(map(sql.Identifier, key)), assignments,
                )
            )  # fmt: skip
            # Not left to the commit: the caller's transaction may write the table again.
            cursor.execute(sql.SQL("DROP TABLE {}").format(target))


def _bounds(
    network_id: str, after_ms: int, until_ms: int | None, names: Sequence[str] | None, cells: Sequence[str] | None
) -> dict[str, object]:
    return {
        "network": network_id,
        "after": after_ms,
        "until": until_ms,
        "names": None if names is None else list(names),
        "cells": None if cells is None else list(cells),
    }


def _or_null(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value

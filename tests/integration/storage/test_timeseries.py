"""KPIs and features: whole periods in, columns out, a repeat changes nothing."""

import numpy as np
import psycopg
import pytest

from infra.storage.database import Connection, Database
from infra.storage.timeseries import read_features, read_kpis, write_features, write_kpis

pytestmark = pytest.mark.integration
CELLS = ("gnb1/1", "gnb1/2")
KPIS = ("RRU.PrbTotDl", "DRB.UEThpDl")
DAY_MS = 86_400_000


def _write(connection: Connection, period_end_ms: int, value: float, *, new: bool = False) -> None:
    observed = np.array([[value, np.nan], [value + 1, value + 2]])
    write_kpis(connection, "net", period_end_ms, CELLS, KPIS, observed, observed * 10, new=new)


def test_a_period_comes_back_with_what_is_missing_as_none(connection: Connection) -> None:
    _write(connection, 60_000, 1.0)
    assert read_kpis(connection, "net") == [
        (60_000, "gnb1/1", "DRB.UEThpDl", None, None),
        (60_000, "gnb1/1", "RRU.PrbTotDl", 1.0, 10.0),
        (60_000, "gnb1/2", "DRB.UEThpDl", 3.0, 30.0),
        (60_000, "gnb1/2", "RRU.PrbTotDl", 2.0, 20.0),
    ]


@pytest.mark.parametrize("new", [True, False], ids=["copied", "upserted"])
def test_a_period_written_again_is_replaced(connection: Connection, new: bool) -> None:
    _write(connection, 60_000, 1.0, new=new)
    _write(connection, 60_000, 5.0)
    rows = read_kpis(connection, "net", kpis=["RRU.PrbTotDl"])
    assert [(cell, observed) for _, cell, _, observed, _ in rows] == [("gnb1/1", 5.0), ("gnb1/2", 6.0)]


def test_a_period_that_is_not_new_after_all_is_refused_whole(connection: Connection) -> None:
    _write(connection, 60_000, 1.0)
    with pytest.raises(psycopg.errors.UniqueViolation):
        _write(connection, 60_000, 5.0, new=True)
    assert read_kpis(connection, "net", kpis=["RRU.PrbTotDl"], cells=["gnb1/1"])[0][3] == 1.0


def test_periods_days_apart_are_read_by_time_kpi_and_cell(connection: Connection) -> None:
    for day in range(4):
        _write(connection, day * DAY_MS, float(day), new=True)
    rows = read_kpis(connection, "net", after_ms=0, until_ms=2 * DAY_MS, kpis=["RRU.PrbTotDl"], cells=["gnb1/1"])
    assert [(period, observed) for period, _, _, observed, _ in rows] == [(DAY_MS, 1.0), (2 * DAY_MS, 2.0)]
    assert read_kpis(connection, "other") == []


def test_several_writes_share_the_callers_transaction(url: str) -> None:
    def fail(connection: Connection) -> None:
        _write(connection, 60_000, 1.0)
        _write(connection, 120_000, 1.0)
        raise RuntimeError("later")

    with Database(url) as database:
        with pytest.raises(RuntimeError, match="later"), database.transaction() as connection:
            fail(connection)
        with database.transaction() as connection:
            assert read_kpis(connection, "net") == []


def test_features_come_back_and_are_replaced(connection: Connection) -> None:
    write_features(connection, "net", [(60_000, "c", "load_mean", 0.5), (60_000, "c", "load_max", float("nan"))])
    write_features(connection, "net", [(60_000, "c", "load_mean", 0.75)])
    assert read_features(connection, "net") == [(60_000, "c", "load_max", None), (60_000, "c", "load_mean", 0.75)]
    assert read_features(connection, "net", names=["load_mean"], until_ms=59_999) == []


def test_columns_that_do_not_match_the_cells_are_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="must be"):
        write_kpis(connection, "net", 60_000, CELLS, KPIS, np.zeros((2, 3)), np.zeros((2, 2)))

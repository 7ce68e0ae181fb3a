"""Rows of any table: written once or replaced, changed, found."""

import math
import threading

import psycopg
import pytest

from infra.storage.database import Connection, Database, claim, connect
from infra.storage.rows import find, find_one, insert_once, update, upsert
from schemas.strategies import Objective

pytestmark = pytest.mark.integration
PLAN = {
    "network_id": "net",
    "plan_id": "p1",
    "strategy_id": "s1",
    "job_id": "j1",
    "state": "PENDING",
    "body": {"changes": [1, 2]},
    "fallback": [],
    "updated_ms": 1,
}


def test_a_row_is_written_once(connection: Connection) -> None:
    assert insert_once(connection, "plans", PLAN)
    assert not insert_once(connection, "plans", {**PLAN, "state": "FAILED"})
    found = find_one(connection, "plans", {"network_id": "net", "plan_id": "p1"})
    assert found is not None
    assert (found["state"], found["body"], found["fallback"], found["stage"]) == (
        "PENDING",
        {"changes": [1, 2]},
        [],
        "",
    )


def test_an_upsert_replaces_the_columns_it_names(connection: Connection) -> None:
    upsert(connection, "plans", PLAN)
    upsert(connection, "plans", {**PLAN, "state": "HOLDING", "stage": "canary"})
    upsert(connection, "plans", {**PLAN, "state": "HOLDING"})
    assert [(p["state"], p["stage"]) for p in find(connection, "plans", {"network_id": "net"})] == [
        ("HOLDING", "canary")
    ]


def test_a_model_becomes_json_and_nan_becomes_null(connection: Connection) -> None:
    upsert(connection, "plans", {**PLAN, "body": Objective(kpi="PEE.AvgPower", direction="down")})
    outcome = {"network_id": "net", "plan_id": "p1", "stage": "canary", "kpi": "PEE.AvgPower", "cell": "", "at_ms": 1}
    upsert(connection, "outcomes", {**outcome, "predicted": -2.5, "observed": math.nan})
    plan, seen = find_one(connection, "plans", {"plan_id": "p1"}), find_one(connection, "outcomes", {"plan_id": "p1"})
    assert plan is not None
    assert seen is not None
    assert plan["body"]["direction"] == "down"
    assert (seen["predicted"], seen["observed"]) == (-2.5, None)


def test_a_number_that_json_does_not_have_is_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="JSON"):
        upsert(connection, "plans", {**PLAN, "body": {"gain": math.nan}})


def test_update_says_whether_there_was_such_a_row(connection: Connection) -> None:
    upsert(connection, "plans", PLAN)
    key = {"network_id": "net", "plan_id": "p1", "state": "PENDING"}
    assert update(connection, "plans", key, {"state": "PUSHING", "updated_ms": 2})
    assert not update(connection, "plans", key, {"state": "PUSHING", "updated_ms": 3}), "it is not PENDING any more"


def test_rows_are_found_by_any_of_several_values_in_order(connection: Connection) -> None:
    for number, state in enumerate(["PENDING", "HOLDING", "COMPLETED", "PENDING"]):
        upsert(connection, "plans", {**PLAN, "plan_id": f"p{number}", "state": state, "updated_ms": number})
    found = find(
        connection, "plans", {"network_id": "net", "state": ["PENDING", "HOLDING"]}, order_by=["-updated_ms"], limit=2
    )
    assert [p["plan_id"] for p in found] == ["p3", "p1"]
    assert find_one(connection, "plans", {"plan_id": "none"}) is None


def test_a_state_outside_the_list_is_refused(url: str) -> None:
    job = {"network_id": "n", "job_id": "j", "strategy_id": "s", "region": "1", "revision": 1, "body": {}}
    with Database(url) as database:
        with pytest.raises(psycopg.errors.CheckViolation), database.transaction() as connection:
            insert_once(connection, "jobs", {**job, "state": "SOMEHOW", "period_end_ms": 1})
        assert database.connected, "an error in a statement is no lost connection"


def test_only_one_holds_a_claim_until_it_is_gone(url: str) -> None:
    with connect(url, autocommit=True) as second:
        with connect(url, autocommit=True) as first:
            assert claim(first, "twin net 1")
            assert not claim(second, "twin net 1")
            assert claim(second, "twin net 2")
        # The server notices the closed connection in its own time.
        freed = threading.Event()
        for _ in range(200):
            if claim(second, "twin net 1"):
                freed.set()
                break
            freed.wait(0.05)
        assert freed.is_set()

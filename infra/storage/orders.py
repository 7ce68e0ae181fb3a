"""A person's orders about plans: written by the command line, carried out by the outer loop."""

import time
from typing import NamedTuple

from infra.storage.database import Connection, Database
from infra.storage.plans import load_plan, write_audit
from infra.storage.rows import find_one, update
from loops.outer.orders import Action, Order


class OpenOrder(NamedTuple):
    """An order that the outer loop has not looked at yet."""

    order_id: int
    plan_id: str
    order: Order


class OrderAnswer(NamedTuple):
    """What the outer loop made of an order."""

    text: str
    done: bool


_REFUSED = "refused: "
_LOOK_EVERY_S = 0.1


def submit(connection: Connection, network_id: str, plan_id: str, order: Order) -> int:
    """Write an order for the outer loop; its id.

    Raises
    ------
    UnknownPlan
        If there is no such plan.
    """
    plan = load_plan(connection, network_id, plan_id)
    row = connection.execute(
        "INSERT INTO orders (network_id, plan_id, action, actor, reason) VALUES (%s, %s, %s, %s, %s) RETURNING id",
        (network_id, plan_id, order.action.value, order.actor, order.reason),
    ).fetchone()
    assert row is not None, "an insert returns its row"
    detail = {"order": int(row[0]), "reason": order.reason, "state": plan.state}
    write_audit(connection, network_id, plan.advanced_ms, order.actor, f"orders {order.action}", plan_id, detail)
    return int(row[0])


def open_orders(connection: Connection, network_id: str) -> list[OpenOrder]:
    """Orders that nobody has answered, oldest first."""
    rows = connection.execute(
        "SELECT id, plan_id, action, actor, reason FROM orders WHERE network_id = %s AND done_ms IS NULL ORDER BY id",
        (network_id,),
    )
    return [OpenOrder(row[0], row[1], Order(Action(row[2]), row[3], row[4])) for row in rows.fetchall()]


def answer(connection: Connection, network_id: str, order_id: int, told: OrderAnswer, period_end_ms: int) -> None:
    """Note what became of an order."""
    text = told.text if told.done else _REFUSED + told.text
    key = {"network_id": network_id, "id": order_id}
    update(connection, "orders", key, {"answer": text, "done_ms": period_end_ms})


def answer_of(connection: Connection, network_id: str, order_id: int) -> OrderAnswer | None:
    """What became of an order; None while nobody has looked."""
    row = find_one(connection, "orders", {"network_id": network_id, "id": order_id})
    if row is None or row["done_ms"] is None:
        return None
    text = str(row["answer"])
    return OrderAnswer(text.removeprefix(_REFUSED), not text.startswith(_REFUSED))


def await_answer(database: Database, network_id: str, order_id: int, deadline_s: float) -> OrderAnswer | None:
    """Wait for the answer to an order; None if none has come by the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        with database.transaction() as connection:
            told = answer_of(connection, network_id, order_id)
        if told is not None or time.monotonic() >= end:
            return told
        time.sleep(_LOOK_EVERY_S)

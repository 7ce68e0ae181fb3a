"""The alerts role: topic, webhook, and what it remembers of deliveries."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from infra.roles.alerts import AlertsRole
from infra.roles.base import Context
from infra.storage.alerts import save_alert, undelivered
from infra.storage.database import connect
from infra.storage.revisions import save_revision
from loops.alerts.events import Kind, alert
from schemas.alerts import Alert
from schemas.topics import ALERTS, TOPICS
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.testing import wait_until
from tests.outer_runs import events_on
from tests.twin_runs import context_for, running
from tests.unit.test_loops_alerts import revision
from tests.webhooks import receiving

pytestmark = pytest.mark.integration
NETWORK = "demo"
Make = Callable[..., Context]


@pytest.fixture
def make(database_url: str) -> Make:
    transport, serde = MemoryTransport(), Serde(LocalIds())
    transport.ensure_topics(TOPICS)
    return lambda **alerts: context_for(transport, serde, database_url, NETWORK, alerts=alerts)


def tell(context: Context, *subjects: str) -> list[str]:
    """Alerts as the outer loop writes them; their ids."""
    ids = []
    with connect(context.database_url) as connection:
        for i, subject in enumerate(subjects):
            told = alert(Kind.PLAN_COMPLETED, NETWORK, subject, 60_000 * (i + 1), "done")
            assert save_alert(connection, "outer", told, 60_000 * (i + 1))
            assert not save_alert(connection, "outer", told, 60_000 * (i + 1))
            ids.append(told.event_id)
    return ids


def states(context: Context) -> dict[str, Any]:
    with connect(context.database_url) as connection:
        rows = connection.execute("SELECT alert_id, delivered->'webhook' FROM alerts").fetchall()
    return {alert_id: (note or {}).get("state", "pending") for alert_id, note in rows}


def done(context: Context) -> bool:
    return "pending" not in states(context).values()


def test_alerts_are_posted_in_order_and_a_restart_posts_none_again(make: Make) -> None:
    with receiving() as receiver:
        context = make(webhook_url=receiver.url, webhook_secret="k")
        first = tell(context, "plan-1", "plan-2", "plan-3")
        with running(AlertsRole(context)):
            wait_until(lambda: done(context), 20, "delivered")
        second = tell(context, "plan-4")
        with running(AlertsRole(context)):
            wait_until(lambda: done(context), 20, "delivered")
        assert receiver.ids == first + second


def test_a_receiver_that_fails_is_tried_again(make: Make) -> None:
    with receiving() as receiver:
        receiver.statuses = [500, 503]
        context = make(webhook_url=receiver.url)
        ids = tell(context, "plan-1", "plan-2")
        with running(AlertsRole(context)):
            wait_until(lambda: done(context), 20, "delivered")
        assert receiver.ids == [ids[0], ids[0], ids[0], ids[1]]
        assert set(states(context).values()) == {"delivered"}


def test_after_its_attempts_an_alert_is_given_up_with_a_log_and_the_next_goes_out(make: Make) -> None:
    with receiving() as receiver, structlog.testing.capture_logs() as logs:
        receiver.statuses = [500, 500, 404]
        context = make(webhook_url=receiver.url, attempts=2)
        ids = tell(context, "plan-1", "plan-2", "plan-3")
        with running(AlertsRole(context)):
            wait_until(lambda: done(context), 20, "given up or delivered")
    assert [states(context)[i] for i in ids] == ["given up", "given up", "delivered"]
    given_up = [entry for entry in logs if entry["log_level"] == "error"]
    assert [entry["alert"] for entry in given_up] == ids[:2]


def test_without_a_webhook_nothing_waits_for_one_that_is_set_up_later(make: Make) -> None:
    context = make()
    tell(context, "plan-1")
    with running(AlertsRole(context)):
        wait_until(lambda: done(context), 20, "marked")
    with receiving() as receiver:
        later = make(webhook_url=receiver.url)
        with running(AlertsRole(later)):
            new = tell(later, "plan-2")
            wait_until(lambda: done(later), 20, "delivered")
        assert receiver.ids == new


def test_what_is_told_last_is_delivered_before_the_role_ends(make: Make) -> None:
    with receiving() as receiver:
        context = make(webhook_url=receiver.url)
        with running(AlertsRole(context)) as stop:
            ids = tell(context, "plan-1")
            stop.set()
        assert receiver.ids == ids


def test_a_gate_that_closes_and_a_burst_of_dead_letters_reach_the_topic_once(make: Make) -> None:
    context = make()
    told = [revision(1, gate_open=True), revision(2, gate_open=False), revision(3, gate_open=False, dead=9)]

    def types() -> list[str]:
        return [a.type for a in events_on(context, ALERTS) if isinstance(a, Alert)]

    expected = [Kind.GATE_OPENED, Kind.GATE_CLOSED, Kind.DEAD_LETTER_BURST]
    with connect(context.database_url) as connection:
        for update in told[:2]:
            save_revision(connection, update)
    with running(AlertsRole(context)):
        wait_until(lambda: len(types()) == 2, 20, "the first two are published")
    with connect(context.database_url) as connection:
        save_revision(connection, told[2])
    with running(AlertsRole(context)):
        wait_until(lambda: len(types()) == 3, 20, "the third is published")
    with running(AlertsRole(context)):
        pass
    assert sorted(types()) == sorted(expected)
    with connect(context.database_url) as connection:
        assert not undelivered(connection, NETWORK, "webhook")

"""Alerts in a real Alertmanager: the same fingerprints, grouped by change, ended when they are over."""

from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.roles.alerts import AlertsRole
from infra.storage.alerts import save_alert
from infra.storage.database import connect
from loops.alerts.alertmanager import Alertmanager
from loops.alerts.events import Kind, alert
from schemas.topics import TOPICS
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.testing import wait_until
from tests.alertmanagers import alertmanager
from tests.twin_runs import context_for, running

pytestmark = [pytest.mark.integration, pytest.mark.full]


def firing(url: str) -> dict[str, dict[str, Any]]:
    """Active alerts by their names."""
    found = httpx.get(f"{url}/api/v2/alerts", params={"active": "true"}).raise_for_status().json()
    return {a["labels"]["alertname"]: a for a in found}


def test_alerts_keep_their_fingerprints_are_grouped_by_change_and_end(tmp_path: Path) -> None:
    told = [
        alert(Kind.APPROVAL_NEEDED, "demo", "plan-1", 60_000, "a person must approve"),
        alert(Kind.CHANGE_VERIFIED, "demo", "plan-1", 60_000, "verified"),
        alert(Kind.GATE_CLOSED, "demo", "region 1", 60_000, "closed"),
    ]
    with alertmanager(tmp_path) as url, closing(Alertmanager(url)) as channel:
        assert all(channel.attempt(t).delivered for t in told)
        wait_until(lambda: len(firing(url)) == 3, 20, "alerts")
        assert {a["fingerprint"] for a in firing(url).values()} == {t.fingerprint for t in told}
        groups = httpx.get(f"{url}/api/v2/alerts/groups").raise_for_status().json()
        sizes = {g["labels"]["subject"]: len(g["alerts"]) for g in groups}
        assert sizes == {"plan-1": 2, "region 1": 1}
        assert channel.attempt(told[0]).delivered, "told again it is the same alert"
        assert len(firing(url)) == 3
        for kind, subject in ((Kind.PLAN_COMPLETED, "plan-1"), (Kind.GATE_OPENED, "region 1")):
            assert channel.attempt(alert(kind, "demo", subject, 120_000, "over")).delivered
        wait_until(lambda: set(firing(url)) == {"PlanCompleted", "GateOpened"}, 20, "ends")


def test_the_role_waits_for_an_alertmanager_that_is_down(tmp_path: Path, database_url: str) -> None:
    transport, serde = MemoryTransport(), Serde(LocalIds())
    transport.ensure_topics(TOPICS)
    settings = {"alertmanager_url": "http://127.0.0.1:1", "attempts": 1000}
    told = alert(Kind.PLAN_FAILED, "demo", "plan-1", 60_000, "a person must look")
    with connect(database_url) as connection:
        save_alert(connection, "outer", told, 60_000)

    def state() -> str:
        with connect(database_url) as connection:
            row = connection.execute("SELECT delivered->'alertmanager'->>'state' FROM alerts").fetchone()
        return str(row[0]) if row else ""

    with running(AlertsRole(context_for(transport, serde, database_url, "demo", alerts=settings))):
        wait_until(lambda: state() == "pending", 20, "a first attempt")
    with alertmanager(tmp_path) as url:
        settings["alertmanager_url"] = url
        with running(AlertsRole(context_for(transport, serde, database_url, "demo", alerts=settings))):
            wait_until(lambda: state() == "delivered", 20, "delivery")
        assert firing(url)["PlanFailed"]["fingerprint"] == told.fingerprint

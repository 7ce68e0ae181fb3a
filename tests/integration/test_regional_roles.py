"""All roles beside a network in two regions: each region's twin, inner loop and learner, one outer loop."""

import json
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from infra.line_protocol.messages import Start
from infra.network.parameters import Parameters
from infra.network.service import ReferenceNetwork
from infra.roles import features, inner, learn, outer, twin, worker
from infra.roles.base import Context, Role
from infra.roles.bridge_telemetry import TelemetryWriter
from infra.settings import Settings
from infra.simulated import run_period
from infra.storage import progress
from infra.storage.database import connect
from loops.inner.design import Design
from schemas.ndt import NdtReport, Verdict
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.network_runs import EVENING_MS
from tests.twin_runs import running, tell_topology, wait_for
from twin_core.regions import shard_of

pytestmark = pytest.mark.integration

NETWORK, PERIODS = "split", 12
ROLES = ("twin", "features", "inner", "outer", "learn")
DESIGN = Design.model_validate({"looks": [12, 36], "alpha": 0.2, "horizon_periods": 2})
STRATEGY = """
title: {title}
by: ada
objective: {{kpi: PEE.AvgPower, direction: down}}
changes:
{changes}
"""


def write(folder: Path, title: str, cells: list[str]) -> str:
    lines = "\n".join(f"  - {{cell: {c}, attribute: administrativeState, value: LOCKED}}" for c in cells)
    path = folder / f"{title}.yaml"
    path.write_text(STRATEGY.format(title=title, changes=lines))
    return str(path)


def test_regions_share_a_network(database_url: str, tmp_path: Path) -> None:
    parameters = Parameters.load(overrides={"time.step_s": 1.0, "layout.users": 90, "layout.regions": 2})
    network = ReferenceNetwork(parameters, NETWORK)
    list(network.start(Start(seed=6, start_time_ms=EVENING_MS)))
    topology = network.hello().topology
    owned = {r: sorted(shard_of(topology, r).owned) for r in ("1", "2")}

    def short(cell: str) -> str:
        return cell.split("ManagedElement=")[1].split(",")[0] + "-" + cell.rsplit("=", 1)[1]

    west, east = (short(owned[r][0]) for r in ("1", "2"))
    files = {"west": [west], "east": [east], "both": [west, east]}
    schedule = tmp_path / "schedule.yaml"
    schedule.write_text(
        json.dumps([{"at_period": 7, "file": write(tmp_path, title, cells)} for title, cells in files.items()])
    )
    transport, serde = MemoryTransport(), Serde(LocalIds())

    def context(region: str) -> Context:
        settings = Settings(
            network_id=NETWORK,
            region=region,
            twin={"snapshot_every": 1, "keep_snapshots": 50},
            lockstep={"roles": ("twin", "inner", "outer", "learn")},
            inner={
                "agents": ("energy-saving",), "warm_up_periods": 3, "schedule": schedule,
                "design": DESIGN.model_dump(mode="json"),
            },
            outer={"ack_deadline_s": 0.2},
        )  # fmt: skip
        return Context(settings, NETWORK, region, transport, serde, database_url)

    tell_topology(database_url, topology)
    roles: list[Role] = [m.build(context(r)) for r in owned for m in (twin, inner, learn)]
    roles += [m.build(context("1")) for m in (outer, features, worker)]
    with ExitStack() as stack:
        writer = stack.enter_context(closing(TelemetryWriter(context("1"), 60)))
        stack.enter_context(running(*roles))
        for _ in range(PERIODS):
            run_period(network, writer, NETWORK)
            for role in ROLES:
                wait_for(database_url, network.now_ms, role, NETWORK)

    with connect(database_url) as connection:
        reached = progress.reached(connection, NETWORK)
        assert {r for r in reached if "/" in r} == {f"{role}/{r}" for role in ("twin", "inner", "learn") for r in "12"}
        seen = connection.execute(
            "SELECT count(*), count(DISTINCT cell) FROM kpis WHERE kpi = 'RRU.PrbTotDl'"
        ).fetchone()
        assert seen == (PERIODS * 21, 21), "every cell's KPIs once, by the region that owns it"
        power = connection.execute("SELECT count(*) FROM kpis WHERE kpi = 'PEE.AvgPower'").fetchone()
        assert power == (PERIODS * 7,)
        revisions = connection.execute(
            "SELECT region, max(revision) FROM revisions GROUP BY region ORDER BY 1"
        ).fetchall()
        assert revisions == [("1", PERIODS), ("2", PERIODS)]
        rows = connection.execute(
            "SELECT s.body->>'title', v.body FROM verdicts v JOIN strategies s USING (network_id, strategy_id)"
        ).fetchall()
    reports = {title: NdtReport.model_validate(body) for title, body in rows}
    assert {"west", "east", "both"} <= set(reports)
    assert set(reports["west"].revisions) == {"1"}
    assert set(reports["east"].revisions) == {"2"}
    assert reports["both"].verdict is Verdict.INCONCLUSIVE
    assert "another region" in reports["both"].reason
    assert all("another region" not in reports[title].reason for title in ("west", "east"))

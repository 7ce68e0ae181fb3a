"""Run a demo: services, role processes, periods in lock-step, report.

The demo is a role of the lock-step itself: the network steps when twin, inner loop, outer loop and the demo have
finished the period. So what it does between periods (re-injections, kills) happens at the same point of every run.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from infra.dead_letters import replay_letters
from infra.demo.adapting import adapt
from infra.demo.counting import count_topics
from infra.demo.gathering import build_report
from infra.demo.invariants import check
from infra.demo.plan import DemoPlan
from infra.demo.processes import RoleDied, RoleProcess, stop_all
from infra.demo.report import DemoReport
from infra.demo.screen import Screen
from infra.demo.state import look
from infra.local.ports import Ports
from infra.local.services import Endpoints, LocalServices
from infra.preparing import prepare
from infra.replaying import twin_at
from infra.roles.base import Context
from infra.settings import Settings
from infra.storage import progress
from infra.storage.database import Connection, Database
from infra.storage.orders import open_orders, submit
from infra.storage.plans import all_plans
from infra.storage.rows import find_one
from loops.outer.orders import Action, Order
from schemas.plans import PlanState
from schemas.topology import Topology

NETWORK_ID = "demo"
ROLE = "demo"
_LOCKSTEP = ("twin", "inner", "outer", "learn", ROLE)
_PERIOD_DEADLINE_S = 180.0
_LAST_DEADLINE_S = 60.0


class Kill(NamedTuple):
    """SIGKILL a role process after a period, while the next one is being worked on."""

    process: str
    period: int


def run_demo(
    plan: DemoPlan,
    out: Path,
    screen: Screen,
    network_command: Sequence[str] = (),
    kills: Sequence[Kill] = (),
    inspect: Callable[[Connection], None] | None = None,
) -> DemoReport:
    """Run it from services to report; everything that was started is stopped again.

    Parameters
    ----------
    out
        Folder of services' data, logs and ``report.json``; an earlier demo's is replaced.
    network_command
        Executable that speaks the line protocol, with its arguments; empty: the reference network.
    kills
        Role processes to kill on the way.
    inspect
        Called with a connection to the database when all periods are done.

    Raises
    ------
    LocalServiceError
        If a service cannot be started.
    RoleDied
        If a role ends with an error.
    ProgressTimeout
        If a period takes too long.
    """
    began = time.monotonic()
    out = out.resolve()
    logs = out / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    services = LocalServices(out / "services", Ports.free())
    services.destroy()
    with services.running(lambda service, state: screen.say(f"{service}: {state}")) as endpoints:
        prepare(endpoints.bootstrap_servers, endpoints.registry_url, endpoints.database_url)
        screen.say("tables, topics and subjects are ready")
        settings = _settings(plan, endpoints, out, network_command)
        context = Context.of(Settings(**settings))
        processes = _processes(plan, settings, logs)
        with _running(processes), context.database(ROLE) as database:
            for name, process in processes.items():
                if name != "inner":  # its schedule waits for the network's topology
                    process.start()
            period_ms = _schedule(plan, database, processes, screen, out)
            processes["inner"].start()
            screen.say("roles run: " + ", ".join(processes))
            _periods(plan, context, database, processes, screen, kills, period_ms)
            if inspect is not None:
                with database.transaction() as connection:
                    inspect(connection)
        return _report(plan, context, processes, network_command, endpoints, out, time.monotonic() - began)


def _settings(plan: DemoPlan, endpoints: Endpoints, out: Path, network_command: Sequence[str]) -> dict[str, Any]:
    """The settings in which the demo differs from the defaults."""
    faults, schedule = out / "faults.yaml", out / "schedule.yaml"
    faults.write_text(yaml.safe_dump([f.model_dump(exclude_none=True) for f in plan.faults]), encoding="utf-8")
    reference = [
        sys.executable, "-m", "infra.network", "--network-id", NETWORK_ID, "--sites", str(plan.sites),
        "--users", str(plan.users), "--step-s", str(plan.step_s), "--state-dir", str(out / "states"),
    ]  # fmt: skip
    return {
        "network_id": NETWORK_ID,
        "kafka": {"bootstrap_servers": endpoints.bootstrap_servers},
        "registry": {"url": endpoints.registry_url},
        "database": {"url": endpoints.database_url},
        "log": {"form": "json"},
        "lockstep": {"roles": list(_LOCKSTEP), "deadline_s": _PERIOD_DEADLINE_S},
        "bridge": {
            "command": list(network_command) or reference,
            "seed": plan.seed,
            "start_ms": plan.start_ms,
            "periods": plan.periods,
            "faults": str(faults),
        },
        "inner": {"schedule": str(schedule), "seed": plan.seed},
    }


def _processes(plan: DemoPlan, settings: dict[str, Any], logs: Path) -> dict[str, RoleProcess]:
    """One process for each part that can be killed on its own."""
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    for section, value in settings.items():
        if not isinstance(value, dict):
            environment[f"TWINLOOP_{section.upper()}"] = str(value)
            continue
        for name, inner in value.items():
            text = inner if isinstance(inner, str) else json.dumps(inner)
            environment[f"TWINLOOP_{section.upper()}__{name.upper()}"] = text
    groups = {
        "bridge": ["bridge"],
        "twin": ["twin"],
        "inner": ["inner"],
        "outer": ["outer", "alerts", "features"],
        "learn": ["learn"],
    }
    groups |= {f"worker-{i}": ["worker"] for i in range(1, plan.workers + 1)}
    return {name: RoleProcess(name, roles, environment, logs) for name, roles in groups.items()}


@contextmanager
def _running(processes: dict[str, RoleProcess]) -> Iterator[None]:
    try:
        yield
    finally:
        stop_all(list(processes.values()))


def _periods(
    plan: DemoPlan,
    context: Context,
    database: Database,
    processes: dict[str, RoleProcess],
    screen: Screen,
    kills: Sequence[Kill],
    period_ms: int,
) -> None:
    def mind() -> None:
        for process in processes.values():
            if process.watch():
                screen.say(f"{process.name} was killed; started again")

    with progress.ProgressWatch(context.database_url) as watch:
        for period in range(1, plan.periods + 1):
            end_ms = plan.start_ms + period * period_ms
            watch.wait(NETWORK_ID, ["bridge", *_LOCKSTEP[:-1]], end_ms, _PERIOD_DEADLINE_S, mind)
            with database.transaction() as connection:
                state = look(connection, NETWORK_ID, context.region)
            screen.show(state, period)
            if period in plan.reinject_at:
                sent = replay_letters(context, actor="person:demo")
                screen.say(f"{len(sent)} dead letters sent again")
            for plan_id, title in _approve(plan, database):
                screen.say(f"a person approves {plan_id}: {title}")
            for kill in kills:
                if kill.period == period:
                    processes[kill.process].kill()
                    screen.say(f"SIGKILL to {kill.process}")
            with database.transaction() as connection:
                progress.report(connection, NETWORK_ID, ROLE, end_ms)
        watch.wait(NETWORK_ID, ["alerts"], end_ms, _LAST_DEADLINE_S, mind)
    _until(lambda: _outbox_empty(database), mind)


def _approve(plan: DemoPlan, database: Database) -> list[tuple[str, str]]:
    """Order what the plan's person approves; plan ids and titles."""
    wanted = {a.title: a for a in plan.approvals}
    out = []
    with database.transaction() as connection:
        ordered = {o.plan_id for o in open_orders(connection, NETWORK_ID)}
        for waiting in all_plans(connection, NETWORK_ID, [PlanState.AWAITING.value]):
            approval = wanted.get(waiting.strategy.title)
            if approval is not None and waiting.plan_id not in ordered:
                order = Order(Action.APPROVE, f"person:{approval.by}", approval.reason)
                submit(connection, NETWORK_ID, waiting.plan_id, order)
                out.append((waiting.plan_id, waiting.strategy.title))
    return out


def _schedule(plan: DemoPlan, database: Database, processes: dict[str, RoleProcess], screen: Screen, out: Path) -> int:
    """Write the schedule of strategies once the bridge has said what network it is; length of its periods, ms."""
    found: list[tuple[Topology, list[str], int]] = []

    def known() -> bool:
        with database.transaction() as connection:
            row = find_one(connection, "networks", {"network_id": NETWORK_ID})
        if row:
            found.append((Topology.model_validate(row["topology"]), row["levers"], row["granularity_s"]))
        return bool(found)

    _until(known, lambda: _none_died(processes))
    topology, levers, granularity_s = found[0]
    strategies, said = adapt(plan, topology, levers, out)
    for line in said:
        screen.say(line)
    entries = [{"at_period": e.at_period, "file": str(e.file)} for e in strategies]
    (out / "schedule.yaml").write_text(yaml.safe_dump(entries), encoding="utf-8")
    return 1000 * granularity_s


def _none_died(processes: dict[str, RoleProcess]) -> None:
    for process in processes.values():
        process.watch()


def _outbox_empty(database: Database) -> bool:
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT count(*) FROM outbox WHERE network_id = %s AND published_at IS NULL", (NETWORK_ID,)
        ).fetchone()
    return row == (0,)


def _until(condition: Callable[[], bool], mind: Callable[[], None]) -> None:
    deadline = time.monotonic() + _LAST_DEADLINE_S
    while not condition():
        mind()
        if time.monotonic() > deadline:
            raise RoleDied("the roles do not get on", "look into the logs of the demo's folder")
        time.sleep(0.1)


def _report(
    plan: DemoPlan,
    context: Context,
    processes: dict[str, RoleProcess],
    network_command: Sequence[str],
    endpoints: Endpoints,
    out: Path,
    duration_s: float,
) -> DemoReport:
    at = twin_at(context)
    topics = count_topics(endpoints.bootstrap_servers, NETWORK_ID)
    with context.database(ROLE) as database, database.transaction() as connection:
        invariants = check(connection, NETWORK_ID, at.update, at.twin, topics)
        report = build_report(
            connection,
            plan,
            NETWORK_ID,
            " ".join(network_command) or "reference",
            at.update,
            topics,
            invariants,
            {p.name: p.restarts for p in processes.values()},
            duration_s,
        )
    (out / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return report

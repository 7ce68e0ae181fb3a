"""A rig around the outer loop's role: a fake network, and the rows that twin and inner loop would have written."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from infra.roles.base import Context
from infra.roles.outer import OuterRole
from infra.storage import progress
from infra.storage.database import Connection, Database, connect
from infra.storage.plans import all_plans
from infra.storage.revisions import PostgresSnapshotStore, save_revision
from infra.storage.rows import upsert
from infra.storage.timeseries import write_kpis
from loops.outer.plan import Plan
from processors.governance.registers import ConfigValue
from processors.twin_sync import TwinState, TwinSync
from schemas.base import Event
from schemas.ndt import Verdict
from schemas.plans import ConfigAck, ConfigCommand
from schemas.strategies import ConfigChange
from schemas.topics import CONFIG_ACKS, CONFIG_COMMANDS, TOPICS, Topic
from schemas.twin import EventCounts, TwinUpdate
from streams.snapshots import Snapshot
from tests.outer_world import FakeNetwork, end, report, strategy
from tests.twin_runs import tell_topology


@dataclass
class Rig:
    """Drives a network period by period, in lock-step with an outer loop that runs elsewhere.

    Attributes
    ----------
    down
        Cells out of service.
    repeat
        How often the bridge gives each answer.
    """

    context: Context
    network: FakeNetwork
    gate_open: bool = True
    down: set[str] = field(default_factory=set)
    repeat: int = 1
    received: list[ConfigCommand] = field(default_factory=list)

    def __post_init__(self) -> None:
        context = self.context
        context.transport.ensure_topics(TOPICS)
        tell_topology(context.database_url, self.network.topology)
        self._sync = TwinSync(self.network.topology, context.serde)
        self._initial = self._sync.initial()
        self._producer = context.transport.producer("bridge")
        self._consumer = context.transport.consumer("bridge")
        self._consumer.assign(context.transport.end_offsets([CONFIG_COMMANDS.name]))
        self._database = Database(context.database_url)

    def close(self) -> None:
        """Give up the connection."""
        self._database.close()

    # -- what twin and inner loop write

    def propose(self, changes: Sequence[ConfigChange], strategy_id: str = "s-1", **fields: Any) -> None:
        """A strategy with its verdict, as of the present period."""
        network_id, now = self.context.network_id, self.network.period
        proposed = strategy(changes, strategy_id, network_id=network_id)
        verdict = report(proposed, decided=now, **({"revisions": {"1": now}} | fields))
        self._write_verdict(proposed, verdict)

    def _write_verdict(self, proposed: Any, verdict: Any) -> None:
        network_id, now = self.context.network_id, end(self.network.period)
        with self._database.transaction() as connection:
            row = {"network_id": network_id, "strategy_id": proposed.strategy_id, "agent": proposed.agent}
            verified = {"body": proposed, "state": "VERIFIED", "revision": 1, "period_end_ms": now}
            upsert(connection, "strategies", row | verified)
            decided = {"job_id": verdict.job_id, "verdict": verdict.verdict, "body": verdict, "period_end_ms": now}
            key = {"network_id": network_id, "strategy_id": proposed.strategy_id}
            upsert(connection, "verdicts", key | decided)

    def refuse(self, changes: Sequence[ConfigChange], strategy_id: str) -> None:
        """A strategy that verification rejected."""
        self.propose(changes, strategy_id, verdict=Verdict.REJECTED, reason="harm in 40 of 96 scenarios")

    def step(self, periods: int = 1) -> int:
        """The network runs, twin and inner loop follow; the end of the last period."""
        for _ in range(periods):
            self.network.step()
            with self._database.transaction() as connection:
                self._write_period(connection)
        return end(self.network.period)

    def _write_period(self, connection: Connection) -> None:
        network_id, period = self.context.network_id, self.network.period
        now = end(period)
        counts = EventCounts(ingested=0, applied=0, duplicate=0, late=0, dead_lettered=0, in_flight=0)
        save_revision(
            connection,
            TwinUpdate(
                network_id=network_id,
                event_id=f"1/{period}",
                region="1",
                revision=period,
                period_end_ms=now,
                frontier=[],
                state_hash=f"hash-{period}",
                model_versions={},
                fidelity=[],
                gate_open=self.gate_open,
                counts=counts,
            ),
        )
        store = PostgresSnapshotStore(lambda: connection)
        store.save(f"{network_id}|1", Snapshot(period, {}, self._sync.dump(self._state(now))))
        history = self.network.history()
        if len(history.period_ends_ms) and history.period_ends_ms[-1] == now:
            for kpi, series in history.series.items():
                observed = series.values[-1][:, None]
                write_kpis(connection, network_id, now, series.names, [kpi], observed, observed)
        for role in ("twin", "inner"):
            progress.report(connection, network_id, role, now)

    def _state(self, now: int) -> TwinState:
        up = torch.tensor([c not in self.down for c in self.network.topology.cell_names])
        twin = self._initial.twin
        configuration = {key: ConfigValue(value, now) for key, value in self.network.actual.items()}
        return TwinState(
            replace(twin, environment=replace(twin.environment, in_service=up)),
            replace(self._initial.governance, configuration=configuration),
        )

    # -- what the bridge does

    def serve(self) -> None:
        """Carry commands to the network and answers back."""
        for message in self._consumer.poll(100, 0.01):
            if (message.key or b"").split(b"|")[0] != self.context.network_id.encode():
                continue
            command = self.context.serde.decode(CONFIG_COMMANDS, message.value)
            assert isinstance(command, ConfigCommand)
            self.received.append(command)
            answer = self.network.receive(command)
            if answer is not None:
                for _ in range(self.repeat):
                    self._answer(answer)
        self._producer.flush(10)

    def _answer(self, answer: ConfigAck) -> None:
        value = self.context.serde.encode(CONFIG_ACKS, answer)
        self._producer.send(CONFIG_ACKS.name, CONFIG_ACKS.key_of(answer), value)

    # -- lock-step

    def follow(self, deadline_s: float = 30) -> None:
        """Wait until the outer loop has finished the present period, serving it meanwhile."""
        with progress.ProgressWatch(self.context.database_url) as watch:
            watch.wait(
                self.context.network_id, ["outer"], end(self.network.period), deadline_s, self.serve, every_s=0.02
            )

    def run(self, until: Callable[[list[Plan]], bool], periods: int = 60, follow_s: float = 30) -> list[Plan]:
        """Step and follow until the plans are as wanted; newest first."""
        for _ in range(periods):
            if until(plans := self.plans()):
                return plans
            self.step()
            self.follow(follow_s)
        raise AssertionError(f"after {periods} periods: {[(p.state, p.reason) for p in self.plans()]}")

    def finish(self, periods: int = 60) -> Plan:
        """Run until every plan is done; the newest."""
        return self.run(lambda plans: bool(plans) and all(p.done for p in plans), periods)[0]

    # -- looking

    def plans(self) -> list[Plan]:
        """All plans."""
        with connect(self.context.database_url) as connection:
            return all_plans(connection, self.context.network_id)

    def progress_of(self, role: str) -> int | None:
        """The last period that a role has finished."""
        with connect(self.context.database_url) as connection:
            return progress.reached(connection, self.context.network_id).get(role)

    def count(self, table: str) -> int:
        """Rows of a table."""
        with connect(self.context.database_url) as connection:
            row = connection.execute(
                f"SELECT count(*) FROM {table} WHERE network_id = %s",  # a name of ours
                (self.context.network_id,),
            ).fetchone()
        return int(row[0]) if row else 0

    def events(self, where: Topic) -> list[Event]:
        """What is on a topic of this network."""
        return events_on(self.context, where)


def events_on(context: Context, where: Topic) -> list[Event]:
    """What is on a topic of the context's network."""
    consumer = context.transport.consumer("look")
    consumer.assign(context.transport.begin_offsets([where.name]))
    found: list[Event] = []
    while not consumer.at_end():
        found += [
            context.serde.decode(where, m.value)
            for m in consumer.poll(500, 0.5)
            if (m.key or b"").split(b"|")[0] == context.network_id.encode()
        ]
    consumer.close()
    return found


class _Died(BaseException):
    """The process is gone: nothing in it may catch this."""


@contextmanager
def dying(context: Context) -> Iterator[set[tuple[int, int]]]:
    """An outer loop that dies after every step of every period, once each; the (step, period) at which it did."""
    died: set[tuple[int, int]] = set()

    def die_once(_role: str, step: int, period: int) -> None:
        if (step, period) not in died:
            died.add((step, period))
            raise _Died

    role, stop = OuterRole(replace(context, after_step=die_once)), threading.Event()

    def again_and_again() -> None:
        while not stop.is_set():
            with suppress(_Died):
                role.run(stop)

    body = threading.Thread(target=again_and_again)
    body.start()
    try:
        yield died
    finally:
        stop.set()
        body.join(20)

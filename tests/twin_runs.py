"""Running the twin role in tests, and the calm in-process run that it must equal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from infra.roles.base import Context, Role, StepHook, run_roles
from infra.roles.twin import TwinRole
from infra.settings import Settings, load_settings
from infra.storage import progress
from infra.storage.database import Database, connect
from infra.storage.rows import upsert
from processors.epoch_reader import EpochReader
from processors.twin_sync import TwinState, TwinSync
from schemas.base import Event
from schemas.topics import DLQ, LATE, TWIN_UPDATES, Topic, topic
from schemas.topology import Topology
from schemas.twin import EventCounts, TwinUpdate
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.transport import Message, Transport
from tests.telemetry import NETWORK, Feeder, period_end, topology
from twin_core.twin import Twin


@dataclass(frozen=True)
class Calm:
    """What an undisturbed run over a log gives."""

    hashes: dict[int, str]
    state: TwinState
    late: frozenset[str]
    dead: frozenset[str]

    @property
    def counts(self) -> EventCounts:
        return self.state.governance.counts


def calm_run(transport: Transport, serde: Serde, network_id: str = NETWORK) -> Calm:
    """Derive the twin from everything on the topics, in this process, with nothing in between."""
    sync = TwinSync(topology(network_id), serde)
    reader = EpochReader(transport, serde, network_id, "calm")
    reader.start({}, None)
    state = sync.initial()
    hashes: dict[int, str] = {}
    late: set[str] = set()
    dead: set[str] = set()
    while not reader.at_end():
        step = sync.process(state, reader.read(0.5))
        state = step.state
        hashes.update((r.twin.revision, r.twin.state_hash()) for r in step.outputs)
        late |= {e.event_id for e in step.late}
        dead |= {e.event_id for e in step.dead_letters}
    reader.close()
    return Calm(hashes, state, frozenset(late), frozenset(dead))


def without_offsets(twin: Twin) -> str:
    """Hash of a twin apart from where its input lay: equal for logs that say the same in another order."""
    return replace(twin, frontier={}).state_hash()


def tell_topology(database_url: str, told: Topology) -> None:
    """What the bridge writes when it meets a network."""
    with Database(database_url) as database, database.transaction() as connection:
        row = {
            "network_id": told.network_id,
            "topology": told,
            "granularity_s": told.granularity_s,
            "updated_ms": 0,
        }
        upsert(connection, "networks", row)


def context_for(
    transport: Transport,
    serde: Serde,
    database_url: str,
    network_id: str = NETWORK,
    after_step: StepHook | None = None,
    **settings: Any,
) -> Context:
    """A context for roles under test; settings are sections of the tree."""
    context = Context(Settings(network_id=network_id, **settings), network_id, "1", transport, serde, database_url)
    return context if after_step is None else replace(context, after_step=after_step)


@contextmanager
def running(*roles: Role) -> Iterator[threading.Event]:
    """Run roles in the background for the length of a block; they must end well."""
    stop = threading.Event()
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_roles(roles, stop)))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(60)
    assert codes == [0], "a role failed; see the log"


def wait_for(database_url: str, period_end_ms: int, role: str = "twin", network_id: str = NETWORK) -> None:
    """Wait until a role has finished a period."""
    progress.wait(database_url, network_id, [role], period_end_ms, 60)


def logged(database_url: str, network_id: str = NETWORK) -> list[TwinUpdate]:
    """All revision rows, in order."""
    with connect(database_url) as connection:
        rows = connection.execute(
            "SELECT row_to_json(r) FROM revisions r WHERE network_id = %s ORDER BY revision", (network_id,)
        ).fetchall()
    return [TwinUpdate.model_validate(row[0]) for row in rows]


def messages_on(transport: Transport, *where: Topic) -> list[Message]:
    """Everything on some topics."""
    consumer = transport.consumer("look")
    consumer.assign(transport.begin_offsets([t.name for t in where]))
    out: list[Message] = []
    while not consumer.at_end():
        out += consumer.poll(1000, 0.5)
    consumer.close()
    return out


def events_on(transport: Transport, serde: Serde, where: Topic, network_id: str = NETWORK) -> list[Event]:
    """A network's events on a topic, repeats included."""
    events = (serde.decode(where, m.value) for m in messages_on(transport, where))
    return [event for event in events if event.network_id == network_id]


def ids_on(transport: Transport, serde: Serde, where: Topic, network_id: str = NETWORK) -> frozenset[str]:
    """Distinct ids of a network's events on a topic."""
    return frozenset(event.event_id for event in events_on(transport, serde, where, network_id))


def check_equals(transport: Transport, serde: Serde, database_url: str, calm: Calm, network_id: str = NETWORK) -> None:
    """Everything durable is what the calm run says: hashes, counts, late events, dead letters, updates."""
    rows = logged(database_url, network_id)
    assert {r.revision: r.state_hash for r in rows} == calm.hashes
    assert rows[-1].counts == calm.counts
    said: dict[str, list[Event]] = {t.name: [] for t in (LATE, DLQ, TWIN_UPDATES)}
    for message in messages_on(transport, LATE, DLQ, TWIN_UPDATES):
        event = serde.decode(topic(message.topic), message.value)
        if event.network_id == network_id:
            said[message.topic].append(event)
    assert {e.event_id for e in said[LATE.name]} == calm.late
    assert {e.event_id for e in said[DLQ.name]} == calm.dead
    updates = [e for e in said[TWIN_UPDATES.name] if isinstance(e, TwinUpdate)]
    assert {update.revision: update.state_hash for update in updates} == calm.hashes


def followed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A network whose twin has seen one period; commands reach its topics in memory and its twin in the database."""
    transport, serde = MemoryTransport(), Serde(LocalIds())
    tell_topology(database_url, topology())
    Feeder(transport, serde).period(1)
    context = context_for(transport, serde, database_url)
    with running(TwinRole(context)):
        wait_for(database_url, period_end(1))
    monkeypatch.setenv("TWINLOOP_NETWORK_ID", NETWORK)
    monkeypatch.setenv("TWINLOOP_DATABASE__URL", database_url)
    monkeypatch.setattr("infra.roles.base.Context.of", lambda _settings: context)
    load_settings.cache_clear()
    return context

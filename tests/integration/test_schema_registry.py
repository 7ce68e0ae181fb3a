"""The real registry: rules that hold, registration that can be repeated, and producers that do not know us."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.services import Endpoints
from schemas.avro import schema_of, schema_text, topic_schemas
from schemas.exceptions import IncompatibleSchema, RegistryUnavailable
from schemas.registry import Connection, Standing, check, connect, export, register, registered
from schemas.telemetry import PmReport
from schemas.topics import STRATEGIES, TOPICS, Compatibility, Topic, topic
from streams.exceptions import SchemaUnregistered, Undecodable
from streams.frontier import Frontier
from streams.kafka import KafkaTransport
from streams.schema_ids import RegistryIds
from streams.serde import Serde
from streams.testing import wait_until
from streams.transport import Message
from tests import telemetry
from tests.integration.foreign import producer as foreign

pytestmark = pytest.mark.integration
PM = topic("telemetry.pm")


@pytest.fixture
def registry(endpoints: Endpoints) -> Connection:
    return connect(endpoints.registry_url)


@pytest.fixture
def lonely(unique: str) -> dict[Topic, str]:
    """A telemetry topic that no other test knows, with the schema of PM reports."""
    return {PM._replace(name=f"{unique}.pm"): schema_text(PmReport)}


@pytest.fixture
def transport(endpoints: Endpoints) -> Iterator[KafkaTransport]:
    transport = KafkaTransport(endpoints.bootstrap_servers)
    transport.ensure_topics(TOPICS)
    yield transport
    transport.close()


def changed(schemas: dict[Topic, str], **fields: object) -> dict[Topic, str]:
    """The same topics with another field in their schema."""
    ((where, text),) = schemas.items()
    schema = json.loads(text)
    schema["fields"].append({"name": "extra"} | fields)
    return {where: json.dumps(schema)}


def test_registering_all_subjects_twice_changes_nothing(registry: Connection) -> None:
    register(registry)
    before = registered(registry)
    again = register(registry)
    assert {r.standing for r in again} == {Standing.UNCHANGED}
    assert registered(registry) == before
    assert [r.subject for r in again] == [t.subject for t in TOPICS]
    assert all(r.schema_id is not None for r in again)


def test_every_subject_has_its_rule(registry: Connection) -> None:
    register(registry)
    ours = {s.subject: s for s in registered(registry)}
    for where in TOPICS:
        assert ours[where.subject].compatibility == where.compatibility.value
        assert ours[where.subject].ours


def test_check_says_what_would_happen_and_changes_nothing(registry: Connection, lonely: dict[Topic, str]) -> None:
    (new,) = check(registry, lonely)
    assert (new.standing, new.schema_id) == (Standing.NEW, None)
    assert new.subject not in registry.subjects()
    register(registry, lonely)
    (same,) = check(registry, lonely)
    assert same.standing is Standing.UNCHANGED
    assert same.schema_id == registry.find(same.subject, next(iter(lonely.values())))
    (good,) = check(registry, changed(lonely, type="string", default=""))
    assert (good.standing, good.message) == (Standing.COMPATIBLE, "")
    (bad,) = check(registry, changed(lonely, type="string"))
    assert bad.standing is Standing.INCOMPATIBLE
    assert "PmReport.extra" in bad.message
    assert registry.versions(new.subject) == (1,)


def test_the_registry_refuses_an_incompatible_change(registry: Connection, lonely: dict[Topic, str]) -> None:
    register(registry, lonely)
    (where,) = lonely
    retyped = schema_of(PmReport)
    next(f for f in retyped["fields"] if f["name"] == "layout")["type"] = "long"
    renamed = schema_of(PmReport)
    next(f for f in renamed["fields"] if f["name"] == "layout")["name"] = "arrangement"
    for text in (changed(lonely, type="string")[where], json.dumps(retyped), json.dumps(renamed)):
        with pytest.raises(IncompatibleSchema, match=where.subject) as caught:
            register(registry, {where: text})
        assert "Remedy" in str(caught.value)
    assert registry.versions(where.subject) == (1,)


def test_full_transitive_looks_at_every_version(registry: Connection, lonely: dict[Topic, str]) -> None:
    """A field may come and go with a default; but never come back as another type."""
    register(registry, lonely)
    register(registry, changed(lonely, type="string", default=""))
    register(registry, lonely)
    with pytest.raises(IncompatibleSchema):
        register(registry, changed(lonely, type="long", default=0))


def test_a_backward_subject_takes_what_a_telemetry_subject_refuses(
    registry: Connection, lonely: dict[Topic, str], unique: str
) -> None:
    """BACKWARD: a new reader reads old events, so a field may be dropped; FULL_TRANSITIVE forbids it."""
    (where,) = lonely
    schema = schema_of(PmReport)
    schema["fields"] = [f for f in schema["fields"] if f["name"] != "layout"]
    register(registry, lonely)
    with pytest.raises(IncompatibleSchema):
        register(registry, {where: json.dumps(schema)})
    loose = where._replace(name=f"{unique}.loose", compatibility=Compatibility.BACKWARD)
    register(registry, {loose: schema_text(PmReport)})
    register(registry, {loose: json.dumps(schema)})
    assert registry.versions(loose.subject) == (1, 2)


def test_the_rule_of_a_subject_that_lost_it_is_set_again(registry: Connection, lonely: dict[Topic, str]) -> None:
    (where,) = lonely
    register(registry, lonely)
    registry.set_compatibility(where.subject, Compatibility.BACKWARD)
    register(registry, lonely)
    assert registry.compatibility(where.subject) == "FULL_TRANSITIVE"


def test_ids_come_from_the_registry_and_go_to_it_once(endpoints: Endpoints, registry: Connection) -> None:
    register(registry)
    ids = RegistryIds(endpoints.registry_url)
    serde, other = Serde(ids), Serde(RegistryIds(endpoints.registry_url))
    strategy_id = ids.id_of(STRATEGIES)
    assert ids.schema_of(strategy_id) == schema_text(STRATEGIES.event)
    report = telemetry.pm(1, 0)
    assert other.decode(PM, serde.encode(PM, report)).event_id == report.event_id


def test_a_schema_nobody_registered_is_asked_for_by_name(endpoints: Endpoints, unique: str) -> None:
    ids = RegistryIds(endpoints.registry_url)
    with pytest.raises(SchemaUnregistered, match="twinloop schemas register"):
        ids.id_of(PM._replace(name=unique))


def test_an_unknown_id_is_asked_for_once_in_a_while(endpoints: Endpoints, registry: Connection) -> None:
    now = [0.0]
    ids = RegistryIds(endpoints.registry_url, monotonic=lambda: now[0])
    asked: list[int] = []
    real = ids._registry()

    class Counting:
        url = real.url

        def avro_text(self, schema_id: int) -> str | None:
            asked.append(schema_id)
            return real.avro_text(schema_id)

    ids._connection = Counting()  # type: ignore[assignment]
    for _ in range(5):
        with pytest.raises(Undecodable, match="999999"):
            ids.schema_of(999_999)
    assert asked == [999_999]
    now[0] = 31
    with pytest.raises(Undecodable):
        ids.schema_of(999_999)
    assert asked == [999_999] * 2


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/apis/ccompat/v7", "http://user:secret@127.0.0.1:1"])
def test_a_registry_that_is_not_there_is_no_fault_of_the_message(url: str) -> None:
    serde = Serde(RegistryIds(url, {"max.retries": 0}))
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:1") as caught:
        serde.decode(PM, b"\0\0\0\0\7rest")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(serde.ids)


def test_a_wrong_address_does_not_read_as_an_unknown_schema(endpoints: Endpoints) -> None:
    ids = RegistryIds(endpoints.registry_url.replace("ccompat", "nowhere"))
    with pytest.raises(RegistryUnavailable):
        ids.schema_of(1)


def test_refused_properties_of_the_registry_client_keep_their_values_to_themselves(endpoints: Endpoints) -> None:
    with pytest.raises(RegistryUnavailable, match=r"basic\.auth\.user\.info") as caught:
        connect(endpoints.registry_url, {"basic.auth.user.info": "no-colon-but-secret"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("how", ["fastavro", "confluent"])
def test_a_foreign_producer_needs_the_exported_schema_and_nothing_else(
    how: str, endpoints: Endpoints, registry: Connection, transport: KafkaTransport, tmp_path: Path, unique: str
) -> None:
    register(registry)
    files = export(tmp_path)
    assert [f.name for f in files] == [f"{t.subject}.avsc" for t in topic_schemas()]
    start = transport.end_offsets([PM.name])
    arguments = [how, endpoints.bootstrap_servers, endpoints.registry_url, str(files[0]), unique]
    subprocess.run([sys.executable, "-I", foreign.__file__, *arguments], check=True, timeout=60)
    got = messages_of(transport, start, unique, 3)
    serde = Serde(RegistryIds(endpoints.registry_url))
    events = [serde.decode_as(PM, m.value, PmReport) for m in got]
    assert [e.event_id for e in events] == ["vendor-0", "vendor-1", "vendor-2"]
    assert events[1].cells[1].values[0] == 1.0
    assert math.isnan(events[1].cells[1].values[1])
    assert events[1].cells[1].suspect
    assert events[1].collection == "delta"
    columns = serde.decode_pm_columns(got)
    assert columns.errors == []
    assert columns.matrix(2)[1][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert {m.key for m in got} == {PM.key_of(events[0]).encode()}


def messages_of(transport: KafkaTransport, start: Frontier, network: str, n: int) -> list[Message]:
    """The n messages of a network after a frontier, in order of their offsets."""
    consumer = transport.consumer("test")
    consumer.assign(start)
    got: list[Message] = []

    def complete() -> bool:
        got.extend(m for m in consumer.poll(100, 0.2) if (m.key or b"").startswith(network.encode()))
        return len(got) >= n

    wait_until(complete, 30, f"{n} messages of {network}")
    consumer.close()
    return sorted(got, key=lambda m: m.offset)

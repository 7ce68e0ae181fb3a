"""The outbox: an event is in it exactly if its rows are, once, in order, until it is published."""

import pytest

from infra.storage.database import Connection, Database, connect
from infra.storage.outbox import enqueue, forget_published, mark_published, pending

pytestmark = pytest.mark.integration


def _event(event_id: str, network_id: str = "net") -> dict[str, object]:
    return {"network_id": network_id, "event_id": event_id, "value": 1.5}


def _put(connection: Connection, event_id: str, *, role: str = "twin", topic: str = "alerts") -> bool:
    return enqueue(connection, role, topic, f"net|{event_id}", _event(event_id), event_id)


def test_events_come_out_in_the_order_they_went_in_until_they_are_published(connection: Connection) -> None:
    for event_id in ("b", "a", "c"):
        assert _put(connection, event_id)
    rows = pending(connection, "twin")
    assert [r.event_id for r in rows] == ["b", "a", "c"]
    assert rows[0].payload == _event("b")
    assert (rows[0].topic, rows[0].key, rows[0].network_id) == ("alerts", "net|b", "net")
    mark_published(connection, [r.id for r in rows[:2]])
    assert [r.event_id for r in pending(connection, "twin")] == ["c"]


def test_an_event_enqueued_again_is_not_published_again(connection: Connection) -> None:
    assert _put(connection, "a")
    mark_published(connection, [r.id for r in pending(connection, "twin")])
    assert not _put(connection, "a")
    assert pending(connection, "twin") == []


def test_the_same_id_of_another_topic_role_or_network_is_another_event(connection: Connection) -> None:
    assert _put(connection, "a")
    assert _put(connection, "a", topic="plans")
    assert _put(connection, "a", role="outer")
    assert enqueue(connection, "twin", "alerts", "other|a", _event("a", "other"), "a")
    assert len(pending(connection, "twin")) == 3
    assert len(pending(connection, "twin", network_id="other")) == 1
    assert len(pending(connection, "twin", limit=2)) == 2


def test_a_transaction_that_fails_leaves_no_event(url: str) -> None:
    def fail(connection: Connection) -> None:
        _put(connection, "a")
        raise RuntimeError("after the event")

    with Database(url) as database:
        with pytest.raises(RuntimeError, match="after the event"), database.transaction() as connection:
            fail(connection)
        with database.transaction() as connection:
            assert pending(connection, "twin") == []


def test_an_event_is_not_seen_before_its_transaction_is_committed(url: str) -> None:
    with connect(url) as writer, connect(url, autocommit=True) as publisher:
        _put(writer, "a")
        assert pending(publisher, "twin") == []
        writer.commit()
        assert [r.event_id for r in pending(publisher, "twin")] == ["a"]


def test_forgetting_keeps_the_newest_and_what_is_not_published(connection: Connection) -> None:
    for event_id in "abcde":
        _put(connection, event_id)
    rows = {r.event_id: r.id for r in pending(connection, "twin")}
    mark_published(connection, [rows[e] for e in "acde"])
    enqueue(connection, "twin", "alerts", "other|z", _event("z", "other"), "z")
    mark_published(connection, [r.id for r in pending(connection, "twin", network_id="other")])
    assert forget_published(connection, "twin", "net", keep=2) == 2
    assert [r.event_id for r in pending(connection, "twin")] == ["b"]
    assert not _put(connection, "d"), "still recognised"
    assert not enqueue(connection, "twin", "alerts", "other|z", _event("z", "other"), "z"), "another network's"
    assert forget_published(connection, "twin", "net", keep=100) == 0

"""Alerts: what they say, and how they reach a webhook and Alertmanager."""

import hashlib
import hmac
import json
from contextlib import closing

from loops.alerts.alertmanager import ENDS, Alertmanager
from loops.alerts.events import SEVERITY, Kind, alert, cloud_event, fingerprint
from loops.alerts.watch import BURST, from_revisions
from loops.alerts.webhook import CONTENT_TYPE, SIGNATURE, Webhook
from schemas.twin import EventCounts, KpiFidelity, TwinUpdate
from streams.clock import SettableClock
from tests.webhooks import receiving

TOLD = alert(Kind.PLAN_ROLLED_BACK, "demo", "plan-1", 1_700_000_040_000, "«Größer» was rolled back", {"cause": "harm"})


def revision(number: int, *, gate_open: bool, dead: int = 0) -> TwinUpdate:
    counts = EventCounts(ingested=100, applied=100 - dead, duplicate=0, late=0, dead_lettered=dead, in_flight=0)
    return TwinUpdate(
        network_id="demo", event_id=f"1/{number}", region="1", revision=number, period_end_ms=60_000 * number,
        frontier=[], state_hash="h", model_versions={}, gate_open=gate_open, counts=counts,
        fidelity=[KpiFidelity(kpi="DRB.UEThpDl", score=0.6 if gate_open else 0.2, gate=0.5)],
    )  # fmt: skip


def test_every_kind_has_a_severity_and_a_cloudevents_type() -> None:
    assert set(SEVERITY) == set(Kind)
    assert all(k.value.startswith("io.twinloop.") for k in Kind)


def test_an_alert_is_a_cloudevent_with_the_four_required_attributes() -> None:
    event = cloud_event(TOLD)
    assert event["specversion"] == "1.0"
    assert all(event[name] for name in ("id", "source", "type"))
    # Names of attributes are lower-case letters and digits (CloudEvents 1.0, section 3.1).
    assert all(name.isalnum() and name.islower() for name in event)
    assert event["data"]["annotations"]["summary"] == "«Größer» was rolled back"
    assert event["data"]["cause"] == "harm"


def test_the_fingerprint_is_that_of_the_condition_not_of_the_moment() -> None:
    later = alert(Kind.PLAN_ROLLED_BACK, "demo", "plan-1", 1_700_000_100_000, "again")
    other = alert(Kind.PLAN_ROLLED_BACK, "demo", "plan-2", 1_700_000_040_000, "another")
    assert later.fingerprint == TOLD.fingerprint != other.fingerprint
    assert later.event_id != TOLD.event_id
    # FNV-1a of "a\xff1\xff": computed by hand from the definition.
    assert fingerprint({"a": "1"}) == f"{_fnv1a(b'a' + bytes([255]) + b'1' + bytes([255])):016x}"


def _fnv1a(data: bytes) -> int:
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def test_a_gate_that_closes_is_told_once_with_the_scores_that_closed_it() -> None:
    (told,) = from_revisions(revision(1, gate_open=True), revision(2, gate_open=False))
    assert told.type == Kind.GATE_CLOSED
    assert "DRB.UEThpDl 0.20 (gate 0.50)" in told.annotations["summary"]
    assert not from_revisions(revision(2, gate_open=False), revision(3, gate_open=False))
    assert [a.type for a in from_revisions(revision(3, gate_open=False), revision(4, gate_open=True))] == [
        Kind.GATE_OPENED
    ]
    assert not from_revisions(None, revision(1, gate_open=False)), "every twin begins behind a closed gate"


def test_a_burst_of_dead_letters_is_told_and_single_ones_are_not() -> None:
    before = revision(1, gate_open=True, dead=3)
    assert not from_revisions(before, revision(2, gate_open=True, dead=3 + BURST - 1))
    (told,) = from_revisions(before, revision(2, gate_open=True, dead=3 + BURST))
    assert told.type == Kind.DEAD_LETTER_BURST
    assert str(BURST) in told.annotations["summary"]


def test_a_post_is_structured_and_signed() -> None:
    with receiving() as receiver, closing(Webhook(receiver.url, "s3cret")) as webhook:
        assert webhook.attempt(TOLD).delivered
    (post,) = receiver.posts
    assert post.headers["Content-Type"] == CONTENT_TYPE
    expected = hmac.new(b"s3cret", post.body, hashlib.sha256).hexdigest()
    assert post.headers[SIGNATURE] == f"sha256={expected}"
    assert post.event == cloud_event(TOLD)


def test_without_a_secret_there_is_no_signature() -> None:
    with receiving() as receiver, closing(Webhook(receiver.url)) as webhook:
        assert webhook.attempt(TOLD).delivered
    assert SIGNATURE not in receiver.posts[0].headers


def test_alertmanager_is_told_what_begins_and_what_that_ends() -> None:
    clock = SettableClock(1_800_000_000_000)
    opened = alert(Kind.GATE_OPENED, "demo", "region 1", 1_700_000_040_000, "open again")
    with receiving() as receiver, closing(Alertmanager(receiver.url, lasting_s=60, clock=clock)) as manager:
        assert manager.attempt(opened).delivered
    (post,) = receiver.posts
    begun, ended = json.loads(post.body)
    assert fingerprint(begun["labels"]) == opened.fingerprint
    assert begun["startsAt"] == "2027-01-15T08:00:00+00:00"
    assert begun["endsAt"] == "2027-01-15T08:01:00+00:00"
    assert begun["annotations"]["event_time"] == opened.time
    assert ended["labels"]["alertname"] == "GateClosed"
    assert ended["endsAt"] == begun["startsAt"]
    assert fingerprint(ended["labels"]) == alert(Kind.GATE_CLOSED, "demo", "region 1", 1, "").fingerprint


def test_what_is_ended_is_never_ended_by_itself() -> None:
    assert all(kind not in ends for kind, ends in ENDS.items())

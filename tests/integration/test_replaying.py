"""The past derived again, twins compared, dead letters sent again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.dead_letters import (
    ORIGIN,
    Outcome,
    ReplayUnderWay,
    UnknownLetter,
    list_letters,
    replay_letters,
    show_letter,
)
from infra.replaying import ReplayError, resolve, twin_at, verify_replay
from infra.roles.base import Context
from infra.roles.twin import TwinRole
from infra.storage.database import claim, connect
from infra.storage.exceptions import UnknownRevision
from infra.twin_diff import twin_diff
from schemas.dead_letters import Reason
from schemas.telemetry import Severity
from schemas.topics import TELEMETRY
from streams.exceptions import OffsetLost
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.telemetry import (
    CELLS,
    CM,
    ELEMENTS,
    FM,
    MR,
    NETWORK,
    PM,
    Feeder,
    alarm,
    mr,
    period_end,
    pm,
    snapshot,
    telemetry,
    topology,
)
from tests.twin_runs import calm_run, context_for, logged, messages_on, running, tell_topology, wait_for
from twin_core.twin import Twin

pytestmark = pytest.mark.integration
SERDE = Serde(LocalIds())
LAST = 6


class Died(BaseException):
    """The process is gone."""


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


@pytest.fixture
def context(transport: MemoryTransport, database_url: str) -> Context:
    """Six periods, a snapshot after every second one."""
    feed = Feeder(transport, SERDE)
    for period in range(1, LAST + 1):
        events = telemetry(period)
        if period == 3:
            events += [
                (PM, pm(3, 0, event_id="absurd", element_values=[-1.0, 0.0])),
                (MR, mr(3, 0, event_id="leak", ue=["262011234567890"] * 4)),
                (CM, snapshot(3, 1, tilt=90)),
                (FM, alarm(3, 0, 2, Severity.CRITICAL)),
            ]
            feed.send_bytes(PM, f"{NETWORK}|{ELEMENTS[0]}", b"poison")
        feed.period(period, events)
    tell_topology(database_url, topology())
    context = context_for(transport, SERDE, database_url, twin={"snapshot_every": 2})
    follow(context, LAST)
    return context


def follow(context: Context, period: int) -> None:
    with running(TwinRole(context)):
        wait_for(context.database_url, period_end(period))


@pytest.mark.parametrize(
    ("first", "last", "revisions"), [(None, None, [1, 2, 3, 4, 5, 6]), (4, 5, [4, 5]), (6, 6, [6])]
)
def test_revisions_derived_again_are_those_logged(
    context: Context, first: int | None, last: int | None, revisions: list[int]
) -> None:
    replayed = list(verify_replay(context, first, last))
    assert [r.revision for r in replayed] == revisions
    assert all(r.matches for r in replayed)


def test_a_range_may_be_named_by_times(context: Context) -> None:
    replayed = list(verify_replay(context, period_end(2), period_end(4) + 1))
    assert [r.period_end_ms for r in replayed] == [period_end(p) for p in (2, 3, 4)]


def test_a_revision_that_was_tampered_with_is_found(context: Context) -> None:
    with connect(context.database_url) as connection:
        connection.execute("UPDATE revisions SET state_hash = 'other' WHERE revision = 4")
        connection.execute("UPDATE revisions SET counts = counts || '{\"applied\": 1}' WHERE revision = 5")
    assert [r.revision for r in verify_replay(context) if not r.matches] == [4, 5]
    with pytest.raises(ReplayError, match="other"):
        twin_at(context, 4)


def test_replay_says_what_is_missing(context: Context, transport: MemoryTransport) -> None:
    with pytest.raises(UnknownRevision, match="revision 99"):
        list(verify_replay(context, 99))
    with pytest.raises(UnknownRevision):
        resolve(context, period_end(1) - 1)
    with pytest.raises(ReplayError, match="earlier moment first"):
        list(verify_replay(context, 5, 2))
    stranger = replace(context, transport=MemoryTransport())
    Feeder(stranger.transport, SERDE)
    with pytest.raises(ReplayError, match="topics end before revision 6"):
        list(verify_replay(stranger, 1))
    with pytest.raises(OffsetLost, match="snapshot"):
        list(verify_replay(stranger, 6))


def test_the_twin_at_a_time_is_the_one_that_was(context: Context, transport: MemoryTransport) -> None:
    hashes = calm_run(transport, SERDE).hashes
    for at, revision in ((4, 4), (5, 5), (None, 6), (period_end(3) + 30_000, 3), (1, 1)):
        found = twin_at(context, at)
        assert (found.update.revision, found.twin.state_hash()) == (revision, hashes[revision])


def test_a_corrupt_snapshot_is_passed_over(context: Context) -> None:
    with connect(context.database_url) as connection:
        connection.execute(
            "UPDATE snapshots SET payload = set_byte(payload, 900, 255 - get_byte(payload, 900)) WHERE revision = 4"
        )
    assert twin_at(context, 5).update.revision == 5


def test_a_diff_names_what_changed(context: Context) -> None:
    before, after = twin_at(context, 2).twin, twin_at(context, 3).twin
    found = twin_diff(before, after)
    assert {(d.where, d.before, d.after) for d in found if d.topic == "configuration"} == {
        (v.object, 60.0, 90.0) for v in snapshot(3, 1).values if v.attribute == "digitalTilt"
    }
    assert [(d.where, d.after) for d in found if d.topic == "service"] == [(CELLS[1], False)]
    assert {d.topic for d in found} >= {"demand", "fidelity"}
    assert any("digitalTilt" in str(d) and "60 -> 90" in str(d) for d in found)
    assert twin_diff(after, after) == []
    with pytest.raises(ValueError, match="different networks"):
        twin_diff(after, Twin.create(topology("other")))


def test_dead_letters_are_listed_and_shown(context: Context) -> None:
    letters = list_letters(context)
    assert sorted(x.letter.reason for x in letters) == [
        Reason.NOT_PSEUDONYMOUS,
        Reason.OUT_OF_RANGE,
        Reason.UNDECODABLE,
    ]
    (absurd,) = list_letters(context, [Reason.OUT_OF_RANGE])
    view = show_letter(context, absurd.letter.event_id)
    assert view.event is not None
    assert view.event["event_id"] == "absurd"
    assert (view.history, absurd.reinjected) == ((), 0)
    (poison,) = list_letters(context, [Reason.UNDECODABLE])
    assert show_letter(context, poison.letter.event_id).event is None
    with pytest.raises(UnknownLetter, match="dlq list"):
        show_letter(context, "telemetry.pm/0/999")


def marked(context: Context, name: str = "telemetry.pm") -> list[bytes]:
    where = next(t for t in TELEMETRY if t.name == name)
    return [mark for m in messages_on(context.transport, where) if (mark := m.header(ORIGIN)) is not None]


def test_a_letter_is_sent_again_once(context: Context) -> None:
    answers = replay_letters(context, actor="person:test")
    assert sorted(a.outcome for a in answers) == [Outcome.IMPOSSIBLE, Outcome.SENT, Outcome.SENT]
    assert {a.outcome for a in replay_letters(context, actor="person:test")} == {Outcome.IMPOSSIBLE, Outcome.ALREADY}
    (absurd,) = list_letters(context, [Reason.OUT_OF_RANGE])
    assert absurd.reinjected == 1
    (answer,) = replay_letters(context, [absurd.letter.event_id], actor="person:test", again=True)
    assert (answer.outcome, answer.detail) == (Outcome.SENT, "attempt 3")
    assert len(marked(context)) == 3
    assert [note["attempt"] for note in show_letter(context, absurd.letter.event_id).history] == [2, 3]
    with pytest.raises(UnknownLetter):
        replay_letters(context, ["telemetry.pm/0/999"], actor="person:test")

    Feeder(context.transport, SERDE).period(LAST + 1)
    follow(context, LAST + 1)
    counts = logged(context.database_url)[-1].counts
    before = logged(context.database_url)[-2].counts
    assert counts.reinjected == 3
    assert counts.dead_lettered - before.dead_lettered == 3, "what is still wrong is refused again"
    assert sorted(x.letter.attempt for x in list_letters(context)) == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("sent", [False, True])
def test_a_process_that_dies_while_sending_leaves_it_to_the_next(context: Context, sent: bool) -> None:
    class Dying:
        """A transport whose producer dies before or after it has sent."""

        def __getattr__(self, name: str) -> object:
            return getattr(context.transport, name)

        def producer(self, name: str) -> object:
            real = context.transport.producer(name)
            setattr(real, "flush" if sent else "send", die)
            return real

    def die(*_: object) -> None:
        raise Died

    letter = list_letters(context, [Reason.OUT_OF_RANGE])[0].letter
    with pytest.raises(Died):
        replay_letters(replace(context, transport=Dying()), [letter.event_id], actor="person:test")  # type: ignore[arg-type]
    assert len(marked(context)) == sent
    (answer,) = replay_letters(context, [letter.event_id], actor="person:test")
    assert answer.outcome is (Outcome.ALREADY if sent else Outcome.SENT)
    assert marked(context) == [f"{letter.event_id}#2".encode()]
    assert replay_letters(context, [letter.event_id], actor="person:test")[0].outcome is Outcome.ALREADY


def test_two_processes_do_not_send_at_once(context: Context) -> None:
    with connect(context.database_url, autocommit=True) as other:
        assert claim(other, f"reinject|{NETWORK}")
        with pytest.raises(ReplayUnderWay, match="wait"):
            replay_letters(context, actor="person:test")


def cured(make: Callable[[Feeder], None], transport: MemoryTransport, database_url: str, **settings: Any) -> Context:
    """A network whose only dead letters come from ``make`` in period 1, and a twin with a cure in its settings."""
    feed = Feeder(transport, SERDE)
    feed.send(telemetry(1))
    make(feed)
    feed.barrier(1)
    tell_topology(database_url, topology())
    follow(context_for(transport, SERDE, database_url), 1)
    healed = context_for(transport, SERDE, database_url, **settings)
    assert {a.outcome for a in replay_letters(healed, actor="person:test")} == {Outcome.SENT}
    feed.period(2)
    follow(healed, 2)
    return healed


def test_a_cured_measurement_of_a_closed_period_is_late(transport: MemoryTransport, database_url: str) -> None:
    cells = [c.model_copy(update={"values": [120.0, *c.values[1:]]}) for c in pm(1, 0).cells]
    context = cured(
        lambda feed: feed.send([(PM, pm(1, 0, event_id="busy", cells=cells))]),
        transport,
        database_url,
        twin={"governance": {"ranges": {"RRU.PrbTotDl": (0, 150)}}},
    )
    counts = logged(context.database_url)[-1].counts
    assert (counts.dead_lettered, counts.late, counts.reinjected, counts.applied) == (1, 1, 1, 10)


def test_a_cured_measurement_of_an_open_period_is_applied(transport: MemoryTransport, database_url: str) -> None:
    cells = [c.model_copy(update={"values": [120.0, *c.values[1:]]}) for c in pm(2, 0).cells]
    context = cured(
        lambda feed: feed.send([(PM, pm(2, 0, event_id="busy", cells=cells))]),
        transport,
        database_url,
        twin={"governance": {"ranges": {"RRU.PrbTotDl": (0, 150)}}},
    )
    counts = logged(context.database_url)[-1].counts
    assert (counts.dead_lettered, counts.late, counts.reinjected, counts.applied) == (1, 0, 1, 11)


def test_a_cured_configuration_report_is_applied_with_its_own_time(
    transport: MemoryTransport, database_url: str
) -> None:
    """The key was wrong: sent again as it is it is refused again, sent under its key it still counts."""

    def misfile(feed: Feeder) -> None:
        report = snapshot(1, 1, event_id="misfiled", tilt=75)
        feed.send_bytes(CM, f"{NETWORK}|{ELEMENTS[0]}", SERDE.encode(CM, report))

    context = cured(misfile, transport, database_url)
    counts = logged(context.database_url)[-1].counts
    assert (counts.dead_lettered, counts.reinjected) == (2, 1), "the cause is not cured: refused again"
    feed = Feeder(transport, SERDE)
    feed.send(
        [(CM, snapshot(1, 1, event_id="misfiled", tilt=75, time_ms=period_end(1) + 1))], [("twinloop-reinjected", b"3")]
    )
    feed.barrier(3)
    follow(context, 3)
    after = logged(context.database_url)[-1].counts
    assert (after.applied - counts.applied, after.late) == (1, 0)
    assert twin_at(context, 3).twin.configuration.tilt_deg.tolist() == [6.0, 6.0, 6.0, 7.5, 7.5, 7.5]

"""Promotions on their way into the twin: taken up between epochs, recorded in its frontier, refused without harm."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from processors.epoch_reader import EpochReader
from processors.promotions import REFUSED, PromotionReader, models_of, take_up, text_of
from processors.twin_sync import TwinSync
from schemas.models import ModelEvent
from schemas.topics import MODELS, TOPICS
from streams.frontier import from_keys
from streams.memory import MemoryTransport
from streams.schema_ids import LocalIds
from streams.serde import Serde
from tests.telemetry import NETWORK, Feeder, period_end, topology
from tests.twin_runs import without_offsets
from tests.unit.test_twin_core_models import growing, missing
from twin_core.learned.models import dump
from twin_core.twin import Twin

SERDE = Serde(LocalIds())
GROW, OFF = growing(0.2), missing(0.1)


def event(action: str = "promoted", **changes: object) -> ModelEvent:
    given: dict[str, object] = {
        "network_id": NETWORK, "event_id": "e", "model": GROW.NAME, "version": "grow", "action": action,
        "champion_score": 0.8, "challenger_score": 0.9, "parameters": text_of(dump(GROW)), "time_ms": period_end(1),
    }  # fmt: skip
    return ModelEvent.model_validate(given | changes)


@pytest.fixture
def transport() -> MemoryTransport:
    transport = MemoryTransport()
    transport.ensure_topics(TOPICS)
    return transport


def send(transport: MemoryTransport, *events: ModelEvent) -> None:
    with closing(transport.producer("learn")) as producer:
        for told in events:
            producer.send(MODELS.name, MODELS.key_of(told), SERDE.encode(MODELS, told))
        producer.flush(5)


@pytest.fixture
def reader(transport: MemoryTransport) -> Iterator[PromotionReader]:
    with closing(PromotionReader(transport, SERDE, NETWORK, "1", "test")) as reader:
        reader.start({})
        yield reader


def test_only_what_changes_this_twin_is_taken_up(transport: MemoryTransport, reader: PromotionReader) -> None:
    send(
        transport,
        event(network_id="other"),
        event(region="2"),
        event("challenger"),
        event("refused"),
        event(version="mine"),
    )
    assert [p.event.version for p in reader.read()] == ["mine"]
    assert reader.read() == ()


def test_a_reader_gives_what_lies_below_a_frontier_and_keeps_the_rest(
    transport: MemoryTransport, reader: PromotionReader
) -> None:
    send(transport, event(version="first"), event(version="second"))
    (first, second) = reader.read()
    again = PromotionReader(transport, SERDE, NETWORK, "1", "again")
    again.start({})
    assert again.read({}) == ()
    assert again.read({first.at: first.offset + 1}) == (first,)
    assert again.read() == (second,)
    later = PromotionReader(transport, SERDE, NETWORK, "1", "later")
    later.start({first.at: first.offset + 1})
    assert later.read() == (second,)


def test_a_promotion_and_a_roll_back_change_what_the_twin_predicts_with(
    transport: MemoryTransport, reader: PromotionReader
) -> None:
    twin = Twin.create(topology())
    send(
        transport,
        event(),
        event(model=OFF.NAME, version="off", parameters=text_of(dump(OFF))),
        event("rolled_back", version="grow", parent="", parameters=""),
    )
    after, refused = take_up(twin, reader.read())
    assert not refused
    assert {name: model.version for name, model in after.models.items()} == {"kpi-residual": "off"}
    send(transport, event("rolled_back", version="off", parent="grow"))
    after, refused = take_up(after, reader.read())
    assert after.models["demand-forecast"].version == "grow"


@pytest.mark.parametrize("parameters", ["?", '{"weights": [NaN]}', text_of(b"PK"), text_of(dump(OFF))])
def test_what_cannot_be_used_is_refused_and_the_twin_stays(
    parameters: str, transport: MemoryTransport, reader: PromotionReader
) -> None:
    twin = Twin.create(topology())
    send(transport, event(parameters=parameters))
    after, (refusal,) = take_up(twin, reader.read())
    assert "demand-forecast" in refusal.reason
    assert after.models == {}
    assert after.marks == {REFUSED: 1}


def test_a_revision_records_what_it_has_taken_up_and_goes_on_with_it(
    transport: MemoryTransport, reader: PromotionReader
) -> None:
    sync, feed = TwinSync(topology(), SERDE), Feeder(transport, SERDE)
    epochs = EpochReader(transport, SERDE, NETWORK, "epochs")
    epochs.start({}, None)
    state = sync.initial()
    for period in (1, 2, 3):
        feed.period(period)
        (epoch,) = epochs.read(1.0)
        if period == 2:
            send(transport, event(network_id="other"), event())
        revision = sync.apply(state, sync.govern(state, epoch))
        plain = without_offsets(revision.twin)
        revision = sync.take_up(revision, reader.read())
        assert (without_offsets(revision.twin) == plain) == (period != 2)
        state = revision.state
        assert bool(state.promotions) == (period >= 2)
        assert not models_of(state.frontier), "telemetry is read from elsewhere"
        assert models_of(from_keys(state.twin.frontier)) == state.promotions
    assert state.twin.model_versions["demand-forecast"] == "grow"
    assert sync.load(sync.dump(state)).promotions == state.promotions

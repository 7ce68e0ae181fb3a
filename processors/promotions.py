"""Promotions of learned models on their way into the twin, as events on the topic ``models``.

A twin takes them up between two epochs, after the revision that an epoch made. What it has taken up stands in its
frontier, which each revision records: so a revision that is derived again, by replay or after a crash, takes up exactly
what it took up the first time. The frontier names a partition of ``models`` only from the first event on that
concerned this twin, and ends behind the last one: what other networks are told leaves no trace.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from schemas.models import ModelEvent
from schemas.topics import MODELS
from streams.exceptions import BadEvent, OffsetLost
from streams.frontier import Frontier, TopicPartition
from streams.serde import Serde
from streams.transport import Message, Transport
from twin_core.exceptions import InvalidModel
from twin_core.twin import Twin

# What a twin counts in its marks.
REFUSED = "promotions of learned models that could not be used"
_POLL, _WAIT_S = 500, 0.5


@dataclass(frozen=True)
class Promotion:
    """An event that changes what a twin predicts with, and where it lay."""

    at: TopicPartition
    offset: int
    event: ModelEvent


@dataclass(frozen=True)
class Refusal:
    """A promotion that the twin did not take up, and why."""

    event: ModelEvent
    reason: str


def models_of(frontier: Mapping[TopicPartition, int]) -> Frontier:
    """The part of a frontier that says which promotions were taken up."""
    return {at: offset for at, offset in frontier.items() if at[0] == MODELS.name}


def take_up(twin: Twin, promotions: Sequence[Promotion]) -> tuple[Twin, tuple[Refusal, ...]]:
    """The same revision, predicting with what the events say. What cannot be used is refused, and the twin stays."""
    refused: list[Refusal] = []
    for promotion in promotions:
        event = promotion.event
        # A roll-back names the version that leaves, and brings the parameters of the one that comes back.
        version = event.parent if event.action == "rolled_back" else event.version
        try:
            twin = twin.with_model(event.model, version, _bytes(event)) if version else twin.without_model(event.model)
        except InvalidModel as error:
            refused.append(Refusal(event, str(error)))
    if refused:
        twin = replace(twin, marks={**twin.marks, REFUSED: twin.marks.get(REFUSED, 0) + len(refused)})
    return twin, tuple(refused)


def text_of(parameters: bytes) -> str:
    """Parameters as they stand in an event."""
    return base64.b64encode(parameters).decode()


def _bytes(event: ModelEvent) -> bytes:
    """Parameters out of an event: JSON as it is, else base64 of safetensors."""
    if event.parameters.lstrip().startswith("{"):
        return event.parameters.encode()
    try:
        return base64.b64decode(event.parameters, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidModel(
            f"the parameters of {event.model} {event.version} are neither JSON nor base64 ({error}); promote it again"
        ) from error


class PromotionReader:
    """Reads the promotions of one region's twin.

    Parameters
    ----------
    transport, serde
        Where from, and how they are decoded.
    network_id, region
        Whose.
    name
        Of the consumer.
    """

    def __init__(self, transport: Transport, serde: Serde, network_id: str, region: str, name: str) -> None:
        self._transport, self._serde = transport, serde
        self._network_id, self._region = network_id, region
        self._consumer = transport.consumer(name)
        self._waiting: list[Promotion] = []
        self._log = structlog.get_logger().bind(reader=name, network=network_id, region=region)

    def start(self, frontier: Mapping[TopicPartition, int]) -> None:
        """Begin after what a twin has taken up; partitions that the frontier does not name are read from the start."""
        begin = self._transport.begin_offsets([MODELS.name])
        self._waiting = []
        self._consumer.assign({at: max(offset, frontier.get(at, 0)) for at, offset in begin.items()})

    def read(self, until: Mapping[TopicPartition, int] | None = None) -> tuple[Promotion, ...]:
        """Promotions that have come, in the order of their partitions.

        Parameters
        ----------
        until
            Only those below this frontier, waiting for them; None: those that are on the topic now.

        Raises
        ------
        BrokerUnavailable
            If Kafka is away.
        """
        ends = self._transport.end_offsets([MODELS.name]) if until is None else models_of(until)
        while any(self._consumer.position().get(at, offset) < offset for at, offset in ends.items()):
            try:
                messages = self._consumer.poll(_POLL, _WAIT_S)
            except OffsetLost:
                self._log.warning("promotions were deleted before they were read", topic=MODELS.name)
                self._consumer.assign(self._transport.begin_offsets([MODELS.name]))
                continue
            self._waiting += [p for m in messages if (p := self._promotion(m)) is not None]
            if not messages and until is not None and self._consumer.at_end():
                break  # the topic no longer has what was taken up then; the state hash will say so
        due = [p for p in self._waiting if until is None or p.offset < ends.get(p.at, 0)]
        self._waiting = [p for p in self._waiting if p not in due]
        return tuple(sorted(due, key=lambda p: (p.at, p.offset)))

    def close(self) -> None:
        """Give up the consumer."""
        self._consumer.close()

    def _promotion(self, message: Message) -> Promotion | None:
        if (message.key or b"").split(b"|")[0] != self._network_id.encode():
            return None
        try:
            event = self._serde.decode_as(MODELS, message.value, ModelEvent)
        except BadEvent as error:
            self._log.error("a model's event cannot be read", offset=message.offset, error=str(error))
            return None
        if (event.network_id, event.region) != (self._network_id, self._region):
            return None
        if event.action not in ("promoted", "rolled_back"):
            return None
        return Promotion((message.topic, message.partition), message.offset, event)

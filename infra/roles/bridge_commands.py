"""Commands on their way to a live network, and its answers back.

1. poll; 2. hand each command to the network; 3. produce the answers and wait for the acknowledgements; 4. commit the
commands' offsets. Died after 2 or 3, a command is handed over again: the network knows its id and answers DUPLICATE,
which says that it has been applied.
"""

import structlog

from infra.line_protocol.client import LineNetwork
from infra.line_protocol.exceptions import RequestRefused
from infra.line_protocol.messages import Ack, Command, RawChange
from infra.metrics import COMMANDS
from infra.roles.base import Context
from schemas.plans import AckStatus, ConfigAck, ConfigCommand
from schemas.topics import CONFIG_ACKS, CONFIG_COMMANDS
from streams.exceptions import BadEvent, CommitFailed, OffsetLost
from streams.frontier import advance
from streams.transport import Message

_MOST = 200
_FLUSH_S = 30.0


def group_of(network_id: str) -> str:
    """Consumer group that holds how far a network's commands have been carried out."""
    return f"twinloop.bridge.{network_id}"


class CommandDesk:
    """Serves ``config.commands`` of one network."""

    def __init__(self, context: Context, network: LineNetwork) -> None:
        self._context, self._network = context, network
        self._log = structlog.get_logger().bind(role="bridge", network=context.network_id)
        self._consumer = context.transport.consumer("bridge-commands", group_of(context.network_id))
        self._producer = context.transport.producer("bridge-acks")
        self._unanswered: dict[str, str] = {}  # command to managed element
        begin = context.transport.begin_offsets([CONFIG_COMMANDS.name])
        known = self._consumer.committed(begin)
        self._consumer.assign({at: max(offset, known.get(at, 0)) for at, offset in begin.items()})

    def serve(self, timeout_s: float = 0.0) -> int:
        """Carry out the commands that are there; how many there were."""
        try:
            messages = self._consumer.poll(_MOST, timeout_s)
        except OffsetLost as error:
            # Retention took commands that nobody carried out. Who sent them had no answer and sends them again.
            self._log.warning("commands were deleted before they were carried out", error=str(error))
            self._consumer.assign(self._context.transport.begin_offsets([CONFIG_COMMANDS.name]))
            return 0
        done = 0
        for message in messages:
            command = self._decode(message)
            if command is not None:
                self._carry_out(command)
                done += 1
        for ack in self._network.take_acks():
            if ack.id in self._unanswered:
                self._answer(self._unanswered.pop(ack.id), ack)
        self._producer.flush(_FLUSH_S)
        if messages:
            try:
                self._consumer.commit(advance({}, messages))
            except CommitFailed as error:
                # A restart hands these commands over again, and they are duplicates then.
                self._log.warning("offsets of commands not committed", error=str(error))
        return done

    def close(self) -> None:
        """Give up consumer and producer."""
        self._consumer.close()
        self._producer.close()

    def _decode(self, message: Message) -> ConfigCommand | None:
        if (message.key or b"").split(b"|")[0] != self._context.network_id.encode():
            return None
        try:
            return self._context.serde.decode_as(CONFIG_COMMANDS, message.value, ConfigCommand)
        except BadEvent as error:
            self._log.error(
                "a command cannot be read; it is not carried out",
                partition=message.partition, offset=message.offset, error=str(error),
            )  # fmt: skip
            return None

    def _carry_out(self, command: ConfigCommand) -> None:
        changes = [RawChange(object=c.object, attribute=c.attribute, value=c.value) for c in command.changes]
        try:
            ack = self._network.send_command(
                Command(id=command.command_id, managed_element=command.managed_element, changes=changes)
            )
        except RequestRefused as error:  # it does not take such commands at all, which is an answer too
            now_ms = command.time_ms
            ack = Ack(id=command.command_id, status=AckStatus.REJECTED, reason=error.cause, time_ms=now_ms)
        if ack is None:
            self._unanswered[command.command_id] = command.managed_element
            COMMANDS.labels(self._context.network_id, "none").inc()
            self._log.warning("the network did not answer a command", command=command.command_id)
            return
        self._log.info("command", command=command.command_id, status=ack.status, reason=ack.reason)
        self._answer(command.managed_element, ack)

    def _answer(self, managed_element: str, ack: Ack) -> None:
        COMMANDS.labels(self._context.network_id, ack.status.value).inc()
        event = ConfigAck(
            network_id=self._context.network_id,
            event_id=f"{ack.id}:{ack.status.value}",
            command_id=ack.id,
            managed_element=managed_element,
            status=ack.status,
            reason=ack.reason[:2000],
            time_ms=ack.time_ms,
        )
        self._producer.send(
            CONFIG_ACKS.name, CONFIG_ACKS.key_of(event), self._context.serde.encode(CONFIG_ACKS, event), (), ack.time_ms
        )

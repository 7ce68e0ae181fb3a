"""The alerts role: what is worth telling reaches the topic ``alerts`` and the channels that are set: a webhook,
Alertmanager.

1. for each new revision of the twin, in one transaction: alerts about the twin itself, their outbox rows, and the
   role's progress;
2. publish the outbox;
3. post alerts that a channel has not got, oldest first, and note each in its row.

Nobody waits for it. If it dies between a post and its note, the alert is posted again under the same id. Channels do
not wait for each other: one that is down is tried again after ever longer pauses.
"""

import threading
import time
from contextlib import ExitStack, closing

import structlog

from infra.metrics import ALERTS
from infra.roles.base import Context, keep_trying
from infra.roles.publishing import OutboxPublisher
from infra.settings import AlertSettings, secret
from infra.storage import progress
from infra.storage.alerts import Pending, note_delivery, save_alert, skip_channel, undelivered
from infra.storage.database import Database, claim
from infra.storage.revisions import latest_revision, revisions_between
from loops.alerts.alertmanager import Alertmanager
from loops.alerts.channel import Channel, pause_s
from loops.alerts.watch import from_revisions
from loops.alerts.webhook import Webhook
from schemas.topics import TOPICS

NAME = "alerts"
CHANNELS = (Webhook.name, Alertmanager.name)
_LOOK_EVERY_S = 0.25
# Revisions looked at in one transaction: after a long absence there are many.
_MOST = 500


def build(context: Context) -> "AlertsRole":
    """The alerts role of the context's network."""
    return AlertsRole(context)


class AlertsRole:
    """Tells, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        keep_trying(NAME, stop, lambda: self._attempt(stop))

    def _attempt(self, stop: threading.Event) -> None:
        context, settings = self._context, self._context.settings.alerts
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            while not self._claim(database):
                if stop.wait(_LOOK_EVERY_S):
                    return
            context.transport.ensure_topics(TOPICS)
            publisher = stack.enter_context(closing(OutboxPublisher(context, NAME)))
            channels = [stack.enter_context(closing(channel)) for channel in channels_of(settings)]
            deliveries = [_Deliveries(context, database, channel) for channel in channels]
            off = set(CHANNELS) - {c.name for c in channels}
            while True:
                # Once more after the stop: what the loops told last is not left behind.
                last = stop.is_set()
                self._notice(database)
                publisher.publish(database)
                if off:
                    with database.transaction() as connection:
                        for name in off:
                            skip_channel(connection, context.network_id, name)
                for delivery in deliveries:
                    delivery.round()
                if last:
                    return
                stop.wait(_LOOK_EVERY_S)

    def _notice(self, database: Database) -> None:
        """Step 1."""
        network, region = self._context.network_id, self._context.region
        with database.transaction() as connection:
            newest = latest_revision(connection, network, region)
            done = progress.reached(connection, network).get(NAME, -1)
            if newest is None or newest.period_end_ms <= done:
                return
            before = latest_revision(connection, network, region, done) if done >= 0 else None
            first = before.revision + 1 if before else 0
            for now in revisions_between(connection, network, region, first, min(newest.revision, first + _MOST)):
                for told in from_revisions(before, now):
                    if save_alert(connection, NAME, told, now.period_end_ms):
                        self._log.info("alert", type=told.type, summary=told.annotations["summary"])
                before = now
            if before is not None:
                progress.report(connection, network, NAME, before.period_end_ms)

    def _claim(self, database: Database) -> bool:
        with database.transaction() as connection:
            return claim(connection, f"{NAME}|{self._context.network_id}")


def channels_of(settings: AlertSettings) -> list[Channel]:
    """The channels that the settings name.

    Raises
    ------
    SettingsError
        If a secret's file cannot be read.
    """
    out: list[Channel] = []
    if settings.webhook_url is not None:
        key = secret(settings.webhook_secret, settings.webhook_secret_file)
        out.append(Webhook(settings.webhook_url, key, settings.timeout_s))
    if settings.alertmanager_url is not None:
        out.append(Alertmanager(settings.alertmanager_url, settings.timeout_s, settings.lasting_s))
    return out


class _Deliveries:
    """Step 3 for one channel: attempts, pauses between them, and when to give up."""

    def __init__(self, context: Context, database: Database, channel: Channel) -> None:
        self._network, self._most = context.network_id, context.settings.alerts.attempts
        self._database, self._channel = database, channel
        self._due_s = 0.0
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id, channel=channel.name)

    def round(self) -> None:
        """Post what is waiting, in order, until the receiver fails; then pause, longer each time."""
        if time.monotonic() < self._due_s:
            return
        with self._database.transaction() as connection:
            waiting = undelivered(connection, self._network, self._channel.name)
        for pending in waiting:
            if not self._deliver(pending):
                break

    def _deliver(self, pending: Pending) -> bool:
        """One attempt; whether the next alert may be tried."""
        told, attempts = pending.alert, pending.attempts + 1
        result = self._channel.attempt(told)
        if result.delivered:
            state = "delivered"
        elif result.hopeless or attempts >= self._most:
            state = "given up"
            self._log.error("alert not delivered; given up", alert=told.event_id, attempts=attempts, why=result.detail)
        else:
            state = "pending"
            self._due_s = time.monotonic() + pause_s(attempts)
            if attempts == 1:
                self._log.warning("alert not delivered yet; it is tried again", alert=told.event_id, why=result.detail)
        ALERTS.labels(self._channel.name, state.replace(" ", "_")).inc()
        with self._database.transaction() as connection:
            note_delivery(connection, self._network, told.event_id, self._channel.name, state, attempts, result.detail)
        return state != "pending"

"""The learn role: learns models from what the twin's revisions show, and decides which the twin predicts with.

It follows the twin role, one region of a network. Delivery order, for each revision:

1. wait for the revision; load its twin and the one before, what was observed, and outcomes that have become known;
2. learn, in memory (`loops.learning.learner`);
3. in one database transaction: the state of the learner with the period it has learned up to, versions of models,
   decisions in the outbox (topic `models`), alerts and audit records;
4. publish the outbox;
5. report progress.

The state is the position: whatever step it dies after, the next process goes on behind the last period whose state was
written, publishes what is pending, and learns the same from the same. Progress comes after publishing, so that in
lock-step a promotion is on the topic before the network reports the next period: every run takes it up in the same one.
Outcomes are taken up a few periods late, when the outer loop has surely written them.
"""

import threading
import time
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from infra.metrics import MODELS_DECIDED, STEP_SECONDS
from infra.roles.base import Context, keep_trying, stand_by
from infra.roles.inner_sight import next_revision
from infra.roles.publishing import OutboxPublisher
from infra.storage import progress
from infra.storage.alerts import save_alert
from infra.storage.database import Connection, Database
from infra.storage.exceptions import ProgressTimeout, UnknownRevision
from infra.storage.lessons import lessons_between
from infra.storage.models import load_learner, record_decision, save_learner
from infra.storage.plans import write_audit
from infra.storage.timeseries import read_kpis
from infra.topologies import load_topology
from infra.twin_source import PostgresTwins
from loops.alerts.events import Kind, alert
from loops.exceptions import BadLearnerState
from loops.learning.drift import Drift
from loops.learning.learner import Learned, Learner
from loops.learning.outcomes import Lesson
from schemas.topics import TOPICS
from schemas.topology import Topology
from schemas.twin import TwinUpdate
from twin_core.learned.memory import REMEMBERED
from twin_core.regions import regions_of, shard_of
from twin_core.twin import Twin

NAME = "learn"
_AFTER = "twin"  # the role whose revisions are followed
_LOOK_AGAIN_S = 0.5
# Periods after which an outcome is taken up: by then the outer loop has written it.
_LATER = 3


def build(context: Context) -> "LearnRole":
    """The learn role of the context's region."""
    # One thread: the order of sums must not depend on how many cores there are.
    torch.set_num_threads(1)
    return LearnRole(context)


class LearnRole:
    """Learns, as the docstring above orders it."""

    name = NAME

    def __init__(self, context: Context) -> None:
        self._context = context
        self._regions: tuple[str, ...] = (context.region,)
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id, region=context.region)

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop``."""
        keep_trying(NAME, stop, lambda: self._attempt(stop))

    def _attempt(self, stop: threading.Event) -> None:
        context = self._context
        with ExitStack() as stack:
            database = stack.enter_context(context.database(NAME))
            if not stand_by(database, f"{NAME}|{context.network_id}|{context.region}", stop):
                return
            topology = load_topology(database, context.network_id, stop)
            if topology is None:
                return
            context.transport.ensure_topics(TOPICS)
            publisher = stack.enter_context(closing(OutboxPublisher(context, NAME)))
            watch = stack.enter_context(progress.ProgressWatch(context.database_url))
            self._regions = regions_of(topology)
            topology = shard_of(topology, context.region).topology
            work = _Work(context, topology, database, self._restore(database, topology))
            publisher.publish(database)
            if work.learned_ms:
                self._report(database, work.learned_ms)
            while not stop.is_set():
                update = self._next(database, watch, work.learned_ms)
                if update is None:
                    continue
                began = time.monotonic()
                work.period(update)
                publisher.publish(database)
                context.after_step(NAME, 4, update.period_end_ms)
                self._report(database, update.period_end_ms)
                context.after_step(NAME, 5, update.period_end_ms)
                STEP_SECONDS.labels(NAME).observe(time.monotonic() - began)

    def _restore(self, database: Database, topology: Topology) -> Learner:
        context, settings = self._context, self._context.settings.learn
        with database.transaction() as connection:
            saved = load_learner(connection, context.network_id, context.region, NAME)
        if saved is not None:
            try:
                return Learner.load(saved, len(topology.cells), settings)
            except BadLearnerState as error:
                self._log.error(
                    "the learner's state cannot be used; it learns from the newest revision on", error=str(error)
                )
                with database.transaction() as connection:
                    newest = progress.reached(connection, context.network_id).get(_AFTER, 0)
                fresh = Learner(len(topology.cells), settings)
                fresh.period_end_ms = newest
                return fresh
        return Learner(len(topology.cells), settings)

    def _next(self, database: Database, watch: progress.ProgressWatch, learned_ms: int) -> TwinUpdate | None:
        """The oldest revision that was not learned from; None if there is none yet."""
        context = self._context
        try:
            watch.wait(context.network_id, [_AFTER], learned_ms + 1, _LOOK_AGAIN_S)
        except ProgressTimeout:
            return None
        with database.transaction() as connection:
            return next_revision(connection, context.network_id, context.region, learned_ms, newest=False)

    def _report(self, database: Database, period_end_ms: int) -> None:
        with database.transaction() as connection:
            network_id, region = self._context.network_id, self._context.region
            progress.report_part(connection, network_id, NAME, region, self._regions, period_end_ms)


class _Work:
    """Steps 1 to 3."""

    def __init__(self, context: Context, topology: Topology, database: Database, learner: Learner) -> None:
        self._context, self._topology, self._database, self._learner = context, topology, database, learner
        self._twins = PostgresTwins(database, kept=2)
        self._log = structlog.get_logger().bind(role=NAME, network=context.network_id, region=context.region)

    @property
    def learned_ms(self) -> int:
        """End of the last period learned from."""
        return self._learner.period_end_ms

    def period(self, update: TwinUpdate) -> None:
        """Steps 1 to 3 for a revision."""
        after, before = self._twin(update.revision), self._twin(update.revision - 1)
        with self._database.transaction() as connection:
            observed = self._observed(connection, update.period_end_ms)
            lessons = self._lessons(connection, update.period_end_ms)
        self._context.after_step(NAME, 1, update.period_end_ms)
        learned = Learned()
        if after is None:
            self._learner.period_end_ms = update.period_end_ms  # no snapshot of it is kept: nothing to learn from
        else:
            learned = self._learner.step(before, after, observed, lessons)
        self._context.after_step(NAME, 2, update.period_end_ms)
        self._save(learned, update.period_end_ms)
        self._context.after_step(NAME, 3, update.period_end_ms)

    def _twin(self, revision: int) -> Twin | None:
        try:
            return self._twins.load(self._context.network_id, self._context.region, revision)
        except UnknownRevision:
            return None

    def _observed(self, connection: Connection, period_end_ms: int) -> dict[str, NDArray[np.float64]]:
        """KPI to [C] of a period, NaN where missing."""
        places = {cell: c for c, cell in enumerate(self._topology.cell_names)}
        out = {kpi: np.full(len(places), np.nan) for kpi in REMEMBERED}
        rows = read_kpis(
            connection, self._context.network_id, after_ms=period_end_ms - 1, until_ms=period_end_ms,
            kpis=list(REMEMBERED),
        )  # fmt: skip
        for _, cell, kpi, seen, _ in rows:
            if cell in places and seen is not None:
                out[kpi][places[cell]] = seen
        return out

    def _lessons(self, connection: Connection, period_end_ms: int) -> list[Lesson]:
        later_ms = _LATER * 1000 * self._topology.granularity_s
        network = self._context.network_id
        return lessons_between(connection, network, self._learner.period_end_ms - later_ms, period_end_ms - later_ms)

    def _save(self, learned: Learned, period_end_ms: int) -> None:
        context = self._context
        network, region = context.network_id, context.region
        with self._database.transaction() as connection:
            save_learner(connection, network, region, NAME, self._learner.dump(), period_end_ms)
            for decision in learned.decisions:
                record_decision(connection, NAME, network, region, decision, period_end_ms, NAME)
            for drift in learned.drifts:
                self._tell(connection, drift, period_end_ms)
        for decision in learned.decisions:
            MODELS_DECIDED.labels(network, decision.model, decision.action).inc()
            self._log.info(
                decision.action, model=decision.model, version=decision.version, before=decision.parent,
                champion=round(decision.champion_score, 4), challenger=round(decision.challenger_score, 4),
                periods=decision.periods, reason=decision.reason,
            )  # fmt: skip

    def _tell(self, connection: Connection, drift: Drift, period_end_ms: int) -> None:
        context, cell = self._context, self._topology.cell_names[drift.cell]
        share = float(np.expm1(drift.size))
        summary = (
            f"demand of {cell} is lastingly {share:+.0%} from its forecasts; no change of configuration explains it"
        )
        detail: dict[str, Any] = {"cell": cell, "off": round(share, 4)}
        write_audit(connection, context.network_id, period_end_ms, NAME, "drift", cell, detail)
        told = alert(Kind.DRIFT, context.network_id, cell, period_end_ms, summary, {"off": f"{share:.4f}"})
        save_alert(connection, NAME, told, period_end_ms)
        self._log.info("drift", cell=cell, off=round(share, 3), period_end_ms=period_end_ms)

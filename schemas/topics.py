"""The table of topics: what travels where, under which key, with which compatibility."""

from enum import StrEnum
from typing import NamedTuple

from schemas.alerts import Alert
from schemas.base import Event
from schemas.dead_letters import DeadLetter, LateEvent
from schemas.exceptions import UnknownTopic
from schemas.models import ModelEvent
from schemas.ndt import NdtReport, NdtShard, NdtShardResult
from schemas.plans import ConfigAck, ConfigCommand, Outcome, PlanTransition
from schemas.strategies import Strategy
from schemas.telemetry import Alarm, ConfigurationReport, MeasurementReport, PeriodEnd, PmReport
from schemas.twin import Anomaly, Features, TwinUpdate


class Compatibility(StrEnum):
    """Which schema changes the registry lets through."""

    FULL_TRANSITIVE = "FULL_TRANSITIVE"  # producers and consumers upgrade in any order
    BACKWARD = "BACKWARD"  # consumers upgrade first


class Topic(NamedTuple):
    """One topic. ``key`` names the fields that, after network_id, make its key."""

    name: str
    event: type[Event]
    key: tuple[str, ...]
    partitions: int = 3
    compatibility: Compatibility = Compatibility.BACKWARD

    @property
    def subject(self) -> str:
        """Subject under which its schema is registered (TopicNameStrategy)."""
        return f"{self.name}-value"

    def key_of(self, event: Event) -> str:
        """Key of an event: network_id and the key fields, joined by ``|``."""
        return "|".join([event.network_id, *(str(getattr(event, f)) for f in self.key)])


_FULL = Compatibility.FULL_TRANSITIVE
TELEMETRY: tuple[Topic, ...] = (
    Topic("telemetry.pm", PmReport, ("managed_element",), compatibility=_FULL),
    Topic("telemetry.mr", MeasurementReport, ("managed_element",), compatibility=_FULL),
    Topic("telemetry.fm", Alarm, ("managed_element",), compatibility=_FULL),
    Topic("telemetry.cm", ConfigurationReport, ("managed_element",), compatibility=_FULL),
)
PERIODS = Topic("telemetry.periods", PeriodEnd, (), partitions=1, compatibility=_FULL)
LATE = Topic("telemetry.late", LateEvent, ("managed_element",), compatibility=_FULL)
DLQ = Topic("telemetry.dlq", DeadLetter, (), compatibility=_FULL)
FEATURES = Topic("features", Features, ("cell",))
ANOMALIES = Topic("anomalies", Anomaly, ("cell",))
TWIN_UPDATES = Topic("twin.updates", TwinUpdate, ("region",))
STRATEGIES = Topic("strategies.proposed", Strategy, ("strategy_id",))
NDT_JOBS = Topic("ndt.jobs", NdtShard, ("job_id", "shard_index"), partitions=8)
NDT_JOBS_URGENT = Topic("ndt.jobs.urgent", NdtShard, ("job_id", "shard_index"), partitions=8)
NDT_RESULTS = Topic("ndt.results", NdtShardResult, ("job_id", "shard_index"), partitions=8)
NDT_REPORTS = Topic("ndt.reports", NdtReport, ("job_id",))
PLANS = Topic("plans", PlanTransition, ("plan_id",))
CONFIG_COMMANDS = Topic("config.commands", ConfigCommand, ("managed_element",))
CONFIG_ACKS = Topic("config.acks", ConfigAck, ("managed_element",))
OUTCOMES = Topic("outcomes", Outcome, ("plan_id",))
MODELS = Topic("models", ModelEvent, ("model",))
ALERTS = Topic("alerts", Alert, ("fingerprint",))

TOPICS: tuple[Topic, ...] = (
    *TELEMETRY, PERIODS, LATE, DLQ, FEATURES, ANOMALIES, TWIN_UPDATES, STRATEGIES,
    NDT_JOBS, NDT_JOBS_URGENT, NDT_RESULTS, NDT_REPORTS, PLANS, CONFIG_COMMANDS, CONFIG_ACKS,
    OUTCOMES, MODELS, ALERTS,
)  # fmt: skip
_BY_NAME = {t.name: t for t in TOPICS}


def topic(name: str) -> Topic:
    """The topic of that name.

    Raises
    ------
    UnknownTopic
        If twinloop has no such topic.

    Examples
    --------
    >>> topic("telemetry.pm").subject
    'telemetry.pm-value'
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UnknownTopic(f"no topic {name!r}; topics are {', '.join(_BY_NAME)}") from None

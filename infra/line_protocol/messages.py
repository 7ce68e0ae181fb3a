"""The lines of the protocol as models. Unknown fields are ignored, so that a later minor version can add some."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.plans import AckStatus
from schemas.telemetry import AttributeValue
from schemas.topology import Topology

PROTOCOL = "twinloop-line/1"
CAPABILITIES = ("seed", "fork", "inject")
EVENT_TOPICS = ("telemetry.pm", "telemetry.mr", "telemetry.fm", "telemetry.cm")

EpochMs = Annotated[int, Field(ge=0)]


class Line(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="ignore")


# -- from the network


class NetworkInfo(Line):
    """What the simulator is."""

    name: str
    version: str = ""
    hash: str = Field(default="", description="Hash of its parameters, for the record of a run")


class CounterLayout(Line):
    """An order of counters of the network's own; names as in schemas.counters."""

    name: str
    cell: list[str]
    element: list[str] = Field(default_factory=list)


class Hello(Line):
    """The first line, written unasked: who the network is and what it can do."""

    type: Literal["hello"] = "hello"
    protocol: str
    network: NetworkInfo
    topology: Topology
    configuration: list[AttributeValue] = Field(description="Every lever object with its present value")
    levers: list[str] = Field(description="Attributes that can be commanded")
    layouts: list[CounterLayout] = Field(default_factory=list)
    period_s: int = Field(gt=0)
    capabilities: list[str] = Field(default_factory=list)
    faults: list[str] = Field(default_factory=list, description="Names that inject takes")
    running: bool = Field(default=False, description="Continues a forked state: no start is needed")
    time_ms: EpochMs | None = Field(default=None, description="Simulated time, where running")


class Started(Line):
    """Answer to start."""

    type: Literal["started"] = "started"
    time_ms: EpochMs


class EventLine(Line):
    """An event of the schemas in JSON form. ``network_id`` may be left out: the bridge stamps it."""

    type: Literal["event"] = "event"
    topic: str
    event: dict[str, Any]


class PeriodEndLine(Line):
    """All events of the period have been written."""

    type: Literal["period_end"] = "period_end"
    period_end_ms: EpochMs


class Ack(Line):
    """Answer to a command."""

    type: Literal["ack"] = "ack"
    id: str
    status: AckStatus
    reason: str = ""
    time_ms: EpochMs


class ConfigurationLine(Line):
    """Answer to a query."""

    type: Literal["configuration"] = "configuration"
    id: str
    values: list[AttributeValue]
    time_ms: EpochMs


class Forked(Line):
    """Answer to fork: start the same executable with these arguments added, and it goes on from this moment."""

    type: Literal["forked"] = "forked"
    id: str
    arguments: list[str]


class Injected(Line):
    """Answer to inject."""

    type: Literal["injected"] = "injected"
    id: str


class ErrorLine(Line):
    """Answer to a request that cannot be met; without id, a complaint about a line."""

    type: Literal["error"] = "error"
    id: str | None = None
    code: str
    message: str


# -- to the network


class Start(Line):
    """Begin at that time with that seed. Options are the network's own."""

    type: Literal["start"] = "start"
    seed: int = Field(ge=0)
    start_time_ms: EpochMs
    options: dict[str, Any] = Field(default_factory=dict)


class Step(Line):
    """Run one period, write its events, then period_end."""

    type: Literal["step"] = "step"


class Command(Line):
    """Set attributes on one managed element: all or none."""

    type: Literal["command"] = "command"
    id: str
    managed_element: str
    changes: list["RawChange"] = Field(min_length=1)


class RawChange(Line):
    """One attribute to set, not yet checked."""

    object: str
    attribute: str
    value: float | str


class Query(Line):
    """What is set now? Without objects: everything."""

    type: Literal["query"] = "query"
    id: str
    objects: list[str] | None = None


class Fork(Line):
    """Save a copy of the running state."""

    type: Literal["fork"] = "fork"
    id: str


class Inject(Line):
    """Let a named fault happen, ``delay_s`` of simulated time from now."""

    type: Literal["inject"] = "inject"
    id: str
    fault: str
    target: str = ""
    delay_s: float = Field(default=0, ge=0)
    duration_s: float = Field(gt=0)
    parameters: dict[str, float] = Field(default_factory=dict)


class Stop(Line):
    """End."""

    type: Literal["stop"] = "stop"


FromNetwork = Hello | Started | EventLine | PeriodEndLine | Ack | ConfigurationLine | Forked | Injected | ErrorLine
ToNetwork = Start | Step | Command | Query | Fork | Inject | Stop

from_network: TypeAdapter[FromNetwork] = TypeAdapter(Annotated[FromNetwork, Field(discriminator="type")])
to_network: TypeAdapter[ToNetwork] = TypeAdapter(Annotated[ToNetwork, Field(discriminator="type")])

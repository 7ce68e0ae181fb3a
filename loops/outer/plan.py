"""A plan: an approved strategy on its way into the network. An immutable value that is stored as one JSON document."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from loops.outer.exceptions import NotApproved
from loops.outer.neighbours import NeighbourGraph
from loops.outer.stages import Stage, stages_of
from schemas.base import EpochMs, Identifier, Number, Record
from schemas.identifiers import digest
from schemas.names import NetworkId, cell_of
from schemas.ndt import Companion, NdtReport, Prediction, Verdict
from schemas.plans import TERMINAL, ConfigCommand, PlanState
from schemas.strategies import Guard, Strategy
from schemas.telemetry import AttributeValue

# (DN, attribute) -> value: a configuration as far as somebody knows it.
Attribute = tuple[str, str]
Values = Mapping[Attribute, float | str]


class CommandStatus(StrEnum):
    """What is known of a command."""

    SENT = "SENT"
    APPLIED = "APPLIED"
    REJECTED = "REJECTED"


class PushedCommand(Record):
    """A command that was sent, and what became of it."""

    command: ConfigCommand
    status: CommandStatus = CommandStatus.SENT
    attempts: int = 1
    answered_ms: int | None = None
    reason: str = ""


class Plan(Record):
    """Everything the outer loop knows of one approved strategy."""

    network_id: NetworkId
    plan_id: Identifier
    job_id: Identifier
    strategy: Strategy
    guards: tuple[Guard, ...]
    predictions: tuple[Prediction, ...]
    decided_at_ms: EpochMs
    valid_until_ms: EpochMs
    load_low: Number
    load_high: Number
    assumed: tuple[AttributeValue, ...]  # levers of the area as the verdict knew them
    companions: tuple[Companion, ...] = ()  # strategies whose changes do not put the verdict out
    stages: tuple[Stage, ...]
    area: tuple[str, ...]  # changed cells and their ring: what the plan locks
    created_ms: EpochMs

    state: PlanState | None = None
    stage_index: int = 0
    seq: int = 0  # transitions so far
    reason: str = ""  # of the last transition, or why it waits
    advanced_ms: int = 0  # last period it was advanced in
    fallback: tuple[AttributeValue, ...] = ()  # stored with the first push
    commands: tuple[PushedCommand, ...] = ()
    first_push_ms: int | None = None
    held_ms: int | None = None  # end of the period from which the present stage is in force
    waited: int = 0  # periods without leave to push, in the present state
    blind: int = 0  # periods of the present hold without usable data
    cause: str = ""  # why it is or was rolled back
    left_alone: tuple[AttributeValue, ...] = ()  # attributes that other hands set
    paused_by: str = ""  # the person who paused it

    @property
    def stage(self) -> Stage:
        """The present stage."""
        return self.stages[self.stage_index]

    @property
    def stage_name(self) -> str:
        """Name of the stage it is in; empty before the first push."""
        return self.stage.name if self.first_push_ms is not None else ""

    @property
    def done(self) -> bool:
        """Whether its state is final."""
        return self.state in TERMINAL

    @property
    def begun(self) -> bool:
        """Whether it has pushed something and is not done: it holds its locks."""
        return self.first_push_ms is not None and not self.done

    @property
    def touched(self) -> tuple[str, ...]:
        """Cells changed by the stages pushed so far."""
        return tuple(dict.fromkeys(c for s in self.stages[: self.stage_index + 1] for c in s.cells))

    @property
    def cells(self) -> tuple[str, ...]:
        """Cells that it changes in the end."""
        return tuple(dict.fromkeys(c for s in self.stages for c in s.cells))

    @property
    def awaited(self) -> list[str]:
        """Ids of the commands whose answer decides what comes next."""
        kind = {PlanState.PUSHING: "apply", PlanState.ROLLING_BACK: "rollback"}.get(self.state or PlanState.PENDING)
        return [
            p.command.command_id
            for p in self.commands
            if p.status is CommandStatus.SENT and p.command.kind == kind and p.command.stage == self.stage.name
        ]

    def of_kind(self, kind: str, stage: str | None = None) -> tuple[PushedCommand, ...]:
        """Its commands of one kind, of one stage or all."""
        return tuple(c for c in self.commands if c.command.kind == kind and stage in (None, c.command.stage))


def plan_id_of(job_id: str) -> str:
    """The plan that follows from a job, always the same.

    >>> plan_id_of("job-1")
    'plan-026ab639c21d'
    """
    return f"plan-{digest(job_id, length=12)}"


def plan_from(
    strategy: Strategy,
    report: NdtReport,
    guards: Iterable[Guard],
    graph: NeighbourGraph,
    known: Values,
    created_ms: int,
) -> Plan:
    """A plan for an approved strategy, not yet in any state.

    Parameters
    ----------
    guards
        All guards in force at the verdict.
    known
        The configuration of the revision that the verdict was made on.

    Raises
    ------
    NotApproved
        If the report does not approve this strategy.
    UnknownCell
        If the strategy touches a cell outside the topology.
    """
    if report.verdict is not Verdict.APPROVED or report.strategy_id != strategy.strategy_id:
        raise NotApproved(
            f"job {report.job_id} says {report.verdict} on strategy {report.strategy_id}, which is no leave to push "
            f"{strategy.strategy_id}; verify that strategy first"
        )
    stages = () if strategy.standing else stages_of(strategy.changes, graph)
    area = graph.area(c for s in stages for c in s.cells)
    return Plan(
        network_id=strategy.network_id,
        plan_id=plan_id_of(report.job_id),
        job_id=report.job_id,
        strategy=strategy,
        guards=tuple(guards),
        predictions=tuple(report.predictions),
        decided_at_ms=report.decided_at_ms,
        valid_until_ms=report.valid_until_ms,
        load_low=report.load_low,
        load_high=report.load_high,
        companions=tuple(report.companions),
        assumed=as_values((k, v) for k, v in known.items() if cell_of(k[0]) in area),
        stages=stages,
        area=tuple(sorted(area)),
        created_ms=created_ms,
    )


def as_values(items: Iterable[tuple[Attribute, float | str]]) -> tuple[AttributeValue, ...]:
    """Attribute values in order of name."""
    return tuple(AttributeValue(object=dn, attribute=a, value=v) for (dn, a), v in sorted(items, key=lambda i: i[0]))


def as_mapping(values: Iterable[AttributeValue]) -> dict[Attribute, float | str]:
    """The other way round."""
    return {(v.object, v.attribute): v.value for v in values}

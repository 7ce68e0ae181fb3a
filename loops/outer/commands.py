"""Commands: what is set on which managed element, under an id that follows from the plan."""

from collections.abc import Iterable
from typing import Literal

from loops.outer.plan import Plan
from loops.outer.stages import in_safe_order
from schemas.identifiers import digest
from schemas.names import managed_element_of
from schemas.plans import ConfigCommand
from schemas.strategies import ConfigChange
from schemas.telemetry import AttributeValue

Kind = Literal["apply", "rollback"]


def command_id_of(plan_id: str, stage: str, kind: str, managed_element: str) -> str:
    """Id of a command: the same however often it is made, so that a push happens once.

    >>> command_id_of("plan-1", "canary", "apply", "ManagedElement=g1")
    'plan-1.canary.apply.2086b035488d'
    """
    return f"{plan_id}.{stage}.{kind}.{digest(managed_element, length=12)}"


def commands_for(plan: Plan, kind: Kind, changes: Iterable[ConfigChange], time_ms: int) -> tuple[ConfigCommand, ...]:
    """One command a managed element, in order of first appearance."""
    elements: dict[str, list[ConfigChange]] = {}
    for change in changes:
        elements.setdefault(managed_element_of(change.object), []).append(change)
    commands = []
    for element, of_element in elements.items():
        command_id = command_id_of(plan.plan_id, plan.stage.name, kind, element)
        commands.append(
            ConfigCommand(
                network_id=plan.network_id,
                event_id=command_id,
                command_id=command_id,
                plan_id=plan.plan_id,
                stage=plan.stage.name,
                kind=kind,
                managed_element=element,
                changes=of_element,
                time_ms=time_ms,
            )
        )
    return tuple(commands)


def reversal(plan: Plan, values: Iterable[AttributeValue]) -> tuple[ConfigChange, ...]:
    """Changes that bring back these values."""
    return in_safe_order(
        ConfigChange(
            change_id=f"{plan.plan_id}.back.{digest(v.object, v.attribute, length=12)}",
            object=v.object,
            attribute=v.attribute,
            value=v.value,
        )
        for v in values
    )

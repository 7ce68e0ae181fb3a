"""Desired against actual: level-triggered, so that neither a lost nor a repeated message can mislead."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loops.outer.plan import Attribute, Plan, Values, as_mapping, as_values
from schemas.levers import LOCKED, SHUTTING_DOWN
from schemas.telemetry import AttributeValue

# The twin keeps power in dBm and tilt in degrees; going there and back costs some last digits.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Reconciliation:
    """Where each attribute that a plan has set stands.

    Parameters
    ----------
    in_force
        Has the plan's value.
    fallen_back
        Has the fallback value, which differs from the plan's.
    foreign
        Has a value that is neither: somebody else set it.
    unknown
        The network does not report it.
    """

    in_force: frozenset[Attribute]
    fallen_back: frozenset[Attribute]
    foreign: Mapping[Attribute, float | str]
    unknown: frozenset[Attribute]

    @property
    def complete(self) -> bool:
        """Whether everything is as the plan wants it."""
        return not (self.fallen_back or self.foreign or self.unknown)


def same(a: float | str, b: float | str) -> bool:
    """Whether two values of an attribute are the same setting.

    >>> same(40_000, 39_999.99999), same("LOCKED", "UNLOCKED"), same(3.0, 4.0)
    (True, False, False)
    """
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return abs(a - b) <= _TOLERANCE * max(1.0, abs(a), abs(b))


def desired(plan: Plan) -> dict[Attribute, float | str]:
    """What the plan has asked for so far, sent or in force."""
    return {(c.object, c.attribute): c.value for p in plan.of_kind("apply") for c in p.command.changes}


def reconcile(plan: Plan, actual: Values) -> Reconciliation:
    """Compare what the plan has asked for with what the network reports."""
    fallback = as_mapping(plan.fallback)
    in_force, fallen_back, unknown = set(), set(), set()
    foreign: dict[Attribute, float | str] = {}
    for key, wanted in desired(plan).items():
        if key not in actual:
            unknown.add(key)
        elif same(actual[key], wanted) or (wanted, actual[key]) == (SHUTTING_DOWN, LOCKED):
            in_force.add(key)
        elif same(actual[key], fallback[key]):
            fallen_back.add(key)
        else:
            foreign[key] = actual[key]
    return Reconciliation(frozenset(in_force), frozenset(fallen_back), foreign, frozenset(unknown))


def differing(expected: Iterable[AttributeValue], actual: Values) -> tuple[AttributeValue, ...]:
    """What the network reports otherwise than expected; attributes it does not report are no difference."""
    return as_values(
        (key, actual[key])
        for key, value in as_mapping(expected).items()
        if key in actual and not same(actual[key], value)
    )

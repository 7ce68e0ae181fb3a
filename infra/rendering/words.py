"""Small words that several pages share: numbers, names, colours of states."""

import math

from schemas.exceptions import InvalidName
from schemas.names import parse, relation_target_of
from schemas.ndt import Diagnosis
from schemas.plans import PlanState
from schemas.strategies import Condition

_STYLES = {
    PlanState.COMPLETED: "bold green",
    PlanState.ROLLED_BACK: "bold yellow",
    PlanState.ROLLING_BACK: "yellow",
    PlanState.FAILED: "bold red",
    PlanState.CANCELLED: "dim",
}


def state_style(state: PlanState) -> str:
    """Rich style of a plan's state."""
    return _STYLES.get(state, "blue")


def short(dn: str) -> str:
    """A managed object in the words of a person: ``gnb7/3``, ``gnb7/3 towards gnb2/1``, ``gnb7``.

    >>> short("SubNetwork=1,ManagedElement=gnb7,GNBDUFunction=1,NRCellDU=3")
    'gnb7/3'
    >>> short("SubNetwork=1,ManagedElement=gnb7,GNBCUCPFunction=1,NRCellCU=3,NRCellRelation=gnb2-1")
    'gnb7/3 towards gnb2/1'
    """
    try:
        steps = {step.cls: step.value for step in parse(dn)}
        name = steps.get("ManagedElement", dn)
        cell = steps.get("NRCellDU") or steps.get("NRCellCU") or steps.get("NRSectorCarrier")
        name = f"{name}/{cell}" if cell else name
        return f"{name} towards {short(relation_target_of(dn))}" if "NRCellRelation" in steps else name
    except InvalidName:
        return dn


def number(value: float, *, signed: bool = False) -> str:
    """Three significant digits with thousands apart; a dash where there is none.

    >>> number(-12345.6, signed=True), number(0.01234), number(float("nan"))
    ('-12,346', '0.0123', '–')
    """
    if math.isnan(value):
        return "–"
    sign = "+" if signed else ""
    if value and abs(value) < 1000:
        return f"{value:{sign}.3g}"
    return f"{value:{sign},.0f}"


def percent(share: float) -> str:
    """A probability in percent.

    >>> percent(0.0312), percent(float("nan"))
    ('3.1 %', '–')
    """
    return "–" if math.isnan(share) else f"{100 * share:.3g} %" if share > 0.1 else f"{100 * share:.1f} %"


def cause(diagnosis: Diagnosis) -> str:
    """A diagnosis: the layer, then what was found.

    >>> from schemas.ndt import Layer
    >>> cause(Diagnosis(layer=Layer.DATA, summary="gnb1 is silent"))
    'data: gnb1 is silent'
    """
    return f"{diagnosis.layer.value}: {diagnosis.summary}"


def when(condition: Condition) -> str:
    """The condition of a rule.

    >>> when(Condition(kpi="RRU.PrbTotDl", below=10, periods=5))
    'RRU.PrbTotDl of the network (mean) below 10 for 5 periods'
    """
    who = ", ".join(map(short, condition.cells)) or "the network"
    side, limit = ("above", condition.above) if condition.above is not None else ("below", condition.below)
    long = f" for {condition.periods} periods" if condition.periods > 1 else ""
    return f"{condition.kpi} of {who} ({condition.statistic}) {side} {number(limit or 0)}{long}"

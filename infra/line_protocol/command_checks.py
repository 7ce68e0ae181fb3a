"""Checks of how a network takes commands."""

from collections.abc import Mapping

from infra.line_protocol.client import LineNetwork
from infra.line_protocol.exceptions import RequestRefused
from infra.line_protocol.findings import Findings
from infra.line_protocol.messages import Ack, Command, RawChange
from schemas.levers import CIO_GRID_DB, DEDICATED, LEVERS, MAXIMUM, MINIMUM, RATIOS
from schemas.names import cell_of, managed_element_of
from schemas.plans import AckStatus
from schemas.telemetry import AttributeValue, ConfigurationReport

Value = float | str
SHAPES = range(5)  # values of coverageShape of which the twin knows the beam


def other_values(attribute: str, value: Value) -> list[Value]:
    """Values of that lever, other than the present one and the closest first, of which a network must take one.

    Of what is measured there is one; of coverage shapes a network need not have each that twinloop knows.

    >>> other_values("cellIndividualOffset", 0.0), other_values("administrativeState", "UNLOCKED")
    ([1.0], ['LOCKED'])
    >>> other_values("coverageShape", 3.0)
    [2.0, 4.0, 1.0, 0.0]
    """
    lever = LEVERS[attribute]
    if lever.words:
        return [next(w for w in lever.words if w != value)]
    number = float(value)
    if attribute == "coverageShape":
        return [float(n) for n in sorted(SHAPES, key=lambda n: abs(n - number)) if n != number]
    if attribute == "cellIndividualOffset":
        return [next(float(g) for g in sorted(CIO_GRID_DB, key=lambda g: (abs(g - number), -g)) if g != number)]
    if attribute == "configuredMaxTxPower":
        return [max(lever.low, number / 2)]
    return [number + 10 if number + 10 <= lever.high else number - 10]


def _meant(attribute: str) -> str:
    if attribute == "coverageShape":
        return f"some of the shapes {SHAPES[0]} to {SHAPES[-1]}, whose beams the twin knows"
    return "values that lie in the range of TS 28.541"


def another_ratio(attribute: str, ratios: Mapping[str, float], others: float = 0.0) -> float | None:
    """A share of a slice close to the present one and different, None if there is none that is possible.

    Parameters
    ----------
    ratios
        The slice's present shares, percent.
    others
        Min shares of the cell's other slices together, percent.

    Examples
    --------
    >>> another_ratio("rRMPolicyMinRatio", {"rRMPolicyMinRatio": 20.0, "rRMPolicyMaxRatio": 25.0})
    10.0
    >>> another_ratio("rRMPolicyDedicatedRatio", {}) is None
    True
    """
    dedicated, least, most = (ratios.get(name, usual) for name, usual in zip(RATIOS, (0.0, 0.0, 100.0), strict=True))
    low, present, high = {
        DEDICATED: (0.0, dedicated, least),
        MINIMUM: (dedicated, least, min(most, 100.0 - others)),
        MAXIMUM: (least, most, 100.0),
    }[attribute]
    return next((present + by for by in (10, -10, 1, -1) if low <= present + by <= high), None)


class CommandChecks:
    """Commands with one lever of each kind, then what must be refused."""

    def __init__(self, network: LineNetwork, findings: Findings) -> None:
        self._network, self._findings = network, findings
        usable = [v for v in network.hello.configuration if v.attribute in network.hello.levers]
        self._levers: dict[str, AttributeValue] = {}
        for value in usable:
            if value.attribute in LEVERS and value.attribute not in RATIOS:
                self._levers.setdefault(value.attribute, value)
        # Of one slice in one cell, the largest share first, so that each has room to change.
        ratios = [v for v in usable if v.attribute in RATIOS and isinstance(v.value, float)]
        own = {v.attribute: v for v in ratios if v.object == ratios[0].object}
        self._levers |= {name: own[name] for name in reversed(RATIOS) if name in own}
        self._ratios = {name: float(v.value) for name, v in own.items()}
        cell = cell_of(ratios[0].object) if ratios else ""
        rest = (v for v in ratios if v.object != ratios[0].object and v.attribute == MINIMUM)
        self._others = sum(float(v.value) for v in rest if cell_of(v.object) == cell)
        self._set: dict[str, AttributeValue] = {}

    def run(self) -> None:
        """All checks, between two periods."""
        for attribute, present in self._levers.items():
            self._apply(attribute, present)
        if self._levers:
            self._refusals(next(iter(self._levers.values())))

    def still_applied(self) -> None:
        """What was set still holds some periods later."""
        for attribute, wanted in self._set.items():
            if attribute == "administrativeState":
                continue  # SHUTTING_DOWN becomes LOCKED by itself
            self._must_be(wanted, "is no longer what was set, some periods later")

    def _apply(self, attribute: str, present: AttributeValue) -> None:
        f = self._findings
        if attribute in RATIOS:
            ratio = another_ratio(attribute, self._ratios, self._others)
            values: list[Value] = [] if ratio is None else [ratio]
        else:
            values = other_values(attribute, present.value)
        ack = None
        for value in values:
            wanted = AttributeValue(object=present.object, attribute=attribute, value=value)
            name = f"check-{attribute}-{value}"
            ack = self._send(name, present.object, attribute, wanted.value)
            if ack is None or ack.status is not AckStatus.REJECTED:
                break
        if ack is None:
            return
        if ack.status is not AckStatus.APPLIED:
            f.error(
                "command-not-applied",
                f"setting {attribute} of {present.object} to {wanted.value} was answered {ack.status}: {ack.reason}",
                f"apply {_meant(attribute)}, or do not list the lever",
                about=attribute,
            )
            return
        self._must_be(wanted, "is not what was set, says the query")
        self._set[attribute] = wanted
        if attribute in RATIOS:
            self._ratios[attribute] = float(wanted.value)
        self._notified(name, attribute)
        again = self._send(name, present.object, attribute, present.value)
        if again is not None and again.status is not AckStatus.DUPLICATE:
            f.error(
                "not-idempotent",
                f"a command with the id of an applied one was answered {again.status}, not DUPLICATE",
                "remember the ids of applied commands and answer a repeat DUPLICATE without changing anything",
                about="duplicate",
            )
        elif again is not None:
            self._must_be(wanted, "was changed by a repeated command id")
        self._network.take_events()

    def _refusals(self, lever: AttributeValue) -> None:
        """Out of range, unknown, not its own, half right: refused, and nothing is changed."""
        element = managed_element_of(lever.object)
        absurd: Value = "SIDEWAYS" if LEVERS[lever.attribute].words else LEVERS[lever.attribute].high + 1000
        ghost = f"{element},GNBDUFunction=1,NRSectorCarrier=no-such"
        good = RawChange(
            object=lever.object, attribute=lever.attribute, value=other_values(lever.attribute, lever.value)[0]
        )
        before = self._value(lever)
        beyond = RawChange(object=lever.object, attribute=lever.attribute, value=absurd)
        cases = {
            "accepts-out-of-range": (element, [beyond]),
            "accepts-unknown-object": (
                element, [RawChange(object=ghost, attribute="configuredMaxTxPower", value=1000)]
            ),
            "accepts-unknown-attribute": (element, [RawChange(object=lever.object, attribute="colour", value=1)]),
            "accepts-unknown-element": ("ManagedElement=no-such", [good]),
            "not-atomic": (element, [good, RawChange(object=ghost, attribute="configuredMaxTxPower", value=1000)]),
        }  # fmt: skip
        if {MINIMUM, MAXIMUM} <= self._ratios.keys():
            slice_dn = self._levers[MINIMUM].object
            shares = ((MINIMUM, 60), (MAXIMUM, 40))
            impossible = [RawChange(object=slice_dn, attribute=name, value=value) for name, value in shares]
            cases["accepts-impossible-ratios"] = managed_element_of(slice_dn), impossible
        for code, (target, changes) in cases.items():
            try:
                ack = self._network.send_command(Command(id=f"check-{code}", managed_element=target, changes=changes))
            except RequestRefused:
                continue  # an error line refuses as well
            if ack is None or ack.status is not AckStatus.REJECTED:
                said = "not answered" if ack is None else f"answered {ack.status}"
                self._findings.error(
                    code,
                    f"a command that sets {', '.join(f'{c.attribute} of {c.object} to {c.value}' for c in changes)} "
                    f"on {target} was {said}",
                    "answer REJECTED with the reason; make all changes of a command or none",
                )
        after = self._value(lever)
        if before is not None and after is not None and after != before:
            self._findings.error(
                "not-atomic",
                f"{lever.attribute} of {lever.object} went from {before} to {after} by commands that must be rejected",
                "check all changes of a command before making the first",
                about="value",
            )

    def _send(self, name: str, dn: str, attribute: str, value: Value) -> Ack | None:
        change = RawChange(object=dn, attribute=attribute, value=value)
        ack = self._network.send_command(Command(id=name, managed_element=managed_element_of(dn), changes=[change]))
        if ack is None:
            self._findings.error(
                "command-unanswered",
                f"the command to set {attribute} was not answered before the next request",
                "answer every command with one ack line, before reading on",
                about="unanswered",
            )
        return ack

    def _value(self, lever: AttributeValue) -> Value | None:
        found = self._network.query([lever.object])
        return next((v.value for v in found if (v.object, v.attribute) == (lever.object, lever.attribute)), None)

    def _must_be(self, wanted: AttributeValue, problem: str) -> None:
        value = self._value(wanted)
        if value is None:
            self._findings.error(
                "query",
                f"the query of {wanted.object} does not give its {wanted.attribute}",
                "answer a query with every lever of the objects it names",
                about=wanted.attribute,
            )
        elif value != wanted.value:
            self._findings.error(
                "query-mismatch",
                f"{wanted.attribute} of {wanted.object} {problem}: {value}, not {wanted.value}",
                "let the query give the actual configuration",
                about=wanted.attribute,
            )

    def _notified(self, name: str, attribute: str) -> None:
        """A change shows in telemetry.cm, at once or with the next period; only a network with CM events is asked."""
        events = [line.event for line in self._network.take_events()]
        told = [e for e in events if isinstance(e, ConfigurationReport)]
        if told and not any(e.command_id == name for e in told):
            self._findings.warning(
                "notification",
                f"the change of {attribute} was reported without its command_id",
                "name the command in the configuration report that it caused",
                about="command_id",
            )

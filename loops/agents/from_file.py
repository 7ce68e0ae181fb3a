"""A person's strategy, written in YAML.

::

    title: Switch the stadium cell off at night
    by: anna
    objective: {kpi: PEE.AvgPower, direction: down, min_gain: 0.01}
    changes:
      - {cell: gnb2-1, attribute: administrativeState, value: LOCKED}
      - {cell: gnb2-2, towards: gnb2-1, attribute: cellIndividualOffset, value: -2}
      - {cell: gnb2-2, slice: 2-000001, attribute: rRMPolicyMinRatio, value: 15}
      - {object: "SubNetwork=1,ManagedElement=gnb3,GNBDUFunction=1,NRSectorCarrier=2",
         attribute: configuredMaxTxPower, value: 20000}
    guards:
      - {kpi: DRB.UEThpDl, scope: network, direction: up, relative: 0.02}
    rationale: No matches this week.

A cell may be given by its short name, managed element and cell number (gnb2-1 or gnb2/1); the object that carries the
attribute follows.

Instead of ``changes`` there may be a schedule by time of day (UTC), or the rules of a policy; approved, they stay in
force and bring forth changes, each verified by itself::

    schedule:
      - {at: "01:30", changes: [{cell: gnb2-1, attribute: administrativeState, value: LOCKED}]}
      - {at: "05:00", changes: [{cell: gnb2-1, attribute: administrativeState, value: UNLOCKED}]}

    rules:
      - when: {kpi: RRU.PrbTotDl, cells: [gnb2-1], below: 10, periods: 5}
        changes: [{cell: gnb2-1, attribute: administrativeState, value: LOCKED}]
    rest_periods: 10
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from loops.exceptions import BadStrategyFile
from schemas.base import Record
from schemas.identifiers import digest
from schemas.levers import LEVERS, RATIOS
from schemas.names import beam_dn, relation_dn, sector_carrier_dn, short_name, slice_policy_dn
from schemas.strategies import Condition, ConfigChange, Guard, Objective, Rule, ScheduleEntry, Strategy
from schemas.topology import Topology


class _Change(Record):
    """One entry of ``changes``."""

    object: str | None = None
    cell: str | None = None
    towards: str | None = None
    slice: str | None = None
    attribute: str
    value: float | str

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if (self.object is None) == (self.cell is None):
            raise ValueError("name either the cell or the object")
        if (self.towards is not None) != (self.cell is not None and self.attribute == "cellIndividualOffset"):
            raise ValueError("`towards` names the neighbour of a cell's cellIndividualOffset, and only that needs it")
        if (self.slice is not None) != (self.cell is not None and self.attribute in RATIOS):
            raise ValueError("`slice` names the slice whose share of a cell an rRMPolicy…Ratio is; only that needs it")
        return self


class _Entry(Record):
    """One entry of ``schedule``."""

    at: str = Field(pattern=r"^([01]?[0-9]|2[0-3]):[0-5][0-9]$", description="Time of day, UTC, in quotes")
    changes: list[_Change] = Field(min_length=1, max_length=1000)

    @property
    def minute(self) -> int:
        """Of the day."""
        hours, _, minutes = self.at.partition(":")
        return 60 * int(hours) + int(minutes)


class _When(Record):
    """The condition of a rule; cells by short name or DN."""

    kpi: str
    cells: list[str] = Field(default_factory=list)
    statistic: Literal["mean", "max", "min"] = "mean"
    above: float | None = None
    below: float | None = None
    periods: int = Field(default=1, ge=1, le=1000)


class _Rule(Record):
    """One entry of ``rules``."""

    when: _When
    changes: list[_Change] = Field(min_length=1, max_length=1000)


class _File(Record):
    """The whole file."""

    title: str = Field(min_length=1, max_length=300)
    by: str = Field(default="unknown", pattern=r"^[A-Za-z0-9._-]{1,60}$")
    objective: Objective
    changes: list[_Change] = Field(default_factory=list, max_length=1000)
    schedule: list[_Entry] = Field(default_factory=list, max_length=96)
    rules: list[_Rule] = Field(default_factory=list, max_length=64)
    rest_periods: int = Field(default=5, ge=1, le=10_000)
    guards: list[Guard] = Field(default_factory=list)
    priority: int = Field(default=5, ge=1, le=10)
    rationale: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in ("changes", "schedule", "rules") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"write one of changes, schedule and rules; found {', '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> Literal["change", "schedule", "policy"]:
        """Which kind of strategy it is."""
        return "schedule" if self.schedule else "policy" if self.rules else "change"


def load_strategy(
    path: Path, network: Topology, *, proposed_at_ms: int = 0, revision: int = 0, region: str = "1"
) -> Strategy:
    """Read a strategy file.

    Parameters
    ----------
    network
        Whose cells it may name.
    proposed_at_ms, revision
        When it is handed in, and on which twin revision. The strategy's id follows from these and the file's content.

    Raises
    ------
    BadStrategyFile
        Naming file, line and field of everything that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise BadStrategyFile(f"cannot read {path}: {error.strerror}; give the path of a strategy file") from None
    except UnicodeDecodeError:
        raise BadStrategyFile(f"{path} is not UTF-8 text; save it as such") from None
    except yaml.YAMLError as error:
        raise BadStrategyFile(f"{path} is not YAML: {error}; mend the file at that place") from None
    try:
        written = _File.model_validate(content)
    except ValidationError as error:
        raise _bad(path, [(tuple(e["loc"]), e["msg"]) for e in error.errors()], node) from None
    reader = _Reader(network)
    parts = {
        "changes": reader.changes(written.changes),
        "schedule": reader.schedule(written.schedule),
        "rules": reader.rules(written.rules),
    }
    if reader.problems:
        raise _bad(path, reader.problems, node)
    agent = f"person:{written.by}"
    content_id = digest(network.network_id, region, proposed_at_ms, written.model_dump_json(), length=12)
    strategy_id = f"person-{written.by}-{content_id}"
    return Strategy(
        network_id=network.network_id,
        event_id=strategy_id,
        strategy_id=strategy_id,
        region=region,
        agent=agent,
        title=written.title,
        kind=written.kind,
        **parts,
        rest_periods=written.rest_periods,
        objective=written.objective,
        guards=written.guards,
        priority=written.priority,
        proposed_at_ms=proposed_at_ms,
        revision=revision,
        rationale=written.rationale,
    )


_Problem = tuple[tuple[int | str, ...], str]


class _Reader:
    """Turns what is written into 3GPP names, and keeps what is wrong with it."""

    def __init__(self, network: Topology) -> None:
        self._network = network
        cells = {short_name(c): c for c in network.cell_names} | {c: c for c in network.cell_names}
        self._cells = cells | {"/".join(short.rsplit("-", 1)): c for short, c in cells.items() if "=" not in short}
        self.problems: list[_Problem] = []

    def changes(self, written: Sequence[_Change], *loc: int | str) -> list[ConfigChange]:
        """Changes under their 3GPP names; ``loc`` is where they stand in the file."""
        out = []
        for i, change in enumerate(written):
            at = (*loc, "changes", i)
            named = {f: getattr(change, f) for f in ("cell", "towards") if getattr(change, f) is not None}
            unknown = [f for f, cell in named.items() if not self._known(cell, *at, f)]
            if change.slice is not None and not self._has_slice(change.slice, *at, "slice"):
                unknown.append("slice")
            if unknown:
                continue
            try:
                out.append(
                    ConfigChange(
                        change_id=".".join(str(step + 1) for step in at if isinstance(step, int)),
                        object=change.object or _object(change, self._cells),
                        attribute=change.attribute,
                        value=change.value,
                    )
                )
            except ValidationError as error:
                field = "object" if change.object else "value"
                self.problems += [((*at, *(e["loc"] or (field,))), e["msg"]) for e in error.errors()]
        return out

    def schedule(self, written: Sequence[_Entry]) -> list[ScheduleEntry]:
        """Entries of a schedule."""
        made = [(e.minute, self.changes(e.changes, "schedule", i)) for i, e in enumerate(written)]
        return [ScheduleEntry(at_minute=minute, changes=changes) for minute, changes in made if changes]

    def rules(self, written: Sequence[_Rule]) -> list[Rule]:
        """Rules of a policy."""
        out = []
        for i, rule in enumerate(written):
            changes = self.changes(rule.changes, "rules", i)
            known = [self._known(c, "rules", i, "when", "cells", k) for k, c in enumerate(rule.when.cells)]
            try:
                cells = [self._cells.get(c, c) for c in rule.when.cells]
                condition = Condition.model_validate(rule.when.model_dump() | {"cells": cells if all(known) else []})
            except ValidationError as error:
                self.problems += [(("rules", i, "when", *e["loc"]), e["msg"]) for e in error.errors()]
                continue
            if changes:
                out.append(Rule(when=condition, changes=changes))
        return out

    def _known(self, cell: str, *loc: int | str) -> bool:
        if cell in self._cells:
            return True
        names = [name for name in self._cells if "=" not in name and "/" not in name]
        has = f"it has {', '.join(names[:3])}{' … ' + names[-1] if len(names) > 3 else ''}"
        self.problems.append((loc, f"network {self._network.network_id} has no cell {cell}; {has}"))
        return False

    def _has_slice(self, s_nssai: str, *loc: int | str) -> bool:
        names = [s.s_nssai for s in self._network.slices]
        if s_nssai not in names:
            has = f"it has {', '.join(names) or 'none'}"
            self.problems.append((loc, f"network {self._network.network_id} has no slice {s_nssai}; {has}"))
        return s_nssai in names


def _object(change: _Change, cells: dict[str, str]) -> str:
    """The object that carries an attribute of a cell."""
    cell = cells[change.cell or ""]
    match LEVERS[change.attribute].cls if change.attribute in LEVERS else "":
        case "NRSectorCarrier":
            return sector_carrier_dn(cell)
        case "CommonBeamformingFunction":
            return beam_dn(cell)
        case "NRCellRelation":
            return relation_dn(cell, cells[change.towards or ""])
        case "RRMPolicyRatio":
            return slice_policy_dn(cell, change.slice or "")
    return cell


def _bad(path: Path, problems: list[_Problem], node: yaml.Node | None) -> BadStrategyFile:
    """All problems, each with its line and field."""
    lines = [
        f"{path}, line {_line(node, loc)}, {'.'.join(map(str, loc)) or 'file'}: {message.removeprefix('Value error, ')}"
        for loc, message in problems
    ]
    return BadStrategyFile("\n".join([*lines, "loops/agents/from_file.py shows what a strategy file may say"]))


def _line(node: Any, loc: tuple[int | str, ...]) -> int:
    """Line, from 1, of the node at a location, or of the nearest one above it that is there."""
    for step in loc:
        inner = None
        if isinstance(node, yaml.MappingNode):
            inner = next((value for key, value in node.value if key.value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            inner = node.value[step]
        if inner is None:
            break
        node = inner
    return node.start_mark.line + 1 if node is not None else 1

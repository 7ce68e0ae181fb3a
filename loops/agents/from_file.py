"""A person's strategy, written in YAML.

::

    title: Switch the stadium cell off at night
    by: anna
    objective: {kpi: PEE.AvgPower, direction: down, min_gain: 0.01}
    changes:
      - {cell: gnb2-1, attribute: administrativeState, value: LOCKED}
      - {cell: gnb2-2, towards: gnb2-1, attribute: cellIndividualOffset, value: -2}
      - {object: "SubNetwork=1,ManagedElement=gnb3,GNBDUFunction=1,NRSectorCarrier=2",
         attribute: configuredMaxTxPower, value: 20000}
    guards:
      - {kpi: DRB.UEThpDl, scope: network, direction: up, relative: 0.02}
    rationale: No matches this week.

A cell may be given by its short name, managed element and cell number (gnb2-1 or gnb2/1); the object that carries the
attribute follows.
"""

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from loops.exceptions import BadStrategyFile
from loops.inner.sharding import digest
from schemas.base import Record
from schemas.levers import LEVERS
from schemas.names import beam_dn, relation_dn, sector_carrier_dn, short_name
from schemas.strategies import ConfigChange, Guard, Objective, Strategy
from schemas.topology import Topology


class _Change(Record):
    """One entry of ``changes``."""

    object: str | None = None
    cell: str | None = None
    towards: str | None = None
    attribute: str
    value: float | str

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if (self.object is None) == (self.cell is None):
            raise ValueError("name either the cell or the object")
        if (self.towards is not None) != (self.cell is not None and self.attribute == "cellIndividualOffset"):
            raise ValueError("`towards` names the neighbour of a cell's cellIndividualOffset, and only that needs it")
        return self


class _File(Record):
    """The whole file."""

    title: str = Field(min_length=1, max_length=300)
    by: str = Field(default="unknown", pattern=r"^[A-Za-z0-9._-]{1,60}$")
    objective: Objective
    changes: list[_Change] = Field(min_length=1, max_length=1000)
    guards: list[Guard] = Field(default_factory=list)
    priority: int = Field(default=5, ge=1, le=10)
    rationale: str = Field(default="", max_length=2000)


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
    changes, problems = _changes(written, network)
    if problems:
        raise _bad(path, problems, node)
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
        changes=changes,
        objective=written.objective,
        guards=written.guards,
        priority=written.priority,
        proposed_at_ms=proposed_at_ms,
        revision=revision,
        rationale=written.rationale,
    )


_Problem = tuple[tuple[int | str, ...], str]


def _changes(written: _File, network: Topology) -> tuple[list[ConfigChange], list[_Problem]]:
    """The changes under their 3GPP names, and what is wrong with the others."""
    cells = {short_name(c): c for c in network.cell_names} | {c: c for c in network.cell_names}
    cells |= {"/".join(short.rsplit("-", 1)): c for short, c in cells.items() if "=" not in short}
    changes: list[ConfigChange] = []
    problems: list[_Problem] = []
    for i, change in enumerate(written.changes):
        unknown = [f for f in ("cell", "towards") if getattr(change, f) not in (None, *cells)]
        if unknown:
            problems += [
                (("changes", i, f), f"network {network.network_id} has no cell {getattr(change, f)}; {_known(cells)}")
                for f in unknown
            ]
            continue
        try:
            dn = change.object or _object(change, cells)
            changes.append(
                ConfigChange(change_id=str(i + 1), object=dn, attribute=change.attribute, value=change.value)
            )
        except ValidationError as error:
            field = "object" if change.object else "value"
            for e in error.errors():
                problems.append((("changes", i, *(e["loc"] or (field,))), e["msg"]))
    return changes, problems


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
    return cell


def _known(cells: dict[str, str]) -> str:
    names = [name for name in cells if "=" not in name and "/" not in name]
    return f"it has {', '.join(names[:3])}{' … ' + names[-1] if len(names) > 3 else ''}"


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

"""Guards: what a change must not do, and which of them a candidate breaches in a scenario."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from loops.exceptions import BadGuards
from schemas.counters import S_NSSAIS
from schemas.strategies import Direction, Guard

_GUARDS = TypeAdapter(list[Guard])
# A cell's mean user throughput says nothing where hardly anybody is; below this many users it is not judged.
FEWEST_USERS = 1.0
PER_USER_KPIS = frozenset({"DRB.UEThpDl"})
USERS = "RRC.ConnMean"


def load_guards(path: Path | None = None) -> list[Guard]:
    """Read a guards file; without a path, the defaults that ship with twinloop.

    Raises
    ------
    BadGuards
        If the file cannot be read, is not YAML, or an entry is no guard.

    Examples
    --------
    >>> [label(g) for g in load_guards()][-1]
    'cell DRB.RlcSduDelayDl.2-000001 <= 50 (50 %)'
    """
    if path is None:
        return list(_default_guards())
    return _read(path, str(path))


@lru_cache(maxsize=1)
def _default_guards() -> tuple[Guard, ...]:
    return tuple(_read(files("loops.inner") / "guards.yaml", "the default guards"))


def _read(file: Path | Traversable, where: str) -> list[Guard]:
    try:
        return _GUARDS.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadGuards(f"cannot read {where}: {error.strerror}; give the path of a guards file in YAML") from None
    except yaml.YAMLError as error:
        raise BadGuards(f"{where} is not YAML: {error}; mend the file at that place") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadGuards(f"{where}: {problems}; see loops/inner/guards.yaml for what a guard may say") from None


def label(guard: Guard) -> str:
    """A guard in a few words, unique among different guards.

    Examples
    --------
    >>> label(Guard(kpi="DRB.UEThpDl", direction=Direction.UP, absolute=5000, relative=0.3))
    'cell DRB.UEThpDl >= 5000 (30 %)'
    >>> label(Guard(kpi="DRB.UEThpDl", scope="network", direction=Direction.UP, relative=0.05))
    'network DRB.UEThpDl -5 %'
    """
    up = guard.direction is Direction.UP
    if guard.absolute is None:
        return f"{guard.scope} {guard.kpi} {'-' if up else '+'}{100 * (guard.relative or 0):g} %"
    tolerance = "" if guard.relative is None else f" ({100 * guard.relative:g} %)"
    return f"{guard.scope} {guard.kpi} {'>=' if up else '<='} {guard.absolute:g}{tolerance}"


class Breach(NamedTuple):
    """A guard that a candidate breached, as `first_breaches` writes it, taken apart."""

    guard: str
    kpi: str
    cell: str  # DN, '' for the whole network


def breach_of(text: str) -> Breach:
    """Take a breach apart.

    Examples
    --------
    >>> breach_of("cell DRB.UEThpDl >= 5000 (30 %) @ ManagedElement=g1,GNBDUFunction=1,NRCellDU=2").kpi
    'DRB.UEThpDl'
    >>> breach_of("network TL.UnservedRatio <= 0.02 (20 %)").cell
    ''
    """
    guard, _, cell = text.partition(" @ ")
    scope, _, rest = guard.partition(" ")
    return Breach(guard, rest.partition(" ")[0] if scope in ("cell", "network") else "", cell)


def in_force(own: Sequence[Guard], defaults: Sequence[Guard]) -> list[Guard]:
    """The defaults and a strategy's own guards, each once, in that order."""
    return list({label(g): g for g in (*defaults, *own)}.values())


def unjudgeable(guards: Sequence[Guard], kpis: Sequence[str]) -> list[Guard]:
    """Guards on KPIs that the twin does not predict.

    Those on slices that the network does not carry are none of them: nobody can be hurt there.
    """
    return [g for g in guards if g.kpi not in kpis and not g.kpi.endswith(S_NSSAIS)]


def exceeded(guard: Guard, baseline: NDArray[np.float64], candidate: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the candidate exceeds a guard that the baseline keeps. Element by element; NaN never exceeds.

    Parameters
    ----------
    baseline, candidate
        The guard's KPI in its unit, any equal shape.

    Examples
    --------
    >>> floor = Guard(kpi="DRB.UEThpDl", direction=Direction.UP, absolute=5000, relative=0.3)
    >>> exceeded(floor, np.array([6e3, 6e3, 4e3, 9e4]), np.array([4e3, 4.9e3, 2e3, 6e3])).tolist()
    [True, False, True, False]
    """
    sign = guard.direction.sign
    worse = sign * (baseline - candidate)
    out = worse > 0
    if guard.relative is not None:
        out &= worse > guard.relative * np.abs(baseline)
    if guard.absolute is not None:
        out &= sign * candidate < sign * guard.absolute
        if guard.relative is None:
            out &= sign * baseline >= sign * guard.absolute
    return out


def first_breaches(
    guards: Sequence[Guard],
    kpis: Sequence[str],
    cells: Sequence[str],
    baseline: NDArray[np.float64],
    candidate: NDArray[np.float64],
    exempt: NDArray[np.bool_],
) -> list[str]:
    """The guard that the candidate breaches first in each scenario, '' where none.

    Parameters
    ----------
    baseline, candidate
        [n, M, C + 1] means over the horizon; position C is the network.
    exempt
        [C] cells to which cell guards do not apply: those that the candidate switches off. Their users are judged
        where they go, and in the network's unserved demand.

    Returns
    -------
    list of str
        [n] ``label`` or, for a cell, ``label @ cell``, of the first cell that exceeds it.
    """
    n, C = baseline.shape[0], len(cells)
    found = [""] * n
    index = {k: m for m, k in enumerate(kpis)}
    for guard in guards:
        if guard.kpi not in index:
            continue
        m = index[guard.kpi]
        if guard.scope == "network":
            over = exceeded(guard, baseline[:, m, C], candidate[:, m, C])[:, None]
            names = [label(guard)]
        else:
            over = exceeded(guard, baseline[:, m, :C], candidate[:, m, :C]) & ~exempt
            if guard.kpi in PER_USER_KPIS and USERS in index:
                over &= candidate[:, index[USERS], :C] >= FEWEST_USERS
            names = [f"{label(guard)} @ {c}" for c in cells]
        for i in np.flatnonzero(over.any(axis=1)):
            found[i] = found[i] or names[int(np.argmax(over[i]))]
    return found

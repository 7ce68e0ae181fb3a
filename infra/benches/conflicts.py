"""How well implicit conflicts are found: the twin on two changes together, against what the live network does.

Neighbouring cells are switched off, each by a strategy of its own. The label comes from the reference network itself:
from one moment it is forked, with nothing changed, with each cell off alone, with both off, each of these as demand
comes and under a surge of it; the same happens from outside in each. Looked at are pairs with either of which alone the
guards hold, on means over eight periods. Such a pair is an *implicit conflict* if they do not hold with both. The twin
has followed the network until that moment and knows nothing of the forks. Its score is the share of scenarios in which
both together do harm, less the larger of the shares in which either alone does, in the expected scenarios or in surges,
whichever is more; it says «conflict» beyond the probability of harm that a verdict permits.

Beside that stands what the inner loop would make of it: of pairs of which each alone is approved, which it finds to be
in conflict, and how many implicit conflicts it would let through. It must be more careful than a label of two futures
can show: it also asks for failures, crowds and errors. Precision and recall have 95 % intervals (Clopper and Pearson).
The peer is a rule without roll-outs: how full the fullest cell becomes in a surge if the load of both is given to their
heirs; it says «conflict» beyond the guard's limit.

Seeds and hours are stated; nothing of detection was tuned on them.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.benches.anomalies import auc
from infra.benches.base import BenchResult
from infra.replaying import one_thread
from infra.simulated import SimulatedNetwork
from loops.agents.view import heirs_of
from loops.inner.conflicts import area_of, pairs, rivals, settle
from loops.inner.coordinator import Patience, Verification
from loops.inner.design import Design
from loops.inner.guards import first_breaches
from loops.inner.scenarios import EXPECTED
from loops.inner.sharding import Job
from loops.inner.statistics import lower_bound, upper_bound
from loops.inner.trust import basis_of
from loops.inner.verify import LocalWorkers, drive
from schemas.levers import LOCKED
from schemas.names import short_name
from schemas.ndt import ConflictKind, Verdict
from schemas.strategies import ConfigChange, Direction, Objective, Strategy
from twin_core.kpis import KPIS, PRB, THROUGHPUT, USERS
from twin_core.scenarios import SURGE
from twin_core.twin import Twin

Array = NDArray[np.float64]

# Busy hours, at which two neighbours off are often too many, and quiet ones, at which they seldom are.
SCENES: dict[int, float] = {31: 8.0, 32: 9.5, 33: 15.0, 34: 19.5, 35: 21.0, 36: 23.0, 37: 5.0}
_SEEN, _AHEAD, _PAIRS = 30, 8, 12
# Factors on demand in the forks: as it comes, and the middle of the surges that verdicts cover.
_DEMAND = (1.0, 1.25)
_FULL = 90.0


class Pair(NamedTuple):
    """Two strategies, what the live network does with them, and what the twin says."""

    cells: tuple[str, str]
    implicit: bool  # harm in the live network, where neither does any alone: the label
    twin: float  # its score
    rule: float  # PRB use, %, of the fullest heir
    open: bool  # each alone approved
    found: bool  # by the inner loop, as implicit

    @property
    def let_through(self) -> bool:
        """Whether the inner loop would let both go on although they conflict."""
        return self.implicit and self.open and not self.found


def run(*, quick: bool = False) -> BenchResult:
    """Measure; quick looks at one seed and a few pairs."""
    began = time.monotonic()
    scenes = dict(list(SCENES.items())[:1]) if quick else SCENES
    with one_thread():
        found = [p for seed, hour in scenes.items() for p in judged(seed, hour, 4 if quick else _PAIRS)]
    figures: dict[str, float | int | str] = {
        "seeds": ", ".join(f"{seed} at {hour:g} h" for seed, hour in scenes.items()),
        "pairs": len(found),
        "implicit_live": sum(p.implicit for p in found),
    }
    label = np.array([p.implicit for p in found])
    for who, score, limit in (
        ("twin", np.array([p.twin for p in found]), Design().alpha),
        ("rule", np.array([p.rule for p in found]), _FULL),
    ):
        if 0 < label.sum() < len(label):
            figures[f"{who}_auc"] = auc(score[label], score[~label])
        figures |= _scores(who, list(zip(label.tolist(), (score > limit).tolist(), strict=True)))
    open_ = [p for p in found if p.open]
    figures |= {
        "pairs_approved_alone": len(open_),
        "of_these_implicit_live": sum(p.implicit for p in open_),
        "of_these_found_by_inner_loop": sum(p.found for p in open_),
        "implicit_live_let_through": sum(p.let_through for p in found),
    }
    figures |= _scores("inner_loop", [(p.implicit, p.found) for p in open_])
    return BenchResult(name="conflicts", seconds=time.monotonic() - began, figures=figures)


def _scores(who: str, pairs_: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    """Precision and recall with intervals, from (label, said)."""
    hits = sum(label and said for label, said in pairs_)
    out: dict[str, float] = {}
    for what, of in (("precision", sum(said for _, said in pairs_)), ("recall", sum(label for label, _ in pairs_))):
        low, high = (lower_bound(hits, of, 0.025), upper_bound(hits, of, 0.025)) if of else (0.0, 1.0)
        out |= {
            f"{who}_{what}": hits / of if of else float("nan"),
            f"{who}_{what}_low": low,
            f"{who}_{what}_high": high,
        }
    return {name: value for name, value in out.items() if value == value}


def judged(seed: int, hour: float, most: int, among: Collection[int] | None = None) -> list[Pair]:
    """Pairs of one network at one moment, labelled and judged.

    Parameters
    ----------
    most
        Pairs.
    among
        Cells to make pairs of; all by default.
    """
    network = SimulatedNetwork(seed, hour)
    twin = network.twin(_SEEN)
    present = _live(network, ())
    cells = range(len(twin.network.cells)) if among is None else among
    harmless = {c for c in cells if not _harms(twin, present, _live(network, (c,)), (c,))}
    chosen = neighbouring(twin, harmless, seed, most)
    alone = {c: _verified(twin, [switch_off(twin, c)]) for c in sorted({c for pair in chosen for c in pair})}
    out = []
    for a, b in chosen:
        both = _harms(twin, present, _live(network, (a, b)), (a, b))
        (pair,) = pairs(rivals((alone[a], alone[b]), (), area_of(twin.network.cells, twin.network.neighbours)))
        assert pair.joint is not None, "they set different cells"
        joint = _verified(twin, [pair.joint])
        conflict = settle(pair, joint)
        out.append(
            Pair(
                (short_name(twin.network.cells[a]), short_name(twin.network.cells[b])),
                both,
                max(_share(joint, c) - max(_share(alone[a], c), _share(alone[b], c)) for c in (EXPECTED, {SURGE})),
                _by_rule(twin, a, b),
                all(_verdict(alone[c]) is Verdict.APPROVED for c in (a, b)),
                conflict is not None and conflict.kind is ConflictKind.IMPLICIT,
            )
        )
    return out


def neighbouring(twin: Twin, cells: Iterable[int], seed: int, most: int) -> list[tuple[int, int]]:
    """Pairs of neighbours among cells, drawn by the seed."""
    every = [(a, b) for a, b in combinations(sorted(cells), 2) if b in twin.network.neighbours[a]]
    order = np.random.default_rng(seed).permutation(len(every))[:most]
    return [every[i] for i in sorted(order.tolist())]


def switch_off(twin: Twin, cell: int) -> Strategy:
    """A strategy that switches a cell off."""
    name = twin.network.cells[cell]
    return Strategy(
        network_id=twin.network.topology.network_id,
        event_id=f"off-{cell}",
        strategy_id=f"off-{cell}",
        agent="bench",
        title=f"Switch off {short_name(name)}",
        changes=[ConfigChange(change_id="1", object=name, attribute="administrativeState", value=LOCKED)],
        objective=Objective(kpi="PEE.AvgPower", direction=Direction.DOWN),
        proposed_at_ms=twin.period_end_ms,
        revision=twin.revision,
    )


def _live(network: SimulatedNetwork, off: Sequence[int]) -> Array:
    """[D, M, C + 1] means over the periods ahead in forks with these cells off, one for each demand."""
    return np.concatenate([_lived(network, off, factor) for factor in _DEMAND])


def _lived(network: SimulatedNetwork, off: Sequence[int], demand: float) -> Array:
    """[1, M, C + 1] of one fork; NaN for what is not observed."""
    fork, cells = network.fork(), network.topology.cell_names
    if demand != 1:
        fork.inject("traffic_surge", "", 0, 60.0 * _AHEAD, factor=demand)
    fork.apply(
        [ConfigChange(change_id="1", object=cells[c], attribute="administrativeState", value=LOCKED) for c in off]
    )
    seen = [{k: o.counter(k, len(cells)) for k in (PRB, THROUGHPUT, USERS)} for o in fork.periods(_AHEAD)]
    out = np.full((1, len(KPIS), len(cells) + 1), np.nan)
    users = np.nan_to_num(np.array([s[USERS] for s in seen]))
    speed = np.array([s[THROUGHPUT] for s in seen])
    users = np.where(np.isnan(speed), 0.0, users)
    total = (users * np.nan_to_num(speed)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        out[0, KPIS.index(THROUGHPUT)] = np.append(total / users.sum(axis=0), total.sum() / users.sum())
    out[0, KPIS.index(USERS), :-1] = np.nan_to_num(np.array([s[USERS] for s in seen])).mean(axis=0)
    out[0, KPIS.index(PRB), :-1] = np.nan_to_num(np.array([s[PRB] for s in seen])).mean(axis=0)
    return out


def _harms(twin: Twin, present: Array, changed: Array, off: Sequence[int]) -> bool:
    """Whether the default guards are breached that hold now, as far as they are observed, under any demand."""
    exempt = np.zeros(len(twin.network.cells), dtype=bool)
    exempt[list(off)] = True
    return any(first_breaches(Design().guards, KPIS, twin.network.cells, present, changed, exempt))


def _verified(twin: Twin, strategies: Sequence[Strategy]) -> Verification:
    (strategy,) = strategies
    job = Job(strategy, twin.revision, Design(), len(twin.network.cells))
    verification = Verification(
        job, basis_of(twin, twin.period_end_ms, strategy=strategy), Patience(deadline_s=float("inf"), attempts=1)
    )
    workers = LocalWorkers({twin.revision: twin})
    drive([verification], workers, workers, lambda: False)
    return verification


def _verdict(of: Verification) -> Verdict:
    assert of.report is not None
    return of.report.verdict


def _share(of: Verification, classes: Collection[str]) -> float:
    """Of the scenarios of some classes, those with harm."""
    assert of.evidence is not None, "the twin's gate is open"
    harm = [bool(b) for c, b in zip(of.evidence.classes, of.evidence.breached, strict=True) if c in classes]
    return sum(harm) / len(harm)


def _by_rule(twin: Twin, a: int, b: int) -> float:
    """PRB use, %, of the fullest cell that inherits the load of both, in a surge."""
    load, heirs = twin.predicted[PRB].numpy(), heirs_of(twin)
    after = load + load[a] * heirs[a] + load[b] * heirs[b]
    heir = (heirs[a] > 0) | (heirs[b] > 0)
    heir[[a, b]] = False
    return max(_DEMAND) * float(after[heir].max()) if heir.any() else 0.0

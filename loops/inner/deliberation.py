"""What follows a period's verifications: conflicts among what was approved, causes of what was not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loops.inner.ablation import Ablation
from loops.inner.conflicts import Area, Pair, UnderWay, pairs, rivals, settle
from loops.inner.coordinator import Patience, Verification
from loops.inner.diagnosis import diagnose
from loops.inner.verify import Inquiry
from schemas.ndt import Companion, Conflict, Verdict
from schemas.strategies import Strategy
from schemas.telemetry import AttributeValue

# Pairs verified together in one period: each costs as much as a strategy.
_MOST_PAIRS = 4


@dataclass
class Deliberation:
    """What was found.

    Parameters
    ----------
    joint
        Verifications of two strategies as one that take the place of both.
    """

    conflicts: list[Conflict] = field(default_factory=list)
    joint: list[Verification] = field(default_factory=list)


def deliberate(
    verifications: Sequence[Verification],
    under_way: Sequence[UnderWay],
    area: Area,
    verification_of: Callable[[Strategy], Verification],
    run: Callable[[Sequence[Inquiry]], bool],
    patience: Patience,
) -> Deliberation | None:
    """Settle conflicts and diagnose failures; the verifications' reports say what came of it.

    Parameters
    ----------
    verifications
        Of the period, all done.
    under_way
        What plans that have not ended are to bring.
    verification_of
        How two strategies as one are to be verified.
    run
        Drives inquiries to their end; False if told to stop.

    Returns
    -------
    Deliberation or None
        None if it was told to stop; nothing is to be written then.
    """
    out = Deliberation()
    if not _settle(out, verifications, under_way, area, verification_of, run):
        return None
    return out if _diagnose(verifications, run, patience, out.conflicts) else None


def _settle(
    out: Deliberation,
    verifications: Sequence[Verification],
    under_way: Sequence[UnderWay],
    area: Area,
    verification_of: Callable[[Strategy], Verification],
    run: Callable[[Sequence[Inquiry]], bool],
) -> bool:
    approved = [v for v in verifications if _approved(v) and not v.job.strategy.standing]
    found = pairs(rivals(approved, under_way, area))
    of = {v.job.strategy.strategy_id: v for v in verifications}
    for pair in found:
        if pair.joint is None:
            _settle_pair(out, pair, None, of)
    # What has to be tried comes after what is plain, for that may leave less to try.
    open_pairs = [(pair, pair.joint) for pair in found if pair.joint and not _deferred(out, pair)][:_MOST_PAIRS]
    together = [verification_of(joint) for _, joint in open_pairs]
    if not run(together):
        return False
    for (pair, _), verification in zip(open_pairs, together, strict=True):
        _settle_pair(out, pair, verification, of)
    return True


def _deferred(out: Deliberation, pair: Pair) -> bool:
    """Whether one of the two no longer goes on, so that they do not meet."""
    return any(s.strategy_id in c.deferred for s in pair.strategies for c in out.conflicts)


def _settle_pair(out: Deliberation, pair: Pair, joint: Verification | None, of: dict[str, Verification]) -> None:
    """Settle one pair and write it into the reports of both; ``of`` are verifications by strategy."""
    if _deferred(out, pair):
        return
    conflict = settle(pair, joint)
    if conflict is None:
        if joint:
            _accompany(of, *pair.strategies)
        return
    out.conflicts.append(conflict)
    ids = {s.strategy_id for s in pair.strategies}
    if joint and conflict.resolution == "joint":
        out.joint.append(joint)
        ids.add(joint.job.strategy.strategy_id)
        of[joint.job.strategy.strategy_id] = joint
    for strategy_id in ids & set(of):
        _note(of[strategy_id], conflict, *pair.strategies)


def _accompany(of: Mapping[str, Verification], first: Strategy, second: Strategy) -> None:
    """Write into the reports of two that go well together that each stands beside the other."""
    for own, other in ((first, second), (second, first)):
        verification = of.get(own.strategy_id)  # None where it is under way
        if verification is None or verification.report is None:
            continue
        changes = [AttributeValue(object=c.object, attribute=c.attribute, value=c.value) for c in other.changes]
        companions = [*verification.report.companions, Companion(strategy_id=other.strategy_id, changes=changes)]
        verification.report = verification.report.model_copy(update={"companions": companions})


def _note(verification: Verification, conflict: Conflict, first: Strategy, second: Strategy) -> None:
    """Write a conflict into a report; what is deferred is no longer approved."""
    report = verification.report
    assert report is not None, "conflicts are among reports"
    update: dict[str, object] = {"conflicts": [*report.conflicts, conflict]}
    if report.strategy_id in conflict.deferred:
        other = second if report.strategy_id == first.strategy_id else first
        what = f"{conflict.kind.value} conflict with «{other.title}» ({conflict.detail})"
        way = "both go together as one" if conflict.resolution == "joint" else f"deferred by {conflict.resolution}"
        update |= {"verdict": Verdict.INCONCLUSIVE, "reason": f"{what}; {way}; alone: {report.reason}"[:4000]}
    verification.report = report.model_copy(update=update)


def _diagnose(
    verifications: Sequence[Verification],
    run: Callable[[Sequence[Inquiry]], bool],
    patience: Patience,
    conflicts: Sequence[Conflict],
) -> bool:
    deferred = {strategy_id for c in conflicts for strategy_id in c.deferred}
    failed = [v for v in verifications if not _approved(v) and v.job.strategy.strategy_id not in deferred]
    causes = [Ablation(v, patience) for v in failed if not v.job.strategy.standing]
    if not run(causes):
        return False
    cause_of = {a.of.job.job_id: a.cause for a in causes}
    for v in failed:
        assert v.report is not None, "it failed"
        v.report = v.report.model_copy(update={"diagnosis": diagnose(v, cause_of.get(v.job.job_id))})
    return True


def _approved(verification: Verification) -> bool:
    return verification.report is not None and verification.report.verdict is Verdict.APPROVED

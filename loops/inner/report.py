"""The NDT report: a verdict with what it rests on, where it holds and what it does not cover (TS 28.561)."""

import warnings
from collections.abc import Sequence

import numpy as np

from loops.inner.evidence import Array, Basis, Evidence, Problem
from loops.inner.sharding import Job
from loops.inner.statistics import prediction_interval
from loops.inner.verdict import Finding
from schemas.ndt import NdtReport, Prediction, Verdict

NAN = float("nan")


def conclude(
    job: Job,
    basis: Basis,
    evidence: Evidence | None,
    finding: Finding | None,
    *,
    objections: Sequence[Problem] = (),
) -> NdtReport:
    """Write the report.

    Parameters
    ----------
    evidence, finding
        What the scenarios showed and what was found in it; None where nothing was run or it could not be completed.
    objections
        Why nothing may be concluded. Any makes the verdict INCONCLUSIVE: missing or stale data is never a pass.
    """
    s, design = job.strategy, job.design
    verdict = (finding.verdict if finding else None) or Verdict.INCONCLUSIVE
    reason = finding.reason if finding else ""
    if objections:
        verdict, reason = (
            Verdict.INCONCLUSIVE,
            "; ".join([*(o.text for o in objections), *([reason] if reason else [])]),
        )
    worst = finding.worst if finding else None
    low, high = _load_range(evidence)
    return NdtReport(
        network_id=s.network_id,
        event_id=f"{job.job_id}/report",
        job_id=job.job_id,
        strategy_id=s.strategy_id,
        region=s.region,
        verdict=verdict,
        reason=reason[:4000],
        p_harm=worst.p_harm if worst else NAN,
        p_harm_low=worst.p_harm_low if worst else 0.0,
        p_harm_high=worst.p_harm_high if worst else 1.0,
        alpha=design.alpha,
        confidence=design.confidence,
        p_benefit=finding.gain.p_benefit if finding else NAN,
        scenarios=list(finding.scenarios) if finding else [],
        not_covered=[*design.scenarios.not_covered(), *basis.not_covered],
        predictions=predict(job, basis, evidence) if evidence else [],
        revisions={s.region: job.revision},
        model_versions=dict(basis.model_versions),
        decided_at_ms=basis.period_end_ms,
        valid_until_ms=basis.period_end_ms + design.validity_periods * basis.granularity_s * 1000,
        load_low=low,
        load_high=high,
    )


def predict(job: Job, basis: Basis, evidence: Evidence) -> list[Prediction]:
    """Predicted change of every KPI, of the network and of each cell.

    The change is candidate minus baseline of the mean over the horizon, over the nominal scenarios. The interval from
    low to high is where the change *observed* from one period before to one period after is expected to lie nine times
    out of ten: it is widened by twice the variance of what one observation differs from the twin's prediction by.
    An observation that averages over more periods scatters less. A cell with no value in some scenario (no users, so
    no throughput) is predicted from the others, and not at all if those are fewer than half.
    """
    nominal = evidence.of_classes(job.design.scenarios.expected)
    baseline, candidate = evidence.baseline[nominal], evidence.candidate[nominal]  # [n, M, C + 1]
    known = np.isfinite(baseline) & np.isfinite(candidate)
    enough = known.sum(axis=0) * 2 >= len(baseline)
    out = []
    places = ("", *evidence.cells)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means over no scenario are NaN, which is what is meant
        before = np.where(enough, np.nanmean(np.where(known, baseline, NAN), axis=0), NAN)
    for m, kpi in enumerate(evidence.kpis):
        unknown = np.full(len(evidence.cells) + 1, NAN)
        noise = np.sqrt(2.0) * basis.noise_sd.get(kpi, unknown)
        change = candidate[:, m] - baseline[:, m]
        order = [len(evidence.cells), *range(len(evidence.cells))]  # the network first
        for place, c in zip(places, order, strict=True):
            mean, low, high = _interval(change[known[:, m, c], c], noise[c]) if enough[m, c] else (NAN, NAN, NAN)
            out.append(Prediction(kpi=kpi, cell=place, baseline=before[m, c], predicted=mean, low=low, high=high))
    return out


def _interval(change: Array, noise: float) -> tuple[float, float, float]:
    mean, low, high = prediction_interval(change, np.array(noise))
    return float(mean), float(low), float(high)


def _load_range(evidence: Evidence | None) -> tuple[float, float]:
    """Network PRB use that the scenarios covered, %."""
    if evidence is None or "RRU.PrbTotDl" not in evidence.kpis:
        return NAN, NAN
    use, _ = evidence.network("RRU.PrbTotDl")
    return (float(use.min()), float(use.max())) if len(use) else (NAN, NAN)

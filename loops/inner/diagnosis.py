"""Why a strategy failed: the layer in which the cause lies, the KPI and cell that decided, the change that did it.

The order of looking, from what makes everything after it meaningless to what is left:

1. *data*: telemetry is missing, silent or stale, so nothing could be concluded.
2. *model*: the twin's fidelity is below its gate; or harm shows only where the twin's own errors are played through
   (measurement error, drift of propagation); or, with the KPI that decided corrected for what the twin has lately
   missed it by again and again, the guard would hold.
3. *algorithm*: the strategy does harm, or no good, in the expected scenarios already.
4. *environment*: it does harm only under a surge, a crowd, or a failure.

It sees evidence and telemetry. What a test has injected into the network it cannot see.
"""

from collections import Counter

import numpy as np

from loops.inner.ablation import Cause
from loops.inner.coordinator import Verification
from loops.inner.evidence import Evidence
from loops.inner.guards import Breach, breach_of, exceeded, label
from loops.inner.verdict import gain_of, usual_breach
from schemas.names import short_name
from schemas.ndt import Diagnosis, Layer, Verdict
from schemas.strategies import ConfigChange
from twin_core.scenarios import MEASUREMENT_ERROR, NOMINAL, RADIO_DRIFT

# Classes that play the twin's own errors through.
_OF_THE_TWIN = frozenset({MEASUREMENT_ERROR, RADIO_DRIFT})
# Share of harmful nominal scenarios, against the most harmful class, from which on the strategy itself is to blame.
_ITSELF = 0.5


def diagnose(verification: Verification, cause: Cause | None = None) -> Diagnosis | None:
    """Why a verification did not approve; None where it did, or where only the workers are to blame.

    Parameters
    ----------
    verification
        With its report.
    cause
        From `loops.inner.ablation`.
    """
    report = verification.report
    if report is None or report.verdict is Verdict.APPROVED:
        return None
    for layer in (Layer.DATA, Layer.MODEL, Layer.ALGORITHM):
        if texts := [o.text for o in verification.objections if o.layer is layer]:
            return Diagnosis(layer=layer, summary="; ".join(texts)[:2000])
    evidence = verification.evidence
    if evidence is None or verification.finding is None:
        return None
    if found := usual_breach(evidence):
        breach, _ = found
        layer, why = _layer(verification, evidence, breach)
        return Diagnosis(
            layer=layer,
            kpi=breach.kpi,
            cell=breach.cell,
            change_id=cause.changes[0].change_id if cause else "",
            change=_words(cause) if cause else "",
            share=cause.share if cause else 0.0,
            summary=f"{why}: {report.reason}"[:2000],
        )
    return _no_good(verification, evidence)


def _layer(verification: Verification, evidence: Evidence, breach: Breach) -> tuple[Layer, str]:
    """Where the cause of harm lies, and the words for it."""
    n = Counter(evidence.classes)
    harmful = Counter(c for c, b in zip(evidence.classes, evidence.breached, strict=True) if b)
    rate = {name: harmful[name] / n[name] for name in n}
    worst = max(rate, key=lambda name: (rate[name], name))
    if missed := _missed(verification, evidence, breach):
        return Layer.MODEL, missed
    if rate.get(NOMINAL, 0.0) >= _ITSELF * rate[worst]:
        return Layer.ALGORITHM, "it does harm as things are"
    if worst in _OF_THE_TWIN:
        return Layer.MODEL, f"it does harm where the twin errs ({worst.replace('_', ' ')})"
    return Layer.ENVIRONMENT, f"it does not withstand {worst.replace('_', ' ')}"


def _missed(verification: Verification, evidence: Evidence, breach: Breach) -> str:
    """That the guard holds once the twin is corrected for what it has lately missed by, '' if it does not."""
    kpi, cell = breach.kpi, breach.cell
    bias = verification.basis.bias.get(kpi)
    guard = next((g for g in verification.job.guards if label(g) == breach.guard), None)
    if bias is None or guard is None or kpi not in evidence.kpis or (cell and cell not in evidence.cells):
        return ""
    c = evidence.cells.index(cell) if cell else len(evidence.cells)
    if not bias[c]:
        return ""
    at = np.array([bool(b) and breach_of(b) == breach for b in evidence.breached])
    before, after = (
        np.maximum(values[at, evidence.kpis.index(kpi), c] + bias[c], 0.0)
        for values in (evidence.baseline, evidence.candidate)
    )
    if exceeded(guard, before, after).mean() >= _ITSELF:
        return ""
    where = f" at {short_name(cell)}" if cell else ""
    return f"the twin has lately missed {kpi}{where} by {bias[c]:+.3g} in the mean; corrected for that, the guard holds"


def _no_good(verification: Verification, evidence: Evidence) -> Diagnosis:
    """It does no harm, but not enough good, or it is not sure that it does."""
    report, job = verification.report, verification.job
    assert report is not None
    gain, objective = gain_of(job, evidence), job.strategy.objective
    layer = Layer.ALGORITHM if report.verdict is Verdict.REJECTED else Layer.MODEL
    why = "it brings no gain worth it" if layer is Layer.ALGORITHM else "the twin is not sure that it brings enough"
    summary = f"{why}: {objective.kpi} gains {gain.mean:.1%} where {objective.min_gain:.1%} are wanted"
    return Diagnosis(layer=layer, kpi=objective.kpi, summary=summary)


def _words(cause: Cause) -> str:
    """The changes in words."""
    return ", ".join(_change(c) for c in cause.changes)


def _change(change: ConfigChange) -> str:
    value = change.value if isinstance(change.value, str) else f"{change.value:g}"
    return f"{change.attribute} of {change.object} to {value}"

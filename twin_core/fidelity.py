"""How far the twin can be trusted: its one-period-ahead predictions against what was then observed.

Score of a KPI in a period: 1 - sum |predicted - observed| / sum |observed| over the cells that reported it (one minus
the weighted absolute percentage error), not below -1. Of RSRP: 1 - RMSE / reference over all measurement reports
whose place is known. A KPI's score is the exponential mean of its periods. The gate is open when every gated KPI has
been scored in at least `warm_up` periods, lately, and stands at or above its gate. A KPI that the network never
reported blocks nothing but stays unscored for all to see; half of the gated KPIs must be reported. `given_demand` is
the same score for a prediction made with the period's own demand: it judges the physics apart from the forecast.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from twin_core.settings import FidelitySettings, share_per_period

Tensor = torch.Tensor

RSRP = "L1M.SS-RSRP"
_WORST = -1.0
# A period in which fewer of the cells reported says too little about the network.
_LEAST_REPORTING = 0.5
_OLDEST = 1_000_000


@dataclass(frozen=True)
class KpiScore:
    """Fidelity of one KPI.

    Attributes
    ----------
    kpi
        3GPP name.
    score
        Exponential mean; NaN before the first scored period.
    gate
        Score below which the outer loop is blocked; NaN where the KPI is only reported.
    periods
        How many periods were scored.
    latest
        Score of the latest scored period.
    given_demand
        Exponential mean of the score given the period's own demand; NaN where that says nothing.
    error
        Exponential mean of the error: of RSRP the RMSE in dB, else observed-weighted absolute error as a share.
    bias
        Exponential mean of predicted minus observed: of RSRP in dB, else as a share of the observed sum.
    age
        Periods since it was last scored.
    """

    kpi: str
    score: float
    gate: float
    periods: int = 0
    latest: float = math.nan
    given_demand: float = math.nan
    error: float = math.nan
    bias: float = math.nan
    age: int = 0

    @property
    def gated(self) -> bool:
        """Whether it counts for the gate."""
        return not math.isnan(self.gate)

    def passes(self, warm_up: int) -> bool:
        """Whether it holds the gate open."""
        return not self.gated or (self.periods >= warm_up and self.age <= warm_up and self.score >= self.gate)


@dataclass(frozen=True)
class Sample:
    """What one period says about one KPI."""

    score: float
    error: float
    bias: float


def wape(predicted: Tensor, observed: Tensor) -> Sample | None:
    """Compare [C] predicted with [C] observed over the cells where both are known; None if too few are.

    Examples
    --------
    >>> wape(torch.tensor([90.0, 10.0]), torch.tensor([100.0, torch.nan])).score
    0.9
    """
    both = ~(predicted.isnan() | observed.isnan())
    known = int((~observed.isnan()).sum())
    if known < _LEAST_REPORTING * len(observed) or not bool(both.any()):
        return None
    scale = float(observed[both].abs().sum())
    if scale <= 0:
        return None
    error = predicted[both] - observed[both]
    share = float(error.abs().sum()) / scale
    return Sample(max(_WORST, round(1 - share, 12)), share, float(error.sum()) / scale)


def rsrp_sample(error_db: Tensor, reference_db: float) -> Sample | None:
    """Compare measured with predicted RSRP ([n] measured minus predicted, dB); None without reports."""
    if not len(error_db):
        return None
    rmse = float((error_db**2).mean().sqrt())
    return Sample(max(_WORST, 1 - rmse / reference_db), rmse, -float(error_db.mean()))


def unscored(settings: FidelitySettings, kpis: tuple[str, ...]) -> dict[str, KpiScore]:
    """Scores of a twin that has seen nothing."""
    gates = dict(settings.gates)
    return {kpi: KpiScore(kpi, math.nan, gates.get(kpi, math.nan)) for kpi in (*kpis, RSRP)}


def update(
    scores: Mapping[str, KpiScore],
    samples: Mapping[str, Sample],
    given_demand: Mapping[str, Sample],
    settings: FidelitySettings,
) -> dict[str, KpiScore]:
    """Scores after a period. A KPI without a sample keeps its score."""
    out = {kpi: replace(s, age=min(s.age + 1, _OLDEST)) if s.periods else s for kpi, s in scores.items()}
    for kpi, sample in samples.items():
        before = out[kpi]
        n = before.periods + 1
        # Until the memory is full, later periods count more, because the twin has only begun to learn in the first.
        share = max(share_per_period(settings.half_life), 2 / (n + 1))

        def blend(old: float, new: float, share: float = share) -> float:
            return new if math.isnan(old) else (1 - share) * old + share * new

        physics = given_demand.get(kpi)
        out[kpi] = replace(
            before,
            score=blend(before.score, sample.score),
            periods=n,
            latest=sample.score,
            given_demand=before.given_demand if physics is None else blend(before.given_demand, physics.score),
            error=blend(before.error, sample.error),
            bias=blend(before.bias, sample.bias),
            age=0,
        )
    return out


def gate_open(scores: Mapping[str, KpiScore], settings: FidelitySettings) -> bool:
    """Whether the outer loop may act.

    Examples
    --------
    >>> settings = FidelitySettings(warm_up=1, gates=(("RRC.ConnMean", 0.5),))
    >>> good, bad = KpiScore("RRC.ConnMean", 0.6, 0.5, periods=1), KpiScore("RRC.ConnMean", 0.4, 0.5, periods=1)
    >>> gate_open({"RRC.ConnMean": good}, settings), gate_open({"RRC.ConnMean": bad}, settings)
    (True, False)
    """
    gated = [s for s in scores.values() if s.gated]
    reported = [s for s in gated if s.periods > 0]
    return len(reported) * 2 >= len(gated) > 0 and all(s.passes(settings.warm_up) for s in reported)

"""The field model: received power over a map, learned from reports where transmitters are unknown.

A Gaussian process over reports. What two reports share is the sum of

- a short-range part (Matérn 3/2, tens of metres: corners, buildings),
- a long-range part without a mean to return to (exponential of 2 km: beyond the map the border value goes on, with
  growing doubt; an inferred transmitter with a distance law was tried and extrapolated worse),
- an offset of the cell; and both parts above, of which a share is common to all cells of a carrier,
- an offset of the session (one drive of one device) and of the campaign (the sessions of one day).

Its variances and length are fitted to the reports by marginal likelihood under weak priors. Cost is bounded:
at most ``max_reports`` are kept, spread over the map.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from twin_core.exceptions import InvalidObservation

Tensor = torch.Tensor

_JITTER = 1e-6
_REACH_M = 2000.0  # of the long-range part; far beyond any map it is fitted to, so that only its slope matters
_CHUNK = 4096  # places predicted at once


@dataclass(frozen=True, eq=False)
class FieldReports:
    """N reports, or N places at which one is to be predicted.

    Attributes
    ----------
    position_m
        [N, 2] metres east and north.
    cell, session, campaign
        [N] labels >= 0; at a place to be predicted -1 stands for one that was never seen.
    rsrp_dbm
        [N] measured; NaN where it is to be predicted.
    """

    position_m: Tensor
    cell: Tensor
    session: Tensor
    campaign: Tensor
    rsrp_dbm: Tensor

    def __post_init__(self) -> None:
        """Refuse columns of different length."""
        n = len(self.rsrp_dbm)
        if self.position_m.shape != (n, 2) or any(len(c) != n for c in (self.cell, self.session, self.campaign)):
            raise InvalidObservation(
                f"{n} reports need positions [{n}, 2] and as many cells, sessions and campaigns; "
                f"got {tuple(self.position_m.shape)}, {len(self.cell)}, {len(self.session)}, {len(self.campaign)}"
            )

    def __len__(self) -> int:
        return len(self.rsrp_dbm)

    def take(self, which: Tensor) -> "FieldReports":
        """The reports at these indices or under this mask."""
        return FieldReports(
            self.position_m[which], self.cell[which], self.session[which], self.campaign[which], self.rsrp_dbm[which]
        )


@dataclass(frozen=True)
class FieldSettings:
    """How a field is fitted.

    Attributes
    ----------
    max_reports
        Reports kept; a fit costs their number cubed times ``steps``.
    steps, learning_rate
        Of Adam on the logarithms of the variances and the length.
    common_share
        How much of the spatial parts all cells of a carrier have in common.
    """

    max_reports: int = 1000
    steps: int = 80
    learning_rate: float = 0.1
    common_share: float = 0.5


# Prior medians and widths (of the logarithm). Lengths and variances of TR 38.901 shadowing (10 to 50 m, 4 to 7.8 dB
# with half of it short-range), devices that differ by 1 dB, days by 3 dB, whole-dB reports with fast fading left in.
_PRIOR = {
    "length_m": (40.0, 0.5),
    "short_db2": (12.0, 0.7),
    "slope_db2_per_m": (0.2, 1.0),
    "cell_db2": (16.0, 0.7),
    "session_db2": (1.0, 0.7),
    "campaign_db2": (9.0, 1.0),
    "noise_db2": (4.0, 0.5),
}


@dataclass(frozen=True, eq=False)
class FieldPrediction:
    """What a report would say at N places.

    Attributes
    ----------
    mean_dbm
        [N] expected.
    sd_db
        [N] standard deviation of a single report of an unseen session.
    offset_sd_db
        Standard deviation of the part that a whole session shares, which a few of its reports reveal.
    """

    mean_dbm: Tensor
    sd_db: Tensor
    offset_sd_db: float


@dataclass(frozen=True, eq=False)
class FieldModel:
    """A fitted field. A value; made by :meth:`fit`.

    Attributes
    ----------
    reports
        What it rests on.
    parameters
        Length, slope and variances by name.
    mean_dbm
        The constant of ordinary kriging.
    """

    settings: FieldSettings
    reports: FieldReports
    parameters: dict[str, float]
    mean_dbm: float
    _factor: Tensor
    _weights: Tensor
    _ones: Tensor

    @classmethod
    def fit(cls, reports: FieldReports, settings: FieldSettings | None = None) -> "FieldModel":
        """Fit a field to measured reports; those without a finite value or position are left out.

        Raises
        ------
        InvalidObservation
            If fewer than 3 usable reports remain.
        """
        settings = settings or FieldSettings()
        usable = torch.isfinite(reports.rsrp_dbm) & torch.isfinite(reports.position_m).all(1)
        kept = _spread(_double(reports.take(usable)), settings.max_reports)
        if len(kept) < 3:
            raise InvalidObservation(f"a field needs at least 3 reports with value and position; got {len(kept)}")
        prior = torch.tensor(list(_PRIOR.values()), dtype=torch.float64)
        median, width = prior[:, 0].log(), prior[:, 1]
        distance, shared = _distance(kept, kept), _shared(kept, kept)

        def loss(logs: Tensor) -> Tensor:
            parameters = dict(zip(_PRIOR, logs.exp(), strict=True))
            factor, ones, _, residual = _solve(distance, shared, kept.rsrp_dbm, parameters, settings)
            fit = 0.5 * (residual * torch.cholesky_solve(residual, factor)).sum() + factor.diagonal().log().sum()
            return fit + 0.5 * ones.sum().log() + 0.5 * (((logs - median) / width) ** 2).sum()

        logs = _descend(loss, median, settings)
        with torch.no_grad():
            parameters = dict(zip(_PRIOR, logs.exp(), strict=True))
            factor, ones, mean, residual = _solve(distance, shared, kept.rsrp_dbm, parameters, settings)
            weights = torch.cholesky_solve(residual, factor)
        values = {name: float(value) for name, value in parameters.items()}
        return cls(settings, kept, values, float(mean), factor, weights, ones)

    @property
    def offset_sd_db(self) -> float:
        """Standard deviation of what an unseen session of an unseen campaign adds to all its reports."""
        return math.sqrt(self.parameters["session_db2"] + self.parameters["campaign_db2"])

    def predict(self, places: FieldReports) -> FieldPrediction:
        """What reports of unseen sessions would say at these places."""
        means, variances = [], []
        p = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.parameters.items()}
        total = sum(p[n] for n in ("short_db2", "cell_db2", "session_db2", "campaign_db2", "noise_db2"))
        total = total + p["slope_db2_per_m"] * _REACH_M
        places = _double(places)
        for first in range(0, len(places), _CHUNK):
            part = places.take(torch.arange(first, min(first + _CHUNK, len(places))))
            k = _kernel(_distance(self.reports, part), _shared(self.reports, part), p, self.settings)
            means.append(self.mean_dbm + (k * self._weights).sum(0))
            unknown_mean = (1 - (self._ones * k).sum(0)) ** 2 / self._ones.sum()
            variances.append(total - (k * torch.cholesky_solve(k, self._factor)).sum(0) + unknown_mean)
        empty = torch.zeros(0, dtype=torch.float64)
        variance = torch.cat([empty, *variances]).clamp_min(_JITTER)
        return FieldPrediction(torch.cat([empty, *means]), variance.sqrt(), self.offset_sd_db)

    def leave_one_out(self) -> FieldPrediction:
        """What the field says at each of its own reports without that report (Rasmussen & Williams eq. 5.12).

        The other reports of the same session stay, so this is the error within a session.
        """
        inverse = torch.cholesky_inverse(self._factor)
        inverse = inverse - self._ones @ self._ones.T / self._ones.sum()
        diagonal = inverse.diagonal()
        gap = (inverse @ self.reports.rsrp_dbm) / diagonal
        return FieldPrediction(self.reports.rsrp_dbm - gap, diagonal.reciprocal().sqrt(), 0.0)


@dataclass(frozen=True)
class SessionOffset:
    """What a session's first reports say about all of its reports: ``mean_db`` is to be added, ``sd_db`` remains."""

    mean_db: float
    sd_db: float


def learn_offset(residual_db: Tensor, independent: int, sd_db: Tensor, offset_sd_db: float) -> SessionOffset:
    """The offset of a session from the residuals (measured minus predicted) of its first reports.

    Shrinks their mean by what a single report can vary. How much days differ is barely known from a few days, so a
    residual beyond its prior widens the prior (positive-part empirical Bayes) instead of being disbelieved.

    Parameters
    ----------
    residual_db
        [N] of the first reports.
    independent
        Number of independent measurements among them; a device that repeats a value makes none.
    sd_db, offset_sd_db
        [N] of the predictions, and what part of it the session shares; as in `FieldPrediction`.

    Examples
    --------
    >>> learn_offset(torch.tensor([12.0]), 1, torch.tensor([5.0]), 3.0).mean_db > 10
    True
    >>> learn_offset(torch.tensor([2.0]), 1, torch.tensor([5.0]), 3.0).mean_db < 1
    True
    """
    if independent < 1 or len(residual_db) == 0:
        return SessionOffset(0.0, offset_sd_db)
    mean = float(residual_db.double().mean())
    prior = offset_sd_db**2
    single = max(float((sd_db.double() ** 2).mean()) - prior, _JITTER) / independent
    prior = max(prior, mean**2 - single)
    keep = prior / (prior + single)
    return SessionOffset(keep * mean, math.sqrt(keep * single))


def _descend(loss: Callable[[Tensor], Tensor], start: Tensor, settings: FieldSettings) -> Tensor:
    """Adam (Kingma & Ba 2015). By hand, because importing ``torch.optim`` takes seconds and this a few lines."""
    at, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, settings.steps + 1):
        variable = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(variable), variable)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        pace = (second / (1 - 0.999**step)).sqrt() + 1e-8
        at = at - settings.learning_rate * first / (1 - 0.9**step) / pace
    return at


def _double(reports: FieldReports) -> FieldReports:
    return FieldReports(
        reports.position_m.double(), reports.cell, reports.session, reports.campaign, reports.rsrp_dbm.double()
    )


def _spread(reports: FieldReports, limit: int) -> FieldReports:
    """At most ``limit`` reports, far from each other: farthest-point sampling, from the first one."""
    if len(reports) <= limit:
        return reports
    chosen = [0]
    gap = torch.linalg.vector_norm(reports.position_m - reports.position_m[0], dim=1)
    for _ in range(limit - 1):
        chosen.append(int(gap.argmax()))
        gap = torch.minimum(gap, torch.linalg.vector_norm(reports.position_m - reports.position_m[chosen[-1]], dim=1))
        gap[chosen[-1]] = -1.0  # never twice, also where reports share a place
    return reports.take(torch.tensor(sorted(chosen)))


def _distance(a: FieldReports, b: FieldReports) -> Tensor:
    return torch.cdist(a.position_m, b.position_m).clamp_min(1e-9)


def _shared(a: FieldReports, b: FieldReports) -> tuple[Tensor, Tensor, Tensor]:
    """[Na, Nb] 1 where two reports are of the same cell, session, campaign; -1 is shared with nobody."""

    def same(x: Tensor, y: Tensor) -> Tensor:
        return ((x[:, None] == y[None, :]) & (x[:, None] >= 0)).double()

    return same(a.cell, b.cell), same(a.session, b.session), same(a.campaign, b.campaign)


def _kernel(
    distance: Tensor, shared: tuple[Tensor, Tensor, Tensor], p: dict[str, Tensor], settings: FieldSettings
) -> Tensor:
    """[Na, Nb] covariance of reports without their noise, dB^2."""
    cell, session, campaign = shared
    scaled = math.sqrt(3.0) * distance / p["length_m"]
    spatial = p["short_db2"] * (1 + scaled) * torch.exp(-scaled)
    spatial = spatial + p["slope_db2_per_m"] * _REACH_M * torch.exp(-distance / _REACH_M)
    spatial = spatial * (settings.common_share + (1 - settings.common_share) * cell)
    return spatial + p["cell_db2"] * cell + p["session_db2"] * session + p["campaign_db2"] * campaign


def _solve(
    distance: Tensor,
    shared: tuple[Tensor, Tensor, Tensor],
    rsrp_dbm: Tensor,
    p: dict[str, Tensor],
    settings: FieldSettings,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cholesky factor [N, N], K^-1 1 [N, 1], the generalised least-squares mean, and residuals [N, 1]."""
    n = len(rsrp_dbm)
    noise = (p["noise_db2"] + _JITTER) * torch.eye(n, dtype=torch.float64)
    factor = torch.linalg.cholesky(_kernel(distance, shared, p, settings) + noise)
    ones = torch.cholesky_solve(torch.ones(n, 1, dtype=torch.float64), factor)
    mean = (ones[:, 0] * rsrp_dbm).sum() / ones.sum()
    return factor, ones, mean, (rsrp_dbm - mean)[:, None]

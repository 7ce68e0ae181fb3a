"""Learning propagation and handover from measurement reports."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from twin_core.environment import LEAD_DB, SOFTNESS_DB, Environment, knot_weights
from twin_core.network import Network
from twin_core.observation import PeriodObservation
from twin_core.radio.handover import contenders, lead_db
from twin_core.settings import CalibrationSettings, PhysicsSettings, share_per_period

Tensor = torch.Tensor

# SS-RSRP is reported from -156 to -31 dBm (TS 38.133 Table 10.1.6.1-1); a residual beyond 40 dB is a broken report.
RSRP_RANGE_DBM = (-156.0, -31.0)
_LARGEST_RESIDUAL_DB = 40.0
# SS-SINR is reported from -23 to 40 dB (TS 38.133 Table 10.1.16.1-1).
_LARGEST_SINR_DB = 41.0
# A serving cell outside a pixel's contenders is no more surprising than this.
_LEAST_LIKELY = 0.01
# Share of the softness evidence that one period's reports replace at most.
_SOFTNESS_SHARE = share_per_period(30.0)


@dataclass(frozen=True, eq=False)
class Reports:
    """Usable measurement reports of a period.

    Attributes
    ----------
    pixel, serving
        [N] where and who served.
    rsrp
        [N, C] dBm, NaN where not measured or absurd.
    sinr_db
        [N] of the serving cell, NaN where not measured or absurd.
    ignored
        How many values were dropped as absurd.
    """

    pixel: Tensor
    serving: Tensor
    rsrp: Tensor
    sinr_db: Tensor
    ignored: int

    @classmethod
    def of(cls, observation: PeriodObservation, network: Network) -> "Reports":
        """Keep the reports whose place is known and whose values can be true."""
        known = np.isfinite(observation.mr_x_m) & np.isfinite(observation.mr_y_m)
        near = known & (np.abs(observation.mr_x_m) < 1e7) & (np.abs(observation.mr_y_m) < 1e7)
        rsrp: NDArray[np.float64] = np.asarray(observation.mr_cell_rsrp, dtype=np.float64)
        rsrp = rsrp.reshape(-1, len(network.cells))[near].copy()
        low, high = RSRP_RANGE_DBM
        absurd = ~np.isnan(rsrp) & ~((rsrp >= low) & (rsrp <= high))
        rsrp[absurd] = np.nan
        sinr = np.asarray(observation.mr_sinr_db, dtype=np.float64)[near]
        pixel = network.grid.pixel_of(observation.mr_x_m[near], observation.mr_y_m[near])
        return cls(
            torch.from_numpy(pixel),
            torch.from_numpy(np.asarray(observation.mr_serving, dtype=np.int64)[near]),
            torch.from_numpy(rsrp),
            torch.from_numpy(np.where(np.abs(sinr) <= _LARGEST_SINR_DB, sinr, np.nan)),
            int(absurd.sum()) + int((known & ~near).sum()) + int((np.abs(sinr) > _LARGEST_SINR_DB).sum()),
        )

    def __len__(self) -> int:
        """How many there are."""
        return len(self.pixel)


def rsrp_error_db(reports: Reports, predicted_dbm: Tensor) -> Tensor:
    """[n] measured minus predicted RSRP of every usable value.

    Parameters
    ----------
    reports
        Of the period.
    predicted_dbm
        [P, C] of the twin.
    """
    error = reports.rsrp - predicted_dbm[reports.pixel]
    return error[~error.isnan()]


def fit_radio(
    environment: Environment, reports: Reports, expected_dbm: Tensor, settings: CalibrationSettings
) -> tuple[dict[str, Tensor], int]:
    """Update cell gains and the shadowing map.

    Parameters
    ----------
    environment
        Before the period.
    reports
        Of the period.
    expected_dbm
        [P, C] RSRP of the configuration in force without any correction.
    settings
        Half-lives.

    Returns
    -------
    tuple
        Changed fields of the environment, and how many values were ignored.
    """
    gain_keep = 1 - share_per_period(settings.gain_half_life)
    shadow_keep = 1 - share_per_period(settings.shadow_half_life)
    residual = reports.rsrp - expected_dbm[reports.pixel]
    # What the twin believes now is what a report is absurd against, so that an offset common to all can be large.
    unlikely = (residual - environment.gain_db).abs() > _LARGEST_RESIDUAL_DB
    usable = ~residual.isnan() & (~unlikely | (environment.gain_weight < 1))
    value = torch.where(usable, residual, 0.0)
    count = usable.to(torch.float64)
    pixels = len(environment.shadow_sum)
    total = value.new_zeros(pixels, value.shape[1]).index_add_(0, reports.pixel, value)
    weight = count.new_zeros(pixels, value.shape[1]).index_add_(0, reports.pixel, count)
    return {
        "gain_sum": gain_keep * environment.gain_sum + value.sum(dim=0),
        "gain_weight": gain_keep * environment.gain_weight + count.sum(dim=0),
        "shadow_sum": (shadow_keep * environment.shadow_sum + total).float(),
        "shadow_weight": (shadow_keep * environment.shadow_weight + weight).float(),
    }, int((unlikely & ~usable & ~residual.isnan()).sum())


def fit_softness(
    environment: Environment,
    reports: Reports,
    rsrp: Tensor,
    cio_db: Tensor,
    on_air: Tensor,
    settings: PhysicsSettings,
) -> dict[str, Tensor]:
    """Update how well each width of the handover boundary explains who served whom.

    Parameters
    ----------
    environment, reports
        Before and during the period.
    rsrp
        [P, C] of the twin, corrected.
    cio_db, on_air, settings
        As in `handover.attach`.
    """
    heard = on_air[reports.serving] if len(reports) else torch.zeros(0, dtype=torch.bool)
    if not bool(heard.any()):
        return {}
    cells, margin = contenders(rsrp[reports.pixel[heard]], cio_db, on_air, settings.candidates)
    served = cells == reports.serving[heard][:, None]
    fit = []
    for softness in SOFTNESS_DB:
        chance = torch.where(served, torch.softmax(margin / softness, dim=1), 0.0).sum(dim=1)
        fit.append(chance.clamp_min(_LEAST_LIKELY).log().mean())
    reports_now = float(heard.sum())
    # Weigh by reports, so that a period with three of them changes little.
    weight = environment.softness_weight * (1 - _SOFTNESS_SHARE) + reports_now
    step = reports_now / weight
    return {
        "softness_fit": (1 - step) * environment.softness_fit + step * torch.stack(fit),
        "softness_weight": weight,
    }


def fit_uplift(
    environment: Environment,
    reports: Reports,
    rsrp: Tensor,
    cio_db: Tensor,
    on_air: Tensor,
    load: Tensor,
    noise_dbm: Tensor,
    settings: PhysicsSettings,
) -> dict[str, Tensor]:
    """Update how much better users hear their serving cell than their pixel does, by the cell's lead in the pixel.

    Parameters
    ----------
    environment, reports
        Before and during the period.
    rsrp
        [P, C] of the twin, corrected.
    cio_db, on_air, settings
        As in `handover.attach`.
    load
        [C] of the period.
    noise_dbm
        [C] of the receiver, per subcarrier.
    """
    usable = reports.sinr_db.isfinite() & on_air[reports.serving] if len(reports) else torch.zeros(0, dtype=torch.bool)
    if not bool(usable.any()):
        return {}
    serving, measured, here = reports.serving[usable], reports.sinr_db[usable], rsrp[reports.pixel[usable]]
    cells, margin = contenders(here, cio_db, on_air, settings.candidates)
    served = cells == serving[:, None]
    lead = torch.where(served, lead_db(margin), 0.0).sum(dim=1)
    power = 10 ** (here / 10)
    own = power.gather(1, serving[:, None])[:, 0]
    others = power @ (load * on_air) - own * load[serving]
    modelled = 10 * torch.log10(own / (others + 10 ** (noise_dbm[serving] / 10)))
    extra = measured - modelled
    good = served.any(dim=1) & lead.isfinite() & (extra.abs() < _LARGEST_RESIDUAL_DB)
    weights = knot_weights(lead[good], LEAD_DB)
    keep = 1 - _SOFTNESS_SHARE
    rest = extra[good] - weights @ environment.uplift_db
    return {
        "uplift_sum": keep * environment.uplift_sum + weights.T @ extra[good],
        "uplift_weight": keep * environment.uplift_weight + weights.sum(dim=0),
        "spread_sum": keep * environment.spread_sum + (rest**2).sum(),
    }


def fit_seen(environment: Environment, reports: Reports, network: Network, half_life: float) -> dict[str, Tensor]:
    """Update the map of where users report from, smoothed over a pixel."""
    if not len(reports):
        return {}
    here = torch.bincount(reports.pixel, minlength=network.grid.pixels).double()
    near = network.grid.smooth(here, network.grid.spacing_m)
    near *= here.sum() / near.sum()
    share = max(share_per_period(half_life), 1 / (float(environment.periods) + 1))
    return {"seen": (1 - share) * environment.seen + share * near}

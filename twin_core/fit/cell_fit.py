"""Learning what cells deliver and consume: capacity, user throughput, power."""

import torch

from twin_core.environment import BUSY_LOADS, Environment, knot_weights
from twin_core.flow.power import PRIOR_WATTS, PowerModel, cell_power_w
from twin_core.network import Network
from twin_core.settings import CalibrationSettings, share_per_period

Tensor = torch.Tensor

# One period moves the evidence for a log gain by at most this from what is believed; no gain leaves a factor of 20
# around 1.
_LARGEST_STEP, _LARGEST_LOG_GAIN = 1.0, 3.0
# A cell's first evidence may lie far from the prior, which is only a guess.
_BELIEVED_FROM_WEIGHT = 0.5
# Load from which a period says something about capacity, and the load at which it says it in full.
_LEAST_LOAD, _FULL_LOAD = 0.01, 0.2
# Error of a model linear in load, as a share of the power of an element; drift of its watts per period.
_POWER_NOISE, _POWER_DRIFT = 0.03, 0.01


def load_trust(load: Tensor) -> Tensor:
    """[C] how much a period at this load says about a cell's capacity, 0..1.

    Examples
    --------
    >>> load_trust(torch.tensor([0.0, 0.1, 0.9, torch.nan])).tolist()
    [0.0, 0.5, 1.0, 0.0]
    """
    return torch.where(load >= _LEAST_LOAD, load / _FULL_LOAD, 0.0).clamp_max(1.0)


def fit_gain(
    total: Tensor, weight: Tensor, present: Tensor, measured: Tensor, modelled: Tensor, trust: Tensor, half_life: float
) -> tuple[Tensor, Tensor]:
    """Update a log gain of each cell.

    Parameters
    ----------
    total, weight
        [C] evidence before.
    present
        [C] the gain believed so far.
    measured, modelled
        [C] of the period, modelled with gain 1; NaN or not positive is no evidence.
    trust
        [C] 0..1 weight of the period.
    half_life
        In periods.

    Returns
    -------
    tuple
        [C] total and [C] weight after.
    """
    usable = (measured > 0) & (modelled > 0) & (trust > 0)
    ratio = (torch.where(usable, measured, 1.0) / torch.where(usable, modelled, 1.0)).log()
    reach = torch.where(weight > _BELIEVED_FROM_WEIGHT, _LARGEST_STEP, torch.inf)
    centre = present.log()
    ratio = torch.minimum(torch.maximum(ratio, centre - reach), centre + reach)
    ratio = ratio.clamp(-_LARGEST_LOG_GAIN, _LARGEST_LOG_GAIN)
    keep = 1 - share_per_period(half_life)
    evidence = torch.where(usable, trust, 0.0)
    return keep * total + evidence * ratio, keep * weight + evidence


def fit_busy(
    environment: Environment, load: Tensor, ratio: Tensor, trust: Tensor, half_life: float
) -> dict[str, Tensor]:
    """Update how capacity goes with a cell's own load, for all cells together.

    Parameters
    ----------
    environment
        Before the period.
    load
        [C] of the period.
    ratio
        [C] measured over modelled capacity, everything believed counted in; NaN is no evidence.
    trust
        [C] 0..1 weight of the period.
    half_life
        In periods.
    """
    usable = (ratio > 0) & (trust > 0)
    weights = knot_weights(load, BUSY_LOADS) * torch.where(usable, trust, 0.0)[:, None]
    # The ratio is against what is believed, so that belief is added back to get at the whole.
    whole = torch.where(usable, ratio, 1.0).log().clamp(-_LARGEST_STEP, _LARGEST_STEP)
    whole = whole + knot_weights(load, BUSY_LOADS) @ environment.busy_log
    keep = 1 - share_per_period(half_life)
    return {
        "busy_sum": keep * environment.busy_sum + weights.T @ whole,
        "busy_weight": keep * environment.busy_weight + weights.sum(dim=0),
    }


def fit_power(
    environment: Environment,
    network: Network,
    load: Tensor,
    on_air: Tensor,
    dynamic_share: Tensor,
    measured_w: Tensor,
    settings: CalibrationSettings,
) -> dict[str, Tensor]:
    """Update watts (a Kalman filter over all elements at once) and what each element takes relative to them.

    Parameters
    ----------
    environment, network
        Before the period.
    load, on_air, dynamic_share
        [C] of the period; load NaN unknown.
    measured_w
        [E] PEE.AvgPower, NaN unknown.
    settings
        Half-life of the element factors.
    """
    unknown = torch.zeros(len(network.elements), dtype=torch.float64).index_add_(
        0, network.element_of, load.isnan().double()
    )
    usable = (measured_w > 0) & (measured_w < 1e6) & (unknown == 0)
    if not bool(usable.any()):
        return {}
    before = environment.power
    level = load.nan_to_num()
    features = torch.stack([(~on_air).double(), on_air.double(), on_air * level * dynamic_share], dim=1)
    by_element = torch.zeros(len(network.elements), 3, dtype=torch.float64).index_add_(0, network.element_of, features)
    rows = (by_element * before.element_factor[:, None])[usable]
    prior = torch.tensor(PRIOR_WATTS, dtype=torch.float64)
    drift = torch.diag((_POWER_DRIFT * prior) ** 2)
    covariance = environment.watts_covariance + drift
    # What is never excited (sleep, while all cells are on) must not grow beyond the ignorance of the start.
    shrink = torch.minimum(torch.ones(3, dtype=torch.float64), prior / covariance.diagonal().sqrt())
    covariance = covariance * shrink[:, None] * shrink
    # No less than of a watt: measurements without noise that contradict each other have no solution.
    noise = torch.diag((_POWER_NOISE * measured_w[usable].clamp_min(1.0)) ** 2)
    gain = torch.linalg.solve(rows @ covariance @ rows.T + noise, rows @ covariance).T
    watts = environment.watts + gain @ (measured_w[usable] - rows @ environment.watts)
    covariance = covariance - gain @ rows @ covariance
    # Asleep costs least and load costs something, whatever noise says.
    asleep, idle, full = watts.clamp_min(1.0).unbind()
    watts = torch.stack([torch.minimum(asleep, idle), idle, full])
    plain = PowerModel(watts, torch.ones_like(before.element_factor))
    modelled = torch.zeros_like(before.element_factor).index_add_(
        0, network.element_of, cell_power_w(plain, level, on_air, dynamic_share, network.element_of)
    )
    total, weight = fit_gain(
        environment.element_sum,
        environment.element_weight,
        before.element_factor,
        torch.where(usable, measured_w, torch.nan),
        modelled,
        usable.double(),
        settings.power_half_life,
    )
    return {
        "watts": watts,
        "watts_covariance": (covariance + covariance.T) / 2,
        "element_sum": total,
        "element_weight": weight,
    }

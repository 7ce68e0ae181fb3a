"""Learning where users are and what they offer, and saying what they will offer next."""

import torch

from twin_core.environment import DAY_BINS, Environment
from twin_core.radio.handover import Attachment
from twin_core.settings import CalibrationSettings, share_per_period

Tensor = torch.Tensor

_DAY_MS = 86_400_000
_ROUNDS = 12
_ANYWHERE = 0.02
# Users of a pixel may offer this many times less or more than the network's mean: keeps one burst from becoming a hot
# spot for good.
_RATE_SPREAD = 20.0
_LEVEL_SHARE, _TREND_SHARE = 0.3, 0.03
_LARGEST_TREND = 0.05  # of demand per period; what grows faster is a burst


def spread(start: Tensor, attachment: Attachment, target: Tensor, rounds: int = _ROUNDS) -> Tensor:
    """The map nearest to `start` whose sums over the users of each cell are `target`.

    Multiplicative updates (Richardson 1972, Lucy 1974): stays positive, keeps the shape within a cell.

    Parameters
    ----------
    start
        [P] positive map.
    attachment
        Who serves whom.
    target
        [C] what each cell served; NaN leaves the cell's part as it is.

    Examples
    --------
    >>> one = torch.ones(2)
    >>> halves = Attachment(torch.tensor([0, 1]), torch.tensor([0, 1]), one, one, one, usual_lead_db=one)
    >>> spread(torch.tensor([1.0, 1.0]), halves, torch.tensor([3.0, torch.nan])).tolist()
    [3.0, 1.0]
    """
    cells = len(target)
    out = start
    for _ in range(rounds):
        served = attachment.per_cell(out * attachment.covered, cells)
        ratio = torch.where(target.isnan() | (served <= 0), 1.0, target / served.clamp_min(1e-12))
        by_pixel = torch.zeros_like(out).index_add_(0, attachment.pixel, ratio[attachment.cell] * attachment.share)
        linked = torch.zeros_like(out).index_add_(0, attachment.pixel, attachment.share)
        out = out * torch.where(linked > 0, by_pixel, 1.0)
    return out


def fit_users(
    environment: Environment, attachment: Attachment, told: bool, connected: Tensor, settings: CalibrationSettings
) -> dict[str, Tensor]:
    """Update the user map.

    Parameters
    ----------
    environment
        With the places of the period's reports already in `seen`.
    attachment
        Who served whom.
    told
        Whether there were reports in the period.
    connected
        [C] how many users each cell had, NaN unknown.
    settings
        Half-life.
    """
    counted = bool((~connected.isnan()).any())
    if not (told or counted):
        return {}
    users, seen = environment.users, environment.seen
    if float(seen.sum()) > 0:
        # Some of the users are anywhere: a pixel without reports is not a pixel without users.
        place = (1 - _ANYWHERE) * seen / seen.sum() + _ANYWHERE / len(seen)
        users = place * users.sum()
    if counted:
        users = spread(users.clamp_min(1e-9), attachment, connected)
    share = max(share_per_period(settings.users_half_life), 1 / (float(environment.periods) + 1))
    return {"users": (1 - share) * environment.users + share * users}


def fit_demand(
    environment: Environment, users: Tensor, attachment: Attachment, served_kbps: Tensor, settings: CalibrationSettings
) -> tuple[dict[str, Tensor], Tensor]:
    """Update what users offer from what cells served.

    Parameters
    ----------
    environment
        Before the period.
    users
        [P] of the period.
    attachment
        Who served whom.
    served_kbps
        [C] mean rate of the period, NaN unknown.
    settings
        Half-life.

    Returns
    -------
    tuple
        Changed fields, and [P] the demand of this very period.
    """
    prior = users * environment.kbps_per_user
    if not bool((~served_kbps.isnan()).any()):
        return {}, prior
    # Where nothing is known yet, the network's mean is a better start than the planner's guess.
    if float(environment.periods) == 0:
        known = ~served_kbps.isnan()
        modelled = attachment.per_cell(prior * attachment.covered, len(served_kbps))[known].sum()
        prior = prior * (served_kbps[known].sum() / modelled.clamp_min(1e-9))
    fitted = spread(prior.clamp_min(1e-9), attachment, served_kbps)
    rate = fitted / users.clamp_min(1e-9)
    mean = fitted.sum() / users.sum().clamp_min(1e-9)
    rate = torch.minimum(torch.maximum(rate, mean / _RATE_SPREAD), mean * _RATE_SPREAD)
    share = max(share_per_period(settings.demand_half_life), 1 / (float(environment.periods) + 1))
    return {"kbps_per_user": (1 - share) * environment.kbps_per_user + share * rate}, fitted


def day_bin(time_ms: int) -> int:
    """Half hour of the day (UTC).

    Examples
    --------
    >>> day_bin(86_400_000 + 90 * 60_000)
    3
    """
    return time_ms % _DAY_MS * DAY_BINS // _DAY_MS


def fit_trend(
    environment: Environment, served_kbps: Tensor, period_end_ms: int, settings: CalibrationSettings
) -> dict[str, Tensor]:
    """Update level and damped trend of the network's demand and its shape over the day."""
    total = served_kbps.nansum()
    if not float(total) > 0 or float(served_kbps.isnan().double().mean()) > 0.2:
        return {}
    log = total.log()
    if float(environment.periods) == 0:
        level, trend = log, torch.zeros_like(log)
    else:
        step = settings.trend_damping * environment.trend
        error = (log - environment.level - step).clamp(-1, 1)
        level = environment.level + step + _LEVEL_SHARE * error
        trend = (step + _TREND_SHARE * error).clamp(-_LARGEST_TREND, _LARGEST_TREND)
    here = day_bin(period_end_ms)
    day_sum, day_weight = environment.day_sum.clone(), environment.day_weight.clone()
    keep = 1 - share_per_period(DAY_BINS)
    day_sum[here] = keep * day_sum[here] + log
    day_weight[here] = keep * day_weight[here] + 1
    return {"level": level, "trend": trend, "day_sum": day_sum, "day_weight": day_weight}


def seen_at(environment: Environment, time_ms: int) -> bool:
    """Whether demand was ever observed at that time of day."""
    return bool(environment.day_weight[day_bin(time_ms)] > 0)


def growth(environment: Environment, period_end_ms: int, step_ms: int, steps: Tensor, damping: float) -> Tensor:
    """[T] factor on the present demand, so many periods ahead ([T] whole numbers from 1 on).

    The damped trend, or the shape of the day where the half hours ahead were seen on an earlier day.
    """
    ahead = steps.double()
    # The sum of a damped trend over k periods.
    factor = damping * (1 - damping**ahead) / (1 - damping) if damping < 1 else ahead
    log = environment.trend * factor
    now = day_bin(period_end_ms)
    bins = [day_bin(period_end_ms + k * step_ms) for k in steps.tolist()]
    mean = environment.day_sum / environment.day_weight.clamp_min(1e-9)
    for k, b in enumerate(bins):
        if b != now and bool(environment.day_weight[b] > 0) and bool(environment.day_weight[now] > 0):
            log[k] = (mean[b] - mean[now]).clamp(-2, 2)
    return log.exp()

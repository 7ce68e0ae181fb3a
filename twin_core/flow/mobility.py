"""Handovers as flows between cells: attempts, success, too early, too late, to a wrong cell, ping-pong.

No user is simulated. Each pixel has users who move in all directions; where the mean difference of two cells' RSRP
comes within reach of event A3 (TS 38.331 5.5.4.4) they are handed over at the rates of `twin_core.flow.crossing`.
What then becomes of a handover is read from levels of D, target less source in dB, at which a link fails:

- D at the command is the edge of A3 and what drift and fluctuation add while the time to trigger runs. The source's
  SINR falls with D; beyond the level at which it meets Qout the command is not heard, and where it was there for
  T310 the link fails first: **too late** (TS 38.300 15.5.2, with the failure criteria of TR 36.839 5.2.1.3).
- Below the level at which the target's SINR meets its limit the execution fails; after it, the link fails if D falls
  to that level within `recent_s` and the way back is not triggered before. The user returns to the source, **too
  early**, or finds a third cell stronger than both, **to wrong cell**; re-established in the target it is neither.
- Returns within `ping_pong_s` are **ping-pongs**.

Approximations. The sum of both RSRP stays at its mean as D moves; its fluctuation makes the levels soft. A border
counts with the probability that no third cell is in the way. Movement is isotropic and users are spread in
equilibrium, so as many go from i to j for good as from j to i, whatever the offsets: these move the border, and
hysteresis and time to trigger change how often it is crossed. A user who does not stay in the target tries again.

Against walkers simulated one by one between two cells (tests/walkers.py), 1.2 to 25 m/s, time to trigger 0 to 1.28 s,
offset and hysteresis 1 to 5 dB, CIO up to 5 dB: attempts within 8 %; ping-pongs within 25 % where they exceed a tenth
of attempts (35 % with no time to trigger); too late within 20 % where it exceeds a tenth (35 % with no time to
trigger), up to half low where it is rare; too early in the right order, but up to 5 times low. Where CIO biases cells
by 9 dB each way, attempts are up to a third low: links fail before A3 acts, and users try again more often than here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from twin_core.exceptions import InvalidConfiguration
from twin_core.flow import crossing
from twin_core.flow.borders import NARROWEST_DB, SILENT_DBM, Borders, borders_of
from twin_core.flow.mobility_settings import MobilitySettings
from twin_core.grid import Grid

Tensor = torch.Tensor

# Samples that a discrete observer loses of a wait (Siegmund), and what noise, itself sampled, loses (fitted).
_UNSEEN, _UNSEEN_NOISE = 0.784, 0.3
# Of the wait at the edge, what lies between where a handover leaves D and where the way back is triggered (fitted).
_RETURN_WAITS = 1.5
# Share of attempts that fails in the target at most: who always fails would try without end.
_MOST_FAILED = 0.8
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Flows:
    """Handovers per second, [C, C] from source (row) to target; the diagonal is 0.

    attempts = requests + users whose link failed before the command; requests = success + commands not heard +
    executions that failed. too_early and wrong_cell hold failed executions and failures soon after a success.

    Attributes
    ----------
    attempts
        A3 was fulfilled for the time to trigger, or would have been had the link not failed.
    requests
        Of these, commands sent.
    success
        Executed.
    too_late
        The source's link failed before the command, or the command was not heard.
    too_early
        Failed in the target, back in the source.
    wrong_cell
        Failed in the target, found in a third cell.
    ping_pong
        Successful, and returned successfully within the ping-pong time.
    """

    attempts: Tensor
    requests: Tensor
    success: Tensor
    too_late: Tensor
    too_early: Tensor
    wrong_cell: Tensor
    ping_pong: Tensor


def handover_flows(
    rsrp: Tensor,
    grid: Grid,
    users: Tensor,
    load: Tensor,
    cio_db: Tensor,
    noise_dbm: Tensor,
    settings: MobilitySettings,
    *,
    site_of: Tensor | None = None,
    co_channel: Tensor | None = None,
    on_air: Tensor | None = None,
) -> Flows:
    """Handovers per second between all cells.

    Differentiable in RSRP, users, load and offsets. Cost grows with P K^2 (K + 12), K being a pixel's contenders.

    Parameters
    ----------
    rsrp
        [P, C] dBm, mean of each pixel.
    grid
        Where pixels lie.
    users
        [P] connected users.
    load
        [C] 0..1, by which each cell's interference is scaled.
    cio_db
        [C, C] cell individual offsets, serving cell first.
    noise_dbm
        [C] thermal noise in the band that RSRP is measured in (`Network.thermal_noise_dbm`).
    settings
        Movement, A3 and failure.
    site_of
        [C] integers; cells with the same share their shadowing. Every cell has its own site by default.
    co_channel
        [C, C] bool, whether cells disturb each other; all do by default.
    on_air
        [C] bool, whether cells transmit; all do by default.

    Raises
    ------
    InvalidConfiguration
        If the grid is none, a shape does not fit, a number is not finite, or users or load are negative.
    """
    cells = rsrp.shape[-1]
    _check(rsrp, grid, users, load, cio_db, noise_dbm)
    if cells < 2:
        none = rsrp.new_zeros(cells, cells)
        return Flows(none, none, none, none, none, none, none)
    site_of = torch.arange(cells, device=rsrp.device) if site_of is None else site_of
    others = ~torch.eye(cells, dtype=torch.bool, device=rsrp.device)
    co_channel = others if co_channel is None else co_channel & others
    heard = rsrp if on_air is None else torch.where(on_air, rsrp, SILENT_DBM)
    borders = borders_of(heard, grid, load, cio_db, noise_dbm, settings, site_of, co_channel)
    index = borders.source * cells + borders.target
    sums = (
        part.new_zeros(cells * cells).index_add_(0, index, part.sum(dim=-1)).view(cells, cells)
        for part in _parts(borders, users, settings)
    )
    return Flows(*sums)


def _check(rsrp: Tensor, grid: Grid, users: Tensor, load: Tensor, cio_db: Tensor, noise_dbm: Tensor) -> None:
    if not isinstance(grid, Grid):  # gradients need pixels side by side
        raise InvalidConfiguration(f"{type(grid).__name__} is no grid of pixels; give the network's area, a Grid")
    cells = rsrp.shape[-1]
    wanted = {
        "rsrp": (rsrp, (grid.pixels, cells)),
        "users": (users, (grid.pixels,)),
        "load": (load, (cells,)),
        "cio_db": (cio_db, (cells, cells)),
        "noise_dbm": (noise_dbm, (cells,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise InvalidConfiguration(f"{name} has shape {list(tensor.shape)}; give {list(shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidConfiguration(f"{name} holds a number that is not finite; give finite ones")
    for name, tensor in (("users", users), ("load", load)):
        if bool((tensor < 0).any()):
            raise InvalidConfiguration(f"{name} holds a negative number; give 0 or more")


def _movement(settings: MobilitySettings, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[Q] speeds, cosines of the angle to the gradient, and weights, of those who move."""
    angle, angle_weight = np.polynomial.legendre.leggauss(4)
    cosine = np.cos(np.pi / 4 * (angle + 1))
    node, node_weight = np.polynomial.hermite_e.hermegauss(3 if settings.speed_variation > 0 else 1)
    speed = np.exp(math.sqrt(math.log1p(settings.speed_variation**2)) * node)
    node_weight = node_weight / node_weight.sum()
    speed *= settings.mean_speed_mps / (node_weight @ speed)
    axis = (
        np.repeat(speed, len(cosine)),
        np.tile(cosine, len(speed)),
        np.outer(node_weight, angle_weight / 2).reshape(-1),
    )
    s, c, w = (torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in axis)
    return s, c, w


def _parts(borders: Borders, users: Tensor, settings: MobilitySettings) -> list[Tensor]:
    """[E, Q] flows, in the order of `Flows`: of those at rest, then of each speed and direction."""
    p, b = settings, borders
    width = torch.sqrt(b.sigma**2 + b.smear**2).clamp_min(NARROWEST_DB)
    density = torch.exp(-((b.mean / width) ** 2) / 2) / (math.sqrt(2 * math.pi) * width)
    crowd = users[b.pixel][:, None] * b.clear
    moving = p.moving_share if p.mean_speed_mps > 0 else 0.0
    still, noise_db = _noise_strength(b, p)
    # Offsets may let both sides trigger at once: then whoever is between the edges goes to and fro.
    inverted = b.half.clamp_max(0).abs()
    inside = torch.special.ndtr((inverted - b.mean) / width) - torch.special.ndtr((-inverted - b.mean) / width)
    cycle_s = p.samples * p.sample_s
    bouncing = crowd * inside / (2 * cycle_s)
    resting = crowd * density * (1 - moving) * still
    returns = 2 / math.sqrt(2 * math.pi) * still * p.ping_pong_s / max(noise_db, _TINY)
    back = resting * -torch.expm1(-returns)
    zero = torch.zeros_like(b.mean)
    parts = _judged(b, p, [(resting + bouncing, b.middle + b.half, zero)], zero, zero)
    parts.append(_undone(b, parts, back + (bouncing if cycle_s <= p.ping_pong_s else 0)))
    if not moving:
        return parts
    on_the_way = _moving(b, p, crowd * density * moving, still, noise_db)
    return [torch.cat(both, dim=-1) for both in zip(parts, on_the_way, strict=True)]


def _noise_strength(borders: Borders, settings: MobilitySettings) -> tuple[Tensor, float]:
    """Handovers by noise of filtered measurements alone (see `crossing.strength`), and its standard deviation in D."""
    p = settings
    noise_db = p.measurement_noise_db * math.sqrt(2 * p.forget / (2 - p.forget))
    tau = torch.full_like(borders.half, max(p.filter_s, p.sample_s / 2))
    omega = (borders.half.clamp_min(0) / max(noise_db, _TINY)).clamp_max(crossing.WIDEST)
    wait = crossing.edge(omega, tau, 0.0, (p.samples - _UNSEEN_NOISE) * p.sample_s)
    return crossing.strength(torch.full_like(omega, noise_db), omega, tau, wait), noise_db


def _reach(borders: Borders, settings: MobilitySettings, spread: Tensor, drift: Tensor, noise_db: float) -> Tensor:
    """How far noise takes a confirmed trigger beyond where shadowing dwells at the edge, dB.

    Triggers by noise at distance x come at the rate r exp(-x^2 / 2 s^2). They matter where they are as frequent as
    moves of shadowing and mean by s.
    """
    p = settings
    turns = math.acos(1 - p.forget) / math.pi
    rate = turns / (2 * p.sample_s) * (1 - turns) ** (p.samples - 1)
    moves = spread**2 + drift * noise_db + _TINY
    return noise_db * torch.sqrt(2 * torch.log1p(rate * noise_db**2 / moves))


def _moving(
    borders: Borders, settings: MobilitySettings, crowd: Tensor, still: Tensor, noise_db: float
) -> list[Tensor]:
    """[E, Q] flows of users on the move, `crowd` per dB of border."""
    p, b = settings, borders
    speed, cosine, weight = _movement(p, b.mean)
    drift = b.slope * speed * cosine
    tau = p.decorrelation_m / speed + p.filter_s
    sigma = b.sigma * torch.sqrt((tau - p.filter_s) / tau)
    spread = sigma * torch.sqrt(2 / tau)
    half = (b.half - _reach(b, p, spread, drift, noise_db)).clamp_min(0)
    omega = (half / sigma.clamp_min(_TINY)).clamp_max(crossing.WIDEST)
    wait = crossing.edge(omega, tau, p.filter_s, (p.samples - _UNSEEN) * p.sample_s)
    strength = torch.sqrt(crossing.strength(sigma, omega, tau, wait) ** 2 + still**2 + _TINY**2)
    towards, away = crossing.both_ways(drift, strength)
    share = crowd * weight

    # Where D is at the command: fluctuation has carried it on, drift as well, which the filter shows late.
    watch_s = (p.samples - 0.5) * p.sample_s
    edge, by_chance = b.middle + b.half, sigma * _overshoot(watch_s, tau)
    carried = torch.hypot(by_chance, drift * watch_s) + drift * (p.filter_s + p.execution_s)
    groups = [(share * towards / 2, edge + carried, drift), (share * away / 2, edge + by_chance, -drift)]
    parts = _judged(b, p, groups, spread, sigma * _overshoot(p.t310_s, tau))

    window = max(p.ping_pong_s - (p.samples - 1) * p.sample_s, _TINY)
    # Pull to the mean helps on the inward half of the way back: half of its change of clock, to first order.
    window_s = window * (1 + window / (2 * tau))
    distance = 2 * half + _RETURN_WAITS * wait * sigma
    parts.append(_undone(b, parts, share * crossing.returns(towards, away, drift, distance, spread, window_s)))
    return parts


def _overshoot(watch_s: float, tau_s: Tensor) -> Tensor:
    """Mean level above an edge after a stay of that time beyond it, in standard deviations (Brownian meander)."""
    return torch.sqrt(-torch.expm1(-2 * watch_s / tau_s) * math.pi / 2)


def _judged(
    borders: Borders,
    settings: MobilitySettings,
    groups: list[tuple[Tensor, Tensor, Tensor]],
    spread: Tensor,
    over_t310: Tensor,
) -> list[Tensor]:
    """Flows from attempts to wrong cells, of groups given by rate, D at the command and drift towards the target.

    Parameters
    ----------
    spread
        Of D, dB per square root of a second.
    over_t310
        How far fluctuation carries D during T310, dB.
    """
    p, b = settings, borders
    ndtr = torch.special.ndtr
    # The target is lost on the way back only where that level lies before the edge of the way back. The mean level of
    # those where it does is that of a truncated normal distribution.
    room = (b.weak_at - over_t310 - (b.middle - b.half)) / b.weak_width
    before_edge = ndtr(room)
    hazard = torch.exp(-(room**2) / 2 - torch.special.log_ndtr(room)) / math.sqrt(2 * math.pi)
    lost_at = b.weak_at + b.weak_width * hazard - over_t310
    parts: list[Tensor] = []
    for rate, at, drift in groups:
        earlier = at - over_t310 - drift.clamp_min(0) * p.t310_s
        lost = ndtr((earlier - b.fails_at) / b.fails_width)
        heard = 1 - ndtr((at - b.fails_at) / b.fails_width)
        missed = ndtr((b.weak_at - at) / b.weak_width)
        fall = crossing.falls(drift, at - lost_at, spread, p.recent_s)
        failed = heard * (missed + (1 - missed) * fall * before_edge)
        early, wrong = failed * b.to_source, failed * b.to_third
        limit = (_MOST_FAILED / (early + wrong).clamp_min(_TINY)).clamp_max(1)
        early, wrong = early * limit, wrong * limit
        # Who is not in the target in the end tries again: borders are in balance with those who stay.
        tries = rate / (1 - early - wrong)
        found = [tries * share for share in (1, 1 - lost, heard * (1 - missed), 1 - heard, early, wrong)]
        parts = [a + f for a, f in zip(parts, found, strict=True)] if parts else found
    return parts


def _undone(borders: Borders, parts: list[Tensor], returned: Tensor) -> Tensor:
    """Ping-pongs among returns: those of which both ways succeed."""
    good = parts[2] / parts[0].clamp_min(1e-30)
    return returned * good * good[borders.reverse]


def mobility_kpis(flows: Flows, element_of: Tensor, period_s: float) -> dict[str, Tensor]:
    """Counters of handover, [C] each, of one period, at the source cell (TS 28.552 5.1.1.6 and 5.1.1.25).

    Inter is between managed elements, Intra within one. HO.IntraSys.TooLate is counted where the link failed, TooEarly
    and ToWrongCell where the handover came from, TL.HoPingPong (derived) where the user has come back to.

    Parameters
    ----------
    flows
        Per second.
    element_of
        [C] managed element of each cell.
    period_s
        Granularity period.

    Examples
    --------
    >>> a, b = torch.tensor([[0.0, 2.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.5], [1.0, 0.0]])
    >>> kpis = mobility_kpis(Flows(a, a, b, a - b, 0 * a, 0 * a, 0 * a), torch.tensor([0, 1]), 60.0)
    >>> kpis["MM.HoExeInterFail"].tolist(), kpis["MM.HoExeIntraReq"].tolist()
    ([30.0, 60.0], [0.0, 0.0])
    """
    inter = (element_of[:, None] != element_of).to(flows.attempts)

    def count(flow: Tensor) -> Tensor:
        return flow.sum(dim=1) * period_s

    return {
        "MM.HoExeInterReq": count(flows.requests * inter),
        "MM.HoExeInterSucc": count(flows.success * inter),
        "MM.HoExeInterFail": count((flows.requests - flows.success).clamp_min(0) * inter),
        "MM.HoExeIntraReq": count(flows.requests * (1 - inter)),
        "MM.HoExeIntraSucc": count(flows.success * (1 - inter)),
        "HO.IntraSys.TooEarly": count(flows.too_early),
        "HO.IntraSys.TooLate": count(flows.too_late),
        "HO.IntraSys.ToWrongCell": count(flows.wrong_cell),
        "TL.HoPingPong": count(flows.ping_pong),
    }

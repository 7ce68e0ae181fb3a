"""How often a Gaussian level changes sides of a band: event A3 without users.

A3 watches D, the target's RSRP less the source's. For a user on the move it is a mean that drifts along the gradient,
at c dB/s, and a fluctuation: shadowing with correlation exp(-distance / decorrelation) (TR 38.901 7.4.4), so in time
an Ornstein-Uhlenbeck process of correlation time tau = decorrelation / speed, smoothed by the L3 filter. The user is
handed over above the band, back below it; the band is 2 w wide, w = a3-Offset + hysteresis less the mean CIO.

What is used, in units of the fluctuation's standard deviation (omega = w / sigma):

- without drift, at the middle of the band, handovers each way come at the rate F with
  1 / F = 2 sqrt(2 pi) tau exp(omega^2 / 2) (B + delta). B is the mean passage through the band (scale function of the
  process, Darling and Siegert 1953), delta the wait at its edges;
- delta makes a band of width zero obey Rice's formula (1944) for the filtered process, whose second spectral moment
  is finite: 1 / (tau tau_filter). The time to trigger T adds the excursions too short for it: by Ito's excursion
  measure those longer than T are as rare as those higher than b sqrt(pi T / 2), b^2 = 2 sigma^2 / tau (Chesney,
  Jeanblanc and Yor 1997); pull to the mean enters as a change of clock and of measure (Girsanov). A sampled process
  misses excursions as if T were 0.216 samples longer (Siegmund 1985: a shift by 0.5826 b sqrt(dt));
- drift and fluctuation together: c / 2 coth(c / 2R) per dB of border and user, R being the integral of F over D. That
  is what a band does to Brownian motion with drift, and within 1 % of Rice's formula with drift where it has no width;
- a user is back within a time by the reflection principle with drift (Bachelier-Levy).

Approximations: mean RSRP is linear across the border; filter and time to trigger are joined by a cubic mean (fitted
to simulation); noise of single measurements narrows the band by what it reaches while shadowing dwells at the edge.
"""

import math

import numpy as np
import torch

Tensor = torch.Tensor

_NODES, _WEIGHTS = (v.tolist() for v in np.polynomial.legendre.leggauss(12))
# Bands of more standard deviations are never crossed by fluctuation; keeps exponentials in the range of float32.
WIDEST = 8.0
_LONGEST = 20.0
_TINY = 1e-12
# Fluctuation in decibels that is none, and standard deviations that are as good as certainty.
_NARROWEST, _SURE = 1e-3, 9.0


def passage(omega: Tensor) -> Tensor:
    """Integral of exp((y^2 - omega^2) / 2) for y from 0 to omega: Dawson's function of omega / sqrt(2), times sqrt(2).

    Examples
    --------
    >>> [round(float(p), 4) for p in passage(torch.tensor([0.0, 1.0, 3.0]))]
    [0.0, 0.7248, 0.3932]
    """
    out = torch.zeros_like(omega)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        away = (1 - node) / 2  # from the edge, as a part of omega
        out = out + weight / 2 * torch.exp(omega**2 * (away**2 / 2 - away))
    return out * omega


def edge(omega: Tensor, tau_s: Tensor, filter_s: float, watch_s: float) -> Tensor:
    """Wait at an edge of the band, by filter and time to trigger.

    Parameters
    ----------
    omega
        Half the band, in standard deviations.
    tau_s
        Correlation time of the filtered fluctuation.
    filter_s
        Time constant of the L3 filter, 0 for none.
    watch_s
        How long the level must stay beyond the edge.
    """
    filtered = math.sqrt(math.pi / 2) * torch.sqrt(((tau_s - filter_s) * filter_s).clamp_min(0) + _TINY) / tau_s
    ratio = watch_s / tau_s
    clock = torch.expm1((2 * ratio).clamp_max(_LONGEST)) / 2
    watched = torch.sqrt(math.pi * clock * torch.exp((omega**2 * ratio / 2).clamp_max(_LONGEST)) + _TINY)
    out: Tensor = (filtered**3 + watched**3) ** (1 / 3)
    return out


def strength(sigma: Tensor, omega: Tensor, tau_s: Tensor, wait: Tensor) -> Tensor:
    """R, dB/s: handovers each way by fluctuation alone, per second and dB of border, times the density of users in D.

    Parameters
    ----------
    sigma
        Standard deviation of the fluctuation, dB.
    omega, tau_s, wait
        As in `edge`, and what it returned.
    """
    omega = omega.clamp(0, WIDEST)
    through = passage(omega)
    rate = torch.exp(-(omega**2) / 2) / (2 * math.sqrt(2 * math.pi) * tau_s * (through + wait))
    # F as a function of the mean's distance from the middle is close to normal, narrower than the fluctuation.
    narrower = 1 + (omega - through + wait * omega**2) / (through + wait)
    return math.sqrt(2 * math.pi) * sigma / narrower.sqrt() * rate


def both_ways(drift: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Handovers per dB of border of a user who drifts towards the target, and of one who drifts away from it, dB/s.

    They differ by the drift: whoever crosses changes cells once more than he comes back.

    Examples
    --------
    >>> [round(float(f), 3) for f in both_ways(torch.tensor(1.0), torch.tensor(1e-9))]
    [1.0, 0.0]
    >>> [round(float(f), 3) for f in both_ways(torch.tensor(0.0), torch.tensor(0.4))]
    [0.4, 0.4]
    """
    # Where both vanish nothing happens; where drift vanishes 2R / (exp(c / R) - 1) tends to R.
    ratio = (drift / strength.clamp_min(_TINY)).clamp_max(60.0)
    small = ratio < 1e-3
    away = torch.where(
        small, strength * (1 - ratio / 2), drift / torch.expm1(torch.where(small, torch.ones_like(ratio), ratio))
    )
    return away + drift, away


def returns(
    towards: Tensor, away: Tensor, drift: Tensor, distance_db: Tensor, spread: Tensor, window_s: Tensor
) -> Tensor:
    """Mean of handovers towards the target and away from it (see `both_ways`) that are undone within a window, dB/s.

    Parameters
    ----------
    towards, away, drift
        Of `both_ways`.
    distance_db
        Between where a handover leaves D and where D must get for the way back.
    spread
        b, dB per square root of a second.
    window_s
        How long a return counts.

    Notes
    -----
    The reflection principle gives exp(-2 c h / b^2) of those who drift away from the edge a second chance; as
    exp(-c / R) is also the ratio of both flows, the four terms become two.
    """
    width = spread * window_s.sqrt() + _TINY
    forth = torch.special.ndtr(-(distance_db + drift * window_s) / width)
    back = torch.special.ndtr(-(distance_db - drift * window_s) / width)
    # Everybody who comes back does so once, so no more return than went away.
    return torch.minimum(towards * forth + away * back, away)


def falls(drift: Tensor, distance_db: Tensor, spread: Tensor, window_s: float) -> Tensor:
    """Probability that D falls by a distance (0 and below: it has) within a window, drift in dB/s upwards."""
    distance, carried = distance_db.clamp_min(0), drift * window_s
    width = spread * math.sqrt(window_s) + _NARROWEST
    direct = torch.special.ndtr(((-distance - carried) / width).clamp(-_SURE, _SURE))
    second = torch.special.log_ndtr(((carried - distance) / width).clamp(-_SURE, _SURE))
    mirrored = torch.exp((second - 2 * carried * distance / width**2).clamp(-(_SURE**2), 0))
    out: Tensor = (direct + mirrored).clamp_max(1)
    return out

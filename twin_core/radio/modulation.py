"""What square QAM carries: information of its coded bits over SINR, and one SINR that stands for many.

Bits are mapped by Gray codes and decoded one by one (bit-interleaved coded modulation: Caire, Taricco and Biglieri,
IEEE Trans. Inf. Theory 44(3), 1998). The SINR that stands for several resource blocks or moments is the one whose
mutual information is their mean (MIESM: Brueninghaus et al., PIMRC 2005; the RBIR mapping of IEEE 802.16m-08/004r5
4.3.2 is the same with information by symbol). It has no parameter to be fitted by MCS, as EESM has.

Tables hold the logarithm of what a bit loses, not what it carries: near full information the one is still exact where
the other is rounded to 1.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import softplus

from twin_core.exceptions import InvalidSettings

Tensor = torch.Tensor

# Bits a symbol: QPSK, 16QAM, 64QAM, 256QAM (TS 38.211 5.1).
ORDERS = (2, 4, 6, 8)
_LOW_DB, _HIGH_DB, _STEP_DB = -30.0, 45.0, 0.2
_NODES = 32


@dataclass(frozen=True, eq=False)
class BitChannel:
    """One coded bit of a modulation, over SINR at equal steps of 0.2 from -30 to 45 dB, [G] each, float64.

    Attributes
    ----------
    log_lost
        Natural logarithm of 1 minus mutual information in bits; falls.
    dispersion
        Variance of the information density, bit^2.
    """

    log_lost: Tensor
    dispersion: Tensor


@lru_cache(maxsize=8)
def bit_channel(order: int) -> BitChannel:
    """Mean over the bits of a symbol, by Gauss-Hermite quadrature.

    Parameters
    ----------
    order
        Bits a symbol, one of ORDERS.

    Raises
    ------
    InvalidSettings
        If no such modulation exists.

    Examples
    --------
    >>> qpsk = bit_channel(2)
    >>> round(1 - float(qpsk.log_lost[150].exp()), 3)  # at 0 dB
    0.486
    """
    if order not in ORDERS:
        raise InvalidSettings(f"there is no modulation of {order} bits a symbol; choose one of {ORDERS}")
    # In-phase and quadrature are alike: one amplitude of half the bits, on half the power.
    bits, count = order // 2, 2 ** (order // 2)
    level = (2 * torch.arange(count, dtype=torch.float64) - (count - 1)) * math.sqrt(3 / (2 * (count**2 - 1)))
    gray = torch.arange(count) ^ (torch.arange(count) >> 1)
    db = torch.arange(round((_HIGH_DB - _LOW_DB) / _STEP_DB) + 1, dtype=torch.float64) * _STEP_DB + _LOW_DB
    sigma = (0.5 / 10 ** (db / 10)).sqrt()[:, None, None, None]
    node, weight = (torch.from_numpy(a) for a in np.polynomial.hermite.hermgauss(_NODES))
    # Axes: SINR, level sent (the lower half; the upper mirrors it), noise, level considered.
    half = count // 2
    received = level[:half, None, None] + sigma * math.sqrt(2) * node[:, None]
    likelihood = -((received - level) ** 2) / (2 * sigma**2)
    share = weight / weight.sum() / half
    log_lost, dispersion = torch.full_like(db, -torch.inf), torch.zeros_like(db)
    for bit in range(bits):
        value = (gray >> bit) & 1
        same = (value[:half, None] == value)[:, None]
        right = likelihood.masked_fill(~same, -torch.inf).logsumexp(dim=-1)
        wrong = likelihood.masked_fill(same, -torch.inf).logsumexp(dim=-1)
        # What a bit misses is log2(1 + odds); of odds too small for that, their logarithm is that of the logarithm.
        odds = wrong - right
        log_missing = torch.where(odds < -30, odds, softplus(odds.clamp_min(-30)).log()) - math.log(math.log(2))
        log_mean = (log_missing + share.log()).logsumexp(dim=(1, 2))
        log_lost = torch.logaddexp(log_lost, log_mean - math.log(bits))
        squares = ((log_missing.exp() - log_mean.exp()[:, None, None]) ** 2 * share).sum(dim=(1, 2))
        dispersion += squares / bits
    return BitChannel(log_lost, dispersion)


def at_db(table: Tensor, sinr_db: Tensor) -> Tensor:
    """[...] a table of `BitChannel` at these SINRs, linear between its steps and constant beyond them."""
    place = ((sinr_db - _LOW_DB) / _STEP_DB).clamp(0, len(table) - 1)
    lower = place.floor().clamp_max(len(table) - 2)
    values = table.to(device=sinr_db.device, dtype=sinr_db.dtype)
    index = lower.long()
    return torch.lerp(values[index], values[index + 1], place - lower)


def information(sinr: Tensor, order: int) -> Tensor:
    """[...] mutual information, bit per coded bit, at a linear SINR.

    Examples
    --------
    >>> [round(float(i), 3) for i in information(torch.tensor([0.1, 1.0, 1e4]), 4)]
    [0.028, 0.225, 1.0]
    """
    return -torch.expm1(at_db(bit_channel(order).log_lost, 10 * sinr.clamp_min(1e-6).log10()))


def effective_sinr(sinr: Tensor, order: int, dim: int = -1) -> Tensor:
    """SINR of the flat channel that carries the mean information of these.

    Parameters
    ----------
    sinr
        Linear, float32 or float64; resource blocks or moments along `dim`.
    order
        Bits a symbol, one of ORDERS.
    dim
        Which goes.

    Returns
    -------
    Tensor
        Linear, between the least and the largest; held within -30 and 45 dB.

    Examples
    --------
    >>> blocks = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    >>> [round(float(effective_sinr(blocks, order)), 2) for order in (2, 8)]
    [2.81, 13.11]
    """
    table = bit_channel(order).log_lost.to(device=sinr.device, dtype=sinr.dtype)
    lost = at_db(table, 10 * sinr.clamp_min(1e-6).log10())
    mean = (lost.logsumexp(dim) - math.log(sinr.shape[dim])).contiguous()
    rising = -table
    upper = torch.searchsorted(rising, -mean).clamp(1, len(table) - 1)
    below, above = table[upper - 1], table[upper]
    part = ((mean - below) / (above - below)).clamp(0, 1)
    out: Tensor = 10 ** ((_LOW_DB + _STEP_DB * (upper - 1 + part)) / 10)
    return out

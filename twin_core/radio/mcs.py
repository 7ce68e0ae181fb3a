"""Link adaptation: modulation and coding schemes, their block errors over effective SINR, and what gets through.

3GPP names schemes (TS 38.214) and target error rates, but no curve: errors are the receiver's. Here a code block of n
coded and k information bits fails with the normal approximation of finite block length (Polyanskiy, Poor and Verdu,
IEEE Trans. Inf. Theory 56(5), 2010),

    Q((n C - k + log2(n) / 2) / sqrt(n V)),

with information C and dispersion V of a bit of its modulation (`twin_core.radio.modulation`), at a SINR lessened by an
implementation loss. A transport block fails where one of its code blocks does (TS 38.212 5.2.2). Retransmissions
bring as many coded bits again, and the receiver decodes over all of them (incremental redundancy: Caire and Tuninetti,
IEEE Trans. Inf. Theory 47(5), 2001).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from twin_core.exceptions import InvalidSettings
from twin_core.radio.modulation import at_db, bit_channel

Tensor = torch.Tensor

# Largest code block, bits, of LDPC base graph 1, and of base graph 2, which codes at rates up to 1/4 (TS 38.212 5.2.2,
# 7.2.2); each block carries a checksum of 24 bits.
_CODE_BLOCK, _LOW_RATE_CODE_BLOCK, _LOW_RATE, _CHECKSUM = 8448, 3840, 0.25, 24
# Where thresholds are looked for, dB.
_LOW_DB, _HIGH_DB, _STEP_DB = -20.0, 40.0, 0.01


@dataclass(frozen=True)
class SchemeTable:
    """Modulation and coding schemes in the order of their index, the axis M.

    Attributes
    ----------
    name
        Where they stand.
    orders
        [M] bits a symbol.
    rates
        [M] information bits in 1024 coded bits.
    """

    name: str
    orders: tuple[int, ...]
    rates: tuple[float, ...]

    @property
    def efficiency(self) -> tuple[float, ...]:
        """[M] bit per resource element, to the four decimals that 3GPP prints.

        Examples
        --------
        >>> MCS_64QAM.efficiency[15]
        2.4063
        """
        return tuple(math.floor(q * r / 1024 * 1e4 + 0.5) / 1e4 for q, r in zip(self.orders, self.rates, strict=True))


# TS 38.214 Table 5.2.2.1-2, CQI 1..15 (0 is out of range).
CQI = SchemeTable(
    "TS 38.214 Table 5.2.2.1-2",
    (2,) * 6 + (4,) * 3 + (6,) * 6,
    (78, 120, 193, 308, 449, 602, 378, 490, 616, 466, 567, 666, 772, 873, 948),
)
# TS 38.214 Table 5.1.3.1-1, MCS 0..28.
MCS_64QAM = SchemeTable(
    "TS 38.214 Table 5.1.3.1-1",
    (2,) * 10 + (4,) * 7 + (6,) * 12,
    (120, 157, 193, 251, 308, 379, 449, 526, 602, 679, 340, 378, 434, 490, 553, 616, 658,
     438, 466, 517, 567, 616, 666, 719, 772, 822, 873, 910, 948),
)  # fmt: skip
# TS 38.214 Table 5.1.3.1-2, MCS 0..27.
MCS_256QAM = SchemeTable(
    "TS 38.214 Table 5.1.3.1-2",
    (2,) * 5 + (4,) * 6 + (6,) * 9 + (8,) * 8,
    (120, 193, 308, 449, 602, 378, 434, 490, 553, 616, 658, 466, 517, 567, 616, 666, 719, 772, 822, 873,
     682.5, 711, 754, 797, 841, 885, 916.5, 948),
)  # fmt: skip


@dataclass(frozen=True)
class LinkAdaptation:
    """How a cell chooses schemes, and what its users' receivers make of them.

    Attributes
    ----------
    schemes
        What it may choose from.
    target_bler
        Block error rate of a first transmission that is still accepted: 0.1 is what CQI is defined by, 1e-5 what
        URLLC asks of one (TS 38.214 5.2.2.1).
    resource_elements
        Of a transport block; 4000 are some 28 resource blocks for a slot (assumption).
    loss_db
        By how much a receiver falls short of the normal approximation: decoding and channel estimation (assumption).
    transmissions
        Of one block, the first counted in, before it is given up to higher layers.
    """

    schemes: SchemeTable = MCS_64QAM
    target_bler: float = 0.1
    resource_elements: int = 4000
    loss_db: float = 1.0
    transmissions: int = 4

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        if not 0 < self.target_bler < 1:
            raise InvalidSettings(f"target_bler is {self.target_bler}; give a probability between 0 and 1")
        if self.resource_elements < 100 or self.transmissions < 1 or not -10 <= self.loss_db <= 20:
            raise InvalidSettings(
                f"LinkAdaptation with {self.resource_elements} resource elements, {self.transmissions} transmissions "
                f"and a loss of {self.loss_db} dB; give at least 100, at least 1, and -10 to 20 dB"
            )

    def bler(self, sinr: Tensor, transmissions: int = 1) -> Tensor:
        """Probability that a block is not decoded after so many transmissions.

        Parameters
        ----------
        sinr
            [...] linear effective SINR of each of them (`modulation.effective_sinr`), float32 or float64.

        Returns
        -------
        Tensor
            [..., M].

        Examples
        --------
        >>> errors = LinkAdaptation().bler(torch.tensor([1.0, 10.0], dtype=torch.float64))
        >>> [[round(float(e), 3) for e in row[[3, 6, 15]]] for row in errors]
        [[0.0, 0.996, 1.0], [0.0, 0.0, 0.0]]
        """
        sinr_db = 10 * sinr.clamp_min(1e-6).log10() - self.loss_db
        channels = {q: bit_channel(q) for q in dict.fromkeys(self.schemes.orders)}
        carried = {q: -torch.expm1(at_db(c.log_lost, sinr_db)) for q, c in channels.items()}
        spread = {q: at_db(c.dispersion, sinr_db).clamp_min(1e-9) for q, c in channels.items()}
        out = []
        for order, rate in zip(self.schemes.orders, self.schemes.rates, strict=True):
            blocks = self._code_blocks(order, rate)
            sent = self.resource_elements * order * transmissions / blocks
            margin = carried[order] - rate / 1024 / transmissions + math.log2(sent) / (2 * sent)
            arrived = torch.special.log_ndtr(margin * (sent / spread[order]).sqrt())
            out.append(-torch.expm1(blocks * arrived))
        return torch.stack(out, dim=-1)

    def _code_blocks(self, order: int, rate: float) -> int:
        """How many code blocks a transport block is cut into."""
        bits = self.resource_elements * order * rate / 1024
        largest = _LOW_RATE_CODE_BLOCK if rate / 1024 <= _LOW_RATE else _CODE_BLOCK
        return 1 if bits <= largest else math.ceil(bits / (largest - _CHECKSUM))

    def mean_transmissions(self, sinr: Tensor) -> Tensor:
        """[..., M] of a block until it is decoded or given up."""
        return self._repeated(sinr)[0]

    def goodput(self, sinr: Tensor) -> Tensor:
        """[..., M] bit that arrive per resource element sent, retransmissions counted in: renewal and reward."""
        sent, lost = self._repeated(sinr)
        return sinr.new_tensor(self.schemes.efficiency) * (1 - lost) / sent

    def _repeated(self, sinr: Tensor) -> tuple[Tensor, Tensor]:
        """[..., M] mean transmissions of a block, and the probability that it is given up."""
        failed = self.bler(sinr)
        sent = torch.ones_like(failed)
        for n in range(2, self.transmissions + 1):
            sent = sent + failed
            failed = torch.minimum(failed, self.bler(sinr, n))
        return sent, failed

    def allowed(self, sinr: Tensor) -> Tensor:
        """[..., M] which schemes keep to the target."""
        return self.bler(sinr) <= self.target_bler

    def choose(self, sinr: Tensor) -> Tensor:
        """[...] index of the scheme by which most arrives among those that keep to the target, -1 where none does.

        Examples
        --------
        >>> LinkAdaptation().choose(torch.tensor([0.01, 1.0, 10.0, 1e4], dtype=torch.float64)).tolist()
        [-1, 5, 18, 28]
        """
        rate = torch.where(self.allowed(sinr), self.goodput(sinr), 0.0).max(dim=-1)
        return torch.where(rate.values > 0, rate.indices, -1)

    def rate(self, sinr: Tensor) -> Tensor:
        """[...] bit per resource element that arrive by the scheme of `choose`; never falls as SINR rises.

        Examples
        --------
        >>> rates = LinkAdaptation().rate(torch.tensor([0.01, 1.0, 10.0, 1e4], dtype=torch.float64))
        >>> [round(float(r), 2) for r in rates]
        [0.0, 0.74, 2.73, 5.55]
        """
        return torch.where(self.allowed(sinr), self.goodput(sinr), 0.0).amax(dim=-1)


@lru_cache(maxsize=32)
def thresholds_db(link: LinkAdaptation) -> tuple[float, ...]:
    """[M] SINR from which each scheme keeps to the target block error rate, dB.

    With the schemes of CQI and 10 % these are the SINRs at which a user reports each CQI (TS 38.214 5.2.2.1).

    Examples
    --------
    >>> [round(t, 1) for t in thresholds_db(LinkAdaptation(CQI))][::7]
    [-8.2, 6.1, 19.7]
    """
    db = torch.arange(_LOW_DB, _HIGH_DB, _STEP_DB, dtype=torch.float64)
    first = link.allowed(10 ** (db / 10)).double().argmax(dim=0)
    return tuple(db[first].tolist())

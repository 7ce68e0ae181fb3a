"""Traffic of the low-latency slice: small packets of some users, on a grid of cycles, in sessions, with its own day.

What a user sends depends on the seed and the time alone, never on what the network serves.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infra.network.arrays import Floats, Index, Words
from infra.network.draws import Draws, Purpose, entities
from infra.network.parameters import Parameters
from infra.network.traffic import at_hour

_WORD_DRAWS = 4  # a word of 64 bits gives four draws of 16
_MOST_IN_A_CYCLE = 40


def poisson_table(mean: float) -> NDArray[np.uint8]:
    """[65536] quantiles of the Poisson distribution: a 16-bit word becomes a count by look-up.

    >>> float(poisson_table(1.0).mean().round(3)), float(poisson_table(1.0).var().round(2))
    (1.0, 1.0)
    """
    counts = np.arange(1, _MOST_IN_A_CYCLE)
    probability = np.exp(-mean) * np.concatenate([[1.0], np.cumprod(mean / counts)])
    middle = (np.arange(65536) + 0.5) / 65536
    return np.searchsorted(np.cumsum(probability), middle).astype(np.uint8)


class PacketTraffic:
    """Packets of the M users who carry such traffic.

    Attributes
    ----------
    counts
        [F, T, J] packets of the F users in session, in each of the step's T scheduler slices and their J cycles.
    packet_kbit
        [F] size of one of them.
    cycle_s
        Length of a cycle.
    """

    STATE = ("_row", "packet_kbit", "counts")

    def __init__(self, parameters: Parameters, draws: Draws, who: Words, slice_ms: int) -> None:
        p = self._p = parameters.slices.packets
        self._draws = draws
        member = draws.uniform(Purpose.SLICE, 0, who) < p.user_share
        self._members: Index = np.flatnonzero(member & parameters.slices.enabled)
        self._who = who[self._members]
        self._session_ms = round(1000 * p.session_s)
        self._phase_ms = (draws.uniform(Purpose.SLICE, 1, self._who) * self._session_ms).astype(np.int64)
        self._cycles = max(1, slice_ms // p.cycle_ms)
        self.cycle_s = slice_ms / 1000 / self._cycles
        self.mean_kbps = 1000 / p.cycle_ms * p.packets_per_cycle * p.packet_kbit
        self._table = poisson_table(p.packets_per_cycle * 1000 * self.cycle_s / p.cycle_ms)
        words = -(-self._cycles // _WORD_DRAWS)
        self._words = entities(self._members[:, None], np.arange(words)[None, :])
        self._row: Index = np.zeros(0, dtype=np.intp)
        self.packet_kbit: Floats = np.zeros(0)
        self.counts: NDArray[np.uint8] = np.zeros((0, 1, self._cycles), np.uint8)

    @property
    def enabled(self) -> bool:
        """Whether anybody carries packets at any time."""
        return self._members.size > 0

    @property
    def user(self) -> Index:
        """[F] who is in session."""
        out: Index = self._members[self._row]
        return out

    def change_sessions(self, now_ms: int, factor: Floats) -> None:
        """Who is in session from now on, each from block to block of time of their own.

        Parameters
        ----------
        factor
            [P] of a surge of demand: larger packets.
        """
        first = now_ms // self._session_ms
        later = (now_ms + self._phase_ms) // self._session_ms - first
        u = self._draws.uniform(Purpose.SESSION, (first, first + 1), self._who)
        p = self._p
        often = [p.session_share * at_hour(p.hour_shape, block * self._session_ms) for block in (first, first + 1)]
        self._row = np.flatnonzero(u[later, np.arange(later.size)] < np.array(often)[later])
        self.packet_kbit = p.packet_kbit * factor[self.user]

    def send(self, ends_ms: Sequence[int]) -> None:
        """Draw the packets of a step whose scheduler slices end at these times."""
        bits = self._draws.bits(Purpose.PACKET, ends_ms, self._words[self._row])  # [T, F, words]
        counts = self._table.take(bits.view(np.uint16)[:, :, : self._cycles])
        self.counts = counts.transpose(1, 0, 2)

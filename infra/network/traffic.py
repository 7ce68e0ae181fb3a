"""What users ask for: requests in a Poisson stream of their own pace, files of log-normal size, a daily shape."""

from collections.abc import Sequence

import numpy as np

from infra.network.arrays import Floats, Words
from infra.network.draws import Draws, Purpose, entities
from infra.network.parameters import Parameters

_MOST_PER_SLICE = 4  # arrivals of one user in one scheduler slice; more have a probability below 1e-5


def at_hour(hour_shape: Sequence[float], now_ms: int) -> float:
    """Day shape at that time, linear between full hours."""
    hour = now_ms / 3_600_000 % 24
    i = int(hour)
    a, b = hour_shape[i], hour_shape[(i + 1) % 24]
    return a + (hour - i) * (b - a)


class Traffic:
    """Demand of P users. Nothing here depends on what the network serves."""

    def __init__(self, parameters: Parameters, draws: Draws, hotspot_xy: Floats) -> None:
        self._p = parameters.traffic
        self._crowds = parameters.effects.crowds
        self._draws = draws
        self.who: Words = entities(np.arange(parameters.layout.users))
        self._hotspot_xy = hotspot_xy
        self._hotspots = entities(np.arange(len(hotspot_xy)))
        sigma = self._p.user_weight_sigma_ln
        self._weight = np.exp(sigma * draws.normal(Purpose.USER, 2, self.who) - sigma**2 / 2)
        self._median_kbit = self._p.file_mean_kbit * np.exp(-(self._p.file_sigma_ln**2) / 2)

    def shape(self, now_ms: int) -> float:
        """Day shape at that time."""
        return at_hour(self._p.hour_shape, now_ms)

    def rates(self, x_m: Floats, y_m: Floats, now_ms: int) -> Floats:
        """[P] requests per second, before surges."""
        rate = self._weight * (self.shape(now_ms) / self._p.request_interval_s)
        block_ms = round(self._crowds.block_s * 1000)
        block, into = divmod(now_ms, block_ms)
        u = self._draws.uniform(Purpose.CROWD, 2 * block, self._hotspots)
        low, high = self._crowds.factor
        # Crowds gather and part within a tenth of the block.
        ramp = min(1.0, 10 * min(into, block_ms - into) / block_ms)
        for h in np.flatnonzero(u < self._crowds.probability):
            factor = self._draws.between(Purpose.CROWD, 2 * block + 1, self._hotspots[h : h + 1], low, high)[0]
            near = np.hypot(x_m - self._hotspot_xy[h, 0], y_m - self._hotspot_xy[h, 1]) < self._crowds.radius_m
            rate = np.where(near, rate * (1 + ramp * (factor - 1)), rate)
        return rate

    def arrivals_kbit(self, rate: Floats, slice_s: float, ends_ms: Sequence[int]) -> Floats:
        """[K, P] kbit that users ask for in slices that end at ``ends_ms``."""
        tail = self._draws.uniform(Purpose.ARRIVAL, ends_ms, self.who)
        mean = rate * slice_s
        offered = np.zeros_like(tail)
        # Inversion of the Poisson distribution, one comparison a possible count.
        probability = np.exp(-mean)
        tail -= probability
        for count in range(1, _MOST_PER_SLICE + 1):
            rows, users = (tail > 0).nonzero()
            if not users.size:
                break
            times = [end * 8 + count for end in ends_ms]
            z = self._draws.normal_at(Purpose.FILE, times, rows, self.who[users])
            offered[rows, users] += self._median_kbit * np.exp(self._p.file_sigma_ln * z)
            probability = probability * mean / count
            tail -= probability
        return offered

"""A synthetic network to try the engine on: telemetry of a world that the twin does not know.

Its radio is one draw of TR 38.901 (`twin_core.radio.drop`): who is in sight, walls, correlated shadowing, all of which
the twin knows only the mean of and has to learn. Users come and go, walk nowhere, and download what they like; cells
are loaded by them and disturb each other by their load. Rates, throughput and watts go by formulas of their own.

For notebooks and first steps. It is no judge of the twin, whose path loss and antennas it shares; the reference network
of the full installation shares nothing with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.topology import Topology
from twin_core.exceptions import InvalidSettings
from twin_core.network import DEFAULT_TILT_DEG, Network
from twin_core.observation import PeriodObservation
from twin_core.radio.drop import DropSettings, drop

Floats = NDArray[np.float64]

# Of those who live in the area so many are connected at a time, and so many of those leave in a period.
_CONNECTED, _LEAVING = 1 / 3, 0.1
# Shannon's bound times so much, up to 256-QAM; what control and reference signals leave of a carrier.
_SHANNON, _MOST_BITS, _DATA = 0.65, 6.0, 0.82
_NOISE_FIGURE_DB, _WEAKEST_DBM, _REPORTED_CELLS = 7.0, -125.0, 6
_IDLE_W, _LOADED_W = 200.0, 400.0
# Errors of a report's RSRP, dB, and of a counter, log.
_RSRP_ERROR_DB, _COUNTER_ERROR = 1.5, 0.03
_ITERATIONS = 40


@dataclass(frozen=True)
class Crowd:
    """Who uses the example.

    Attributes
    ----------
    users_per_cell
        Connected at a time, on average.
    kbps_per_user
        What one wants, on average.
    indoor_share
        Of users that are in buildings.
    """

    users_per_cell: float = 20.0
    kbps_per_user: float = 300.0
    indoor_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse a crowd that is none."""
        if not (0 < self.users_per_cell < 1e4 and 0 < self.kbps_per_user < 1e9):
            raise InvalidSettings(
                f"{self.users_per_cell} users a cell of {self.kbps_per_user} kbit/s are no crowd; give positive numbers"
            )


def observations(
    topology: Topology, periods: int = 30, seed: int = 1, crowd: Crowd | None = None
) -> Iterator[PeriodObservation]:
    """What a synthetic network under its default configuration reports, period by period.

    Parameters
    ----------
    topology
        Its cells.
    periods
        How many; the first ends one granularity period after the epoch.
    seed
        Of everything that is drawn; the same seed gives the same telemetry.
    crowd
        Who uses it.

    Raises
    ------
    InvalidSettings
        If the crowd is impossible.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> from twin_core.twin import Twin
    >>> twin = Twin.create(hexagonal(sites=1))
    >>> for seen in observations(twin.network.topology, periods=3):
    ...     twin = twin.apply(seen, {})
    >>> twin.revision, sorted(seen.counters)
    (3, ['DRB.PdcpSduVolumeDL', 'DRB.UEThpDl', 'RRC.ConnMean', 'RRU.PrbTotDl'])
    """
    world = _World(topology, seed, crowd or Crowd())
    for period in range(1, periods + 1):
        yield world.report(period)


class _World:
    def __init__(self, topology: Topology, seed: int, crowd: Crowd) -> None:
        self._network, self._random = Network.of(topology), np.random.default_rng(seed)
        network, self._cells = self._network, len(topology.cells)
        count = max(1, round(crowd.users_per_cell * self._cells / _CONNECTED))
        users = drop(topology, count, seed, DropSettings(indoor_share=crowd.indoor_share), DEFAULT_TILT_DEG)
        self._x, self._y = users.x_m.numpy(), users.y_m.numpy()
        self._rsrp: Floats = (network.rated_dbm - network.subcarriers_db + users.gain_db).numpy()
        self._wants = crowd.kbps_per_user * self._random.gamma(2.0, 0.5, count)
        self._here = self._random.random(count) < _CONNECTED
        self._carrier: Floats = _DATA * 12 * (network.prbs * network.scs_khz).numpy()
        self._noise: Floats = (10 ** ((network.thermal_noise_dbm + _NOISE_FIGURE_DB) / 10)).numpy()
        self._disturbs = network.co_channel.numpy().astype(np.float64)

    def report(self, period: int) -> PeriodObservation:
        """Let a period pass."""
        random, cells = self._random, self._cells
        self._come_and_go()
        user = np.flatnonzero(self._here)
        rsrp, kbps = self._rsrp[user], self._wants[user] * random.gamma(25.0, 1 / 25, len(user))
        kbps = kbps * (1 + 0.2 * np.sin(period / 15))
        serving = rsrp.argmax(axis=1)
        load, rate, sinr = self._loaded(rsrp, serving, kbps)
        wanted, airtime = (np.bincount(serving, v, cells) for v in (kbps, kbps / rate))
        with np.errstate(invalid="ignore", divide="ignore"):
            throughput = wanted / airtime * np.maximum(1 - load, 0.03)
        error = np.exp(random.normal(0, _COUNTER_ERROR, (3, cells)))
        seconds = self._network.topology.granularity_s
        watts = torch.from_numpy(_IDLE_W + _LOADED_W * load)
        power = torch.zeros(len(self._network.elements), dtype=torch.float64)
        return PeriodObservation(
            period_end_ms=1000 * seconds * period,
            granularity_s=seconds,
            counters={
                "RRU.PrbTotDl": np.clip(100 * load * error[0], 0, 100),
                "DRB.UEThpDl": throughput * error[1],
                "DRB.PdcpSduVolumeDL": wanted / np.maximum(airtime, 1) * seconds * error[2],
                "RRC.ConnMean": np.bincount(serving, minlength=cells).astype(np.float64),
            },
            element_power_w=power.index_add_(0, self._network.element_of, watts).numpy(),
            mr_cell_rsrp=self._heard(rsrp),
            mr_serving=serving,
            mr_sinr_db=10 * np.log10(sinr),
            mr_x_m=self._x[user],
            mr_y_m=self._y[user],
        )

    def _come_and_go(self) -> None:
        chance = np.where(self._here, _LEAVING, _LEAVING * _CONNECTED / (1 - _CONNECTED))
        self._here ^= self._random.random(len(chance)) < chance

    def _loaded(self, rsrp: Floats, serving: NDArray[np.int64], kbps: Floats) -> tuple[Floats, Floats, Floats]:
        """[C] loads at which users get what they want, as far as there is room; their rates and SINR."""
        mw, user = 10 ** (rsrp / 10), np.arange(len(rsrp))
        own, load = mw[user, serving], np.full(self._cells, 0.3)
        for _ in range(_ITERATIONS):
            others = (mw * load * self._disturbs[serving]).sum(axis=1) - own * load[serving]
            sinr = own / (others.clip(0) + self._noise[serving])
            bits = np.minimum(_SHANNON * np.log2(1 + sinr), _MOST_BITS)
            rate = self._carrier[serving] * np.maximum(bits, 0.02)
            load = 0.5 * load + 0.5 * np.minimum(np.bincount(serving, kbps / rate, self._cells), 1)
        return load, rate, sinr

    def _heard(self, rsrp: Floats) -> Floats:
        """[N, C] reports: the strongest few cells, as far as they are heard."""
        rank = np.argsort(np.argsort(-rsrp, axis=1, kind="stable"), axis=1)
        measured = rsrp + self._random.normal(0, _RSRP_ERROR_DB, rsrp.shape)
        return np.where((rank < _REPORTED_CELLS) & (measured > _WEAKEST_DBM), measured, np.nan)

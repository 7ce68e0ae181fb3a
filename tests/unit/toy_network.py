"""A small network simulated with NumPy at the level of users, for tests of the twin. Its equations are its own.

Loss by distance as in TR 36.942, parabolic antennas, own correlated shadowing, users that walk and download files,
handover with hysteresis, load coupling by damped iteration, multiplicative noise on counters.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from schemas.names import beam_dn, relation_dn, sector_carrier_dn
from schemas.topology import Topology
from twin_core.configuration import Value
from twin_core.layouts import hexagonal
from twin_core.observation import PeriodObservation
from twin_core.settings import TwinSettings
from twin_core.twin import Twin

Array = NDArray[np.float64]
_NOISE_MW = 10 ** ((-174 + 10 * np.log10(30e3) + 7) / 10)


@dataclass
class ToyNetwork:
    """Users, cells and counters of a network of `topology`."""

    topology: Topology
    seed: int = 1
    users: int = 300
    kbps_per_user: float = 900.0
    offset_db: float = 7.0
    shadow_db: float = 6.0
    noise: float = 0.05
    period: int = 0
    tilt_deg: Array = field(init=False)
    power_dbm: Array = field(init=False)
    cio_db: Array = field(init=False)
    active: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        """Draw the world that stays."""
        cells = self.topology.cells
        self.c = len(cells)
        self.random = np.random.default_rng(self.seed)
        self.cell_xy = np.array([(c.x_m, c.y_m) for c in cells])
        self.azimuth = np.radians([c.azimuth_deg for c in cells])
        self.tilt_deg = np.full(self.c, 6.0)
        self.power_dbm = np.full(self.c, 46.0)
        self.cio_db = np.zeros((self.c, self.c))
        self.active = np.ones(self.c, dtype=bool)
        self.cell_gain = self.random.normal(0, 2, self.c)
        reach = np.abs(self.cell_xy).max() + 350
        self.reach = float(reach)
        n = int(2 * reach / 25) + 2
        white = self.random.normal(size=(n, n, self.c + 1))
        self.shadow = _blur(white, 2.5) * self.shadow_db
        centres = self.cell_xy[self.random.integers(self.c, size=self.users)]
        self.xy = centres + self.random.normal(0, 170, (self.users, 2))
        self.home = self.xy.copy()
        self.activity = self.random.gamma(2.0, 0.5, self.users)
        self.serving = np.full(self.users, -1)

    def rsrp_dbm(self) -> Array:
        """[U, C] at the users' places."""
        d = self.xy[:, None] - self.cell_xy[None]
        distance = np.hypot(d[..., 0], d[..., 1])
        off = np.degrees(np.arctan2(d[..., 0], d[..., 1])) - np.degrees(self.azimuth)
        off = (off + 180) % 360 - 180
        below = np.degrees(np.arctan2(23.5, distance)) - self.tilt_deg
        antenna = 16 - np.minimum(np.minimum(12 * (off / 70) ** 2, 25) + np.minimum(12 * (below / 12) ** 2, 20), 25)
        loss = 128.1 + 37.6 * np.log10(np.maximum(distance, 20) / 1000) + self.offset_db
        i = np.clip(((self.xy + self.reach) / 25).astype(int), 0, self.shadow.shape[0] - 1)
        shadow = self.shadow[i[:, 0], i[:, 1]]
        shadow = np.sqrt(0.5) * (shadow[:, :1] + shadow[:, 1:])
        power = self.power_dbm - 10 * np.log10(12 * np.array([c.prbs for c in self.topology.cells]))
        out = power + antenna - loss + shadow + self.cell_gain
        return np.where(self.active, out, -np.inf)

    def step(self) -> PeriodObservation:
        """Let a period pass and report it."""
        self.period += 1
        self.xy += self.random.normal(0, 25, self.xy.shape) + 0.05 * (self.home - self.xy)
        rsrp = self.rsrp_dbm()
        best = rsrp.argmax(axis=1)
        first = (self.serving < 0) | ~self.active[self.serving]
        self.serving[first] = best[first]
        u = np.arange(self.users)
        for _ in range(3):
            margin = rsrp + self.cio_db[self.serving] - rsrp[u, self.serving][:, None] - 2.0
            target = margin.argmax(axis=1)
            moves = (margin[u, target] > 0) & (target != self.serving)
            self.serving[moves] = target[moves]
        files = self.random.poisson(6.0, self.users)
        offered = self.kbps_per_user * self.activity * files / 6.0 * (1 + 0.2 * np.sin(self.period / 40))
        mw = 10 ** (rsrp / 10)
        own = mw[u, self.serving]
        load = np.full(self.c, 0.3)
        carrier = np.array([c.prbs * 0.36e3 for c in self.topology.cells])
        for _ in range(40):
            interference = mw @ load - own * load[self.serving]
            rate = carrier[self.serving] * np.minimum(0.9 * np.log2(1 + own / (interference + _NOISE_MW)), 7.0) + 50
            load = 0.5 * load + 0.5 * np.minimum(np.bincount(self.serving, offered / rate, self.c), 1.0)
        sums = {k: np.bincount(self.serving, v, self.c) for k, v in (("kbps", offered), ("air", offered / rate))}
        served = np.where(sums["air"] > 1, sums["kbps"] / np.maximum(sums["air"], 1e-9), sums["kbps"])
        with np.errstate(divide="ignore", invalid="ignore"):
            throughput = 0.7 * sums["kbps"] / sums["air"] * np.maximum(1 - load, 0.05)
        heard = np.where(rsrp >= np.sort(rsrp, axis=1)[:, -min(6, self.c)][:, None], rsrp, np.nan)
        heard = np.where(np.isfinite(heard) & (heard > -125), heard + self.random.normal(0, 1.5, heard.shape), np.nan)
        watts = np.where(self.active, 190 + 420 * load, 40.0)
        elements = [c.cell.split(",GNBDU")[0] for c in self.topology.cells]
        names = {e: i for i, e in enumerate(self.topology.managed_elements)}
        jitter = np.exp(self.random.normal(0, self.noise, (3, self.c)))
        return PeriodObservation(
            period_end_ms=self.period * 60_000,
            granularity_s=60,
            counters={
                "RRU.PrbTotDl": np.clip(100 * load * jitter[0], 0, 100),
                "DRB.UEThpDl": np.where(self.active, throughput * jitter[1], np.nan),
                "DRB.PdcpSduVolumeDL": served * 60 * jitter[2],
                "RRC.ConnMean": np.bincount(self.serving, minlength=self.c).astype(float),
            },
            element_power_w=np.bincount([names[e] for e in elements], watts).astype(np.float64),
            mr_cell_rsrp=heard,
            mr_serving=self.serving.copy(),
            mr_sinr_db=10 * np.log10(own / (interference + _NOISE_MW)),
            mr_x_m=self.xy[:, 0].copy(),
            mr_y_m=self.xy[:, 1].copy(),
            configuration=self.configuration(),
        )

    def configuration(self) -> dict[tuple[str, str], Value]:
        """Power, tilt and state of every cell, and the relations with a bias."""
        out: dict[tuple[str, str], Value] = {}
        for i, cell in enumerate(self.topology.cell_names):
            out[sector_carrier_dn(cell), "configuredMaxTxPower"] = round(10 ** (self.power_dbm[i] / 10), 3)
            out[beam_dn(cell), "digitalTilt"] = 10 * float(self.tilt_deg[i])
            out[cell, "administrativeState"] = "UNLOCKED" if self.active[i] else "LOCKED"
            for j in np.flatnonzero(self.cio_db[i]):
                target = self.topology.cell_names[j]
                out[relation_dn(cell, target), "cellIndividualOffset"] = float(self.cio_db[i, j])
        return out


def _blur(white: Array, length: float) -> Array:
    """Correlate white noise over `length` steps along the first two axes, back to unit variance."""
    k = np.exp(-0.5 * (np.arange(-8, 9) / length) ** 2)
    for axis in (0, 1):
        white = np.apply_along_axis(np.convolve, axis, white, k, mode="same")
    return np.asarray(white / white.std())


@dataclass(frozen=True)
class Run:
    """A toy network beside twins of it.

    Attributes
    ----------
    observations
        What it reported, period by period.
    twin, uncalibrated
        After all of it.
    """

    network: ToyNetwork
    observations: tuple[PeriodObservation, ...]
    twin: Twin
    uncalibrated: Twin


@cache
def run(periods: int = 25, seed: int = 1) -> Run:
    """A network of 21 cells and what twins made of it; every caller gets the same, so leave it alone."""
    network = ToyNetwork(hexagonal(sites=7, network_id="toy"), seed)
    twin = Twin.create(network.topology)
    uncalibrated = Twin.create(network.topology, TwinSettings(calibrate=False))
    observations = []
    for period in range(periods):
        seen = network.step()
        observations.append(seen)
        twin = twin.apply(seen, {"telemetry.pm/0": period + 1})
        uncalibrated = uncalibrated.apply(seen, {"telemetry.pm/0": period + 1})
    return Run(network, tuple(observations), twin, uncalibrated)

"""The outside world: everything that no command can change.

People move and ask for data, bodies and walls attenuate, channels fade, instruments err and gains drift. Each draw is
counter-based, so two runs with one seed see the same world, byte for byte, whatever was commanded in between;
``digest`` is the proof. Only an injected surge changes it, because that is what it is for.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from infra.network.arrays import Floats
from infra.network.draws import Draws, Purpose, entities
from infra.network.layout import Sites
from infra.network.mobility import Mobility
from infra.network.packets import PacketTraffic
from infra.network.parameters import Parameters
from infra.network.terrain import Terrain
from infra.network.traffic import Traffic

_INDOOR_RAMP_DB_PER_S = 3.0  # doors are walked through, not jumped through
_SECOND_MS = 1000
_SLOW_MS = 5000
MEASUREMENT_MS = 200  # TS 38.331 5.5.3.2: one filter sample each 200 ms; longer steps measure once a step


@dataclass(frozen=True)
class Surge:
    """More demand than usual within a disc."""

    x_m: float
    y_m: float
    radius_m: float
    factor: float


class World:
    """Users and terrain of one seed.

    Attributes
    ----------
    offered_kbit
        [K, P] what users ask for in each of the step's K scheduler slices.
    noise_db
        [P, C] error of the latest layer-1 measurement.
    fading_db
        [K, P] deviation of the serving channel from its local mean in each slice.
    user_loss_db
        [P] walls and bodies.
    gain_offset_db
        [C] what a cell's gain is off by.
    """

    STATE = ("offered_kbit", "noise_db", "fading_db", "_indoor_db", "_body_db", "gain_offset_db", "_rate")

    def __init__(self, sites: Sites, parameters: Parameters, seed: int, start_ms: int, step_ms: int) -> None:
        self._p = parameters
        self.draws = Draws(seed)
        self.terrain = Terrain.draw(sites, parameters, self.draws)
        self.mobility = Mobility(sites, parameters, self.draws, self.terrain.half_m, start_ms)
        self.traffic = Traffic(parameters, self.draws, self.mobility.hotspot_xy)
        self._sites = sites
        users = parameters.layout.users
        self.who = self.mobility.who
        self.slices = max(1, round(step_ms / 1000 / parameters.time.scheduler_step_s))
        self._slice_ms = step_ms // self.slices
        self.packets = PacketTraffic(parameters, self.draws, self.who, self._slice_ms)
        groups = -(-sites.cells // 4)
        self._links = entities(np.arange(users)[:, None], np.arange(groups)[None, :])
        spread = self.draws.normal(Purpose.USER, 3, self.who)
        p = parameters.propagation
        self._wall_db = np.maximum(p.indoor_loss_db + p.indoor_loss_spread_db * spread, 2.0)
        self._indoor_db = np.where(self.mobility.indoor, self._wall_db, 0.0)
        self._body_db = np.zeros(users)
        self._fading_block_ms = round(parameters.link.fading_block_s * 1000)
        self.offered_kbit = np.zeros((self.slices, users))
        self.fading_db = np.zeros((self.slices, users))
        self.noise_db = np.zeros((users, sites.cells))
        drift, masts = parameters.effects.gain_drift, entities(np.arange(len(sites.x_m)))
        self._drift_ms = 3_600_000 * self.draws.between(Purpose.DRIFT, 0, masts, *drift.period_h)
        self._drift_phase = 2 * np.pi * self.draws.uniform(Purpose.DRIFT, 1, masts)
        fixed = self.draws.normal(Purpose.DRIFT, 2, entities(np.arange(sites.cells)))
        self._fixed_offset_db = drift.offset_sigma_db * fixed
        self._change_slowly(start_ms)
        self._change_demand(start_ms, ())

    @property
    def x_m(self) -> Floats:
        """[P] metres east."""
        return self.mobility.x_m

    @property
    def y_m(self) -> Floats:
        """[P] metres north."""
        return self.mobility.y_m

    @property
    def user_loss_db(self) -> Floats:
        """[P] walls and bodies, dB."""
        return self._indoor_db + self._body_db

    def advance(self, step_ms: int, now_ms: int, surges: tuple[Surge, ...] = ()) -> None:
        """One step that ends at ``now_ms``."""
        step_s = step_ms / 1000
        self.mobility.advance(step_s, now_ms)
        wall = np.where(self.mobility.indoor, self._wall_db, 0.0)
        most = _INDOOR_RAMP_DB_PER_S * step_s
        self._indoor_db += np.minimum(np.maximum(wall - self._indoor_db, -most), most)
        if now_ms % _SLOW_MS == 0:
            self._change_slowly(now_ms)
        if now_ms % _SECOND_MS == 0:
            self._change_demand(now_ms, surges)
        ends_ms = range(now_ms - (self.slices - 1) * self._slice_ms, now_ms + 1, self._slice_ms)
        self.offered_kbit = self.traffic.arrivals_kbit(self._rate, self._slice_ms / 1000, ends_ms)
        if self.packets.enabled:
            self.packets.send(ends_ms)
        blocks = [end // self._fading_block_ms for end in ends_ms]
        self.fading_db = self.draws.normal(Purpose.FADING, blocks, self.who)
        self.fading_db *= self._p.link.fading_sigma_db
        if self.measures(now_ms):
            noise = self.draws.normals(Purpose.MEASUREMENT, now_ms, self._links)
            self.noise_db = noise[:, : self._sites.cells]
            self.noise_db *= self._p.handover.noise_sigma_db

    @staticmethod
    def measures(now_ms: int) -> bool:
        """Whether users measure in the step that ends now."""
        return now_ms % MEASUREMENT_MS == 0

    def _change_demand(self, now_ms: int, surges: tuple[Surge, ...]) -> None:
        """What people ask for from now on, surges on top."""
        factor = np.ones(len(self.who))
        for s in surges:
            near = np.hypot(self.x_m - s.x_m, self.y_m - s.y_m) <= s.radius_m
            factor[near] *= s.factor
        self._rate = self.traffic.rates(self.x_m, self.y_m, now_ms) * factor
        if self.packets.enabled:
            self.packets.change_sessions(now_ms, factor)

    def _change_slowly(self, now_ms: int) -> None:
        """Who holds a phone to the head, how gains have drifted."""
        body = self._p.effects.body_loss
        block = now_ms // round(body.block_s * 1000)
        held = self.draws.uniform(Purpose.BODY, block, self.who) < body.share
        self._body_db = np.where(held, body.db, 0.0)
        wander = np.sin(2 * np.pi * now_ms / self._drift_ms + self._drift_phase)
        amplitude_db = self._p.effects.gain_drift.amplitude_db
        self.gain_offset_db = amplitude_db * wander[self._sites.site_of] + self._fixed_offset_db

    def digest(self) -> str:
        """sha256 of everything the world holds and drew in the last step."""
        h = hashlib.sha256(self.terrain.loss_db.tobytes())
        for part in (self.x_m, self.y_m, self.user_loss_db, self.offered_kbit, self.fading_db, self.noise_db):
            h.update(part.tobytes())
        h.update(self.gain_offset_db.tobytes())
        h.update(self.packets.user.tobytes() + self.packets.packet_kbit.tobytes() + self.packets.counts.tobytes())
        return h.hexdigest()

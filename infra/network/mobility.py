"""How people move: pedestrians roam around their anchors and rest, vehicles follow a street grid.

Every user has two anchors (home and work) and prefers one by the hour, so that load moves through the day.
"""

import numpy as np

from infra.network.arrays import Flags, Floats, Index, Words
from infra.network.draws import Draws, Purpose, entities
from infra.network.layout import Sites
from infra.network.parameters import Parameters

HOME, WORK = 0, 1
_DECISION_MS = 1000  # where to go next is decided at full seconds


class Mobility:
    """Positions of P users, advanced in steps."""

    STATE = ("x_m", "y_m", "_ux", "_uy", "_speed", "_left_m", "_rest_s", "_leg", "_moving", "_indoor")

    def __init__(self, sites: Sites, parameters: Parameters, draws: Draws, half_m: float, now_ms: int) -> None:
        p = parameters.mobility
        users = parameters.layout.users
        self._p, self._draws = p, draws
        self._indoor_share = parameters.propagation.indoor_share
        self.who: Words = entities(np.arange(users))
        self.pedestrian: Flags = draws.uniform(Purpose.USER, 0, self.who) < p.pedestrian_share
        self._limit = half_m - 2 * parameters.propagation.pixel_m
        self.hotspot_xy = _hotspots(sites, parameters, draws)
        self._anchor = np.stack([self._anchors(sites, parameters, which) for which in (HOME, WORK)])  # [2, P, 2]
        self._roam = np.where(self.pedestrian, p.pedestrian_roam_m, p.vehicle_roam_m)
        self._rest_mean = np.where(self.pedestrian, p.pedestrian_rest_s, p.vehicle_rest_s)
        # Everybody starts at an anchor, resting for a part of a rest.
        at = self._anchor[HOME]
        self.x_m: Floats = at[:, 0].copy()
        self.y_m: Floats = at[:, 1].copy()
        self._ux, self._uy = np.zeros(users), np.zeros(users)
        self._speed, self._left_m = np.zeros(users), np.zeros(users)
        self._rest_s = self._rest_mean * draws.uniform(Purpose.REST, 0, self.who)
        self._leg = np.zeros(users, np.int64)
        self._moving = np.zeros(users, bool)
        self._indoor = self.pedestrian & (draws.uniform(Purpose.USER, 1, self.who) < self._indoor_share)

    @property
    def indoor(self) -> Flags:
        """[P] who rests inside a building."""
        return self._indoor

    def _anchors(self, sites: Sites, parameters: Parameters, which: int) -> Floats:
        p, draws = self._p, self._draws
        u = draws.uniform(Purpose.ANCHOR, which, entities(np.arange(len(self.who))[:, None], np.arange(4)[None, :]))
        g = draws.normal(Purpose.ANCHOR, 8 + which, entities(np.arange(len(self.who))[:, None], np.arange(2)[None, :]))
        # Homes keep to the first half of the hot spots, work to the second.
        half = max(1, p.hotspots // 2)
        first = 0 if which == HOME else p.hotspots - half
        hot = self.hotspot_xy[first + (u[:, 1] * half).astype(np.intp)] + p.hotspot_radius_m * g
        site = (u[:, 1] * len(sites.x_m)).astype(np.intp)
        radius = parameters.layout.isd_m / np.sqrt(3) * np.sqrt(u[:, 2])
        angle = 2 * np.pi * u[:, 3]
        around = np.stack([sites.x_m[site] + radius * np.cos(angle), sites.y_m[site] + radius * np.sin(angle)], 1)
        return np.where((u[:, 0] < p.hotspot_share)[:, None], hot, around).clip(-self._limit, self._limit)

    def advance(self, step_s: float, now_ms: int) -> None:
        """Move everybody by one step that ends at ``now_ms``."""
        move = self._speed * step_s
        np.minimum(move, self._left_m, out=move)
        self.x_m += self._ux * move
        self.y_m += self._uy * move
        self._left_m -= move
        self._rest_s -= step_s
        if now_ms % _DECISION_MS == 0:
            done = self._left_m <= 0
            done &= self._rest_s <= 0
            arrived = (done & self._moving).nonzero()[0]
            ready = (done & ~self._moving).nonzero()[0]
            if arrived.size:
                self._arrive(arrived)
            if ready.size:
                self._depart(ready, now_ms)

    def _arrive(self, at: Index) -> None:
        leg = self._leg[at]
        who = entities(at, leg)
        # Half of the vehicles drive on without a stop.
        u = self._draws.uniform(Purpose.REST, 1, who)
        rest = -self._rest_mean[at] * np.log1p(-u)
        self._rest_s[at] = np.where(self.pedestrian[at] | (u > 0.5), rest, 0.0)
        self._moving[at] = False
        self._speed[at] = 0.0
        inside = self._draws.uniform(Purpose.REST, 2, who) < self._indoor_share
        self._indoor[at] = self.pedestrian[at] & inside

    def _depart(self, at: Index, now_ms: int) -> None:
        p = self._p
        self._leg[at] += 1
        leg = self._leg[at]
        pedestrian = self.pedestrian[at]
        # A vehicle's trip has two legs, first along x, then along y.
        trip = np.where(pedestrian, leg, leg // 2)
        who = entities(at, trip)
        hour = now_ms / 3_600_000 % 24
        share = p.work_share if p.work_hours[0] <= hour < p.work_hours[1] else 0.0
        which = (self._draws.uniform(Purpose.LEG, 0, who) < share).astype(np.intp)
        anchor = self._anchor[which, at]
        goal_x = anchor[:, 0] + self._roam[at] * self._draws.normal(Purpose.LEG, 1, who)
        goal_y = anchor[:, 1] + self._roam[at] * self._draws.normal(Purpose.LEG, 2, who)
        street_x, street_y = (np.round(g / p.street_m) * p.street_m for g in (goal_x, goal_y))
        along_x = leg % 2 == 0
        goal_x = np.where(pedestrian, goal_x, np.where(along_x, street_x, self.x_m[at])).clip(-self._limit, self._limit)
        goal_y = np.where(pedestrian, goal_y, np.where(along_x, self.y_m[at], street_y)).clip(-self._limit, self._limit)
        dx, dy = goal_x - self.x_m[at], goal_y - self.y_m[at]
        length = np.hypot(dx, dy)
        safe = np.maximum(length, 1e-9)
        self._ux[at], self._uy[at] = dx / safe, dy / safe
        self._left_m[at] = length
        u = self._draws.uniform(Purpose.LEG, 3, entities(at, leg))
        walk = p.pedestrian_speed_mps[0] + u * (p.pedestrian_speed_mps[1] - p.pedestrian_speed_mps[0])
        drive = p.vehicle_speed_mps[0] + u * (p.vehicle_speed_mps[1] - p.vehicle_speed_mps[0])
        self._speed[at] = np.where(pedestrian, walk, drive)
        self._moving[at] = True
        self._indoor[at] = False


def _hotspots(sites: Sites, parameters: Parameters, draws: Draws) -> Floats:
    """[H, 2] places where many people are, each in the area of some site."""
    u = draws.uniform(
        Purpose.HOTSPOT, 0, entities(np.arange(parameters.mobility.hotspots)[:, None], np.arange(3)[None, :])
    )
    site = (u[:, 0] * len(sites.x_m)).astype(np.intp)
    radius = parameters.layout.isd_m * (0.15 + 0.3 * u[:, 1])
    angle = 2 * np.pi * u[:, 2]
    return np.stack([sites.x_m[site] + radius * np.cos(angle), sites.y_m[site] + radius * np.sin(angle)], 1)

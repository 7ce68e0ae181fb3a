"""Terrain: what the signal of each site loses on its way to each place. Drawn once a run, changed by nobody."""

from dataclasses import dataclass

import numpy as np

from infra.network.arrays import Floats
from infra.network.draws import Draws, Purpose, entities
from infra.network.layout import Sites
from infra.network.parameters import Parameters, Propagation

USER_HEIGHT_M = 1.5


def path_loss_db(distance_m: Floats, law: Propagation) -> Floats:
    """Mean loss over 3D distance: two slopes that meet at the corner. The network's own law, from no standard."""
    d = np.maximum(distance_m, law.min_distance_m)
    near = law.intercept_db + 10 * law.slope_near * np.log10(np.minimum(d, law.corner_m))
    out: Floats = near + 10 * law.slope_far * np.log10(np.maximum(d, law.corner_m) / law.corner_m)
    return out


@dataclass(frozen=True)
class Terrain:
    """Rasters of G = side x side pixels over a square around the origin; row-major, y first."""

    side: int
    half_m: float
    pixel_m: float
    loss_db: Floats  # [E, G] path loss with shadowing and clutter
    elevation_deg: Floats  # [E, G] below the horizon, seen from the antenna
    bearing_deg: Floats  # [E, G] clockwise from north, seen from the antenna

    @classmethod
    def draw(cls, sites: Sites, parameters: Parameters, draws: Draws) -> "Terrain":
        """Draw shadowing and clutter and add up the losses."""
        law = parameters.propagation
        reach = float(np.hypot(sites.x_m, sites.y_m).max()) + law.margin_m
        side = 2 * int(np.ceil(reach / law.pixel_m)) + 1
        half = (side - 1) / 2 * law.pixel_m
        axis = np.linspace(-half, half, side)
        x, y = (a.ravel() for a in np.meshgrid(axis, axis))
        dx, dy = x - sites.x_m[:, None], y - sites.y_m[:, None]
        ground = np.hypot(dx, dy)
        drop = sites.height_m[:, None] - USER_HEIGHT_M
        shadow = _shadowing(side, len(sites.x_m), law, draws)
        return cls(
            side=side,
            half_m=half,
            pixel_m=law.pixel_m,
            loss_db=path_loss_db(np.hypot(ground, drop), law) + shadow + _patches(x, y, half, parameters, draws),
            elevation_deg=np.degrees(np.arctan2(drop, np.maximum(ground, 1.0))),
            bearing_deg=np.degrees(np.arctan2(dx, dy)) % 360,
        )


def _shadowing(side: int, sites: int, law: Propagation, draws: Draws) -> Floats:
    """[E, G] log-normal shadowing: white noise filtered to an exponential correlation, partly common to all sites."""
    who = entities(np.arange(sites + 1)[:, None], np.arange(side * side)[None, :])
    white = draws.normal(Purpose.SHADOW, 0, who).reshape(sites + 1, side, side)
    lag = np.minimum(np.arange(side), side - np.arange(side)) * law.pixel_m
    correlation = np.exp(-np.hypot(lag[:, None], lag[None, :]) / law.shadow_decorrelation_m)
    spectrum = np.sqrt(np.maximum(np.fft.fft2(correlation).real, 0))
    fields = np.fft.ifft2(np.fft.fft2(white) * spectrum).real.reshape(sites + 1, -1)
    common, own = fields[0], fields[1:]
    rho = law.shadow_site_correlation
    out: Floats = law.shadow_sigma_db * (np.sqrt(rho) * common + np.sqrt(1 - rho) * own)
    return out


def _patches(x: Floats, y: Floats, half: float, parameters: Parameters, draws: Draws) -> Floats:
    """[G] extra loss of woods and blocks; where patches overlap the denser one counts."""
    p = parameters.effects.clutter_patches
    loss = np.zeros_like(x)
    if not p.count:
        return loss
    u = draws.uniform(Purpose.PATCH, 0, entities(np.arange(p.count)[:, None], np.arange(4)[None, :]))
    for cx, cy, radius, depth in zip(
        (2 * u[:, 0] - 1) * half,
        (2 * u[:, 1] - 1) * half,
        p.radius_m[0] + u[:, 2] * (p.radius_m[1] - p.radius_m[0]),
        p.loss_db[0] + u[:, 3] * (p.loss_db[1] - p.loss_db[0]),
        strict=True,
    ):
        # A soft edge of a quarter of the radius: nobody loses 10 dB within a step.
        inside = np.clip((1 - np.hypot(x - cx, y - cy) / radius) * 4, 0, 1)
        loss = np.maximum(loss, depth * inside)
    return loss

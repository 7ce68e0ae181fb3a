"""What of each cell's signal arrives where: antennas over terrain, looked up at users' positions."""

import numpy as np

from infra.network.arrays import Floats
from infra.network.layout import Sites
from infra.network.parameters import Antenna, Parameters
from infra.network.terrain import Terrain

_LN_PER_DB = np.log(10) / 10


def beam_db(off_deg: Floats, width_deg: float, floor_db: float) -> Floats:
    """Loss off the beam's axis: parabolic near it (3 dB at half the width), levelling off at the floor.

    The network's own pattern: smooth, without the hard knee of TR 38.901 Table 7.3-1.
    """
    out: Floats = floor_db * (1 - np.exp(-12 * (off_deg / width_deg) ** 2 / floor_db))
    return out


class Radio:
    """Gain maps of all cells, kept in step with their tilts.

    Parameters
    ----------
    tilt_tenths
        [C] digitalTilt, 0.1 degree.
    """

    def __init__(self, sites: Sites, terrain: Terrain, parameters: Parameters, tilt_tenths: Floats) -> None:
        self._antenna: Antenna = parameters.antenna
        self._mechanical = parameters.layout.mechanical_tilt_deg
        self._terrain = terrain
        self._sites = sites
        off = (terrain.bearing_deg[sites.site_of] - sites.azimuth_deg[:, None] + 180) % 360 - 180
        a = self._antenna
        self._untilted = a.gain_dbi - beam_db(off, a.horizontal_beam_deg, a.horizontal_floor_db)
        self._untilted -= terrain.loss_db[sites.site_of]
        # Pixel-major: the gains of all cells at one place lie side by side, so that a look-up reads one row.
        self._gain_db = np.empty((terrain.side**2, sites.cells))
        self._tilt = np.full(sites.cells, np.nan)
        self.set_tilts(tilt_tenths)

    def set_tilts(self, tilt_tenths: Floats) -> bool:
        """Recompute the maps of the cells whose tilt changed; returns whether one did."""
        a = self._antenna
        changed = np.flatnonzero(tilt_tenths != self._tilt)
        for cell in changed:
            tilt_deg = self._mechanical + tilt_tenths[cell] / 10
            off = self._terrain.elevation_deg[self._sites.site_of[cell]] - tilt_deg
            vertical = beam_db(off, a.vertical_beam_deg, a.vertical_floor_db)
            self._gain_db[:, cell] = self._untilted[cell] - vertical
        self._tilt = tilt_tenths.copy()
        return changed.size > 0

    def gain_db(self, x_m: Floats, y_m: Floats) -> Floats:
        """[N, C] gain from antenna port to places, bilinear between pixels; places off the map see its border."""
        t = self._terrain
        column = np.minimum(np.maximum((x_m + t.half_m) / t.pixel_m, 0), t.side - 1.001)
        row = np.minimum(np.maximum((y_m + t.half_m) / t.pixel_m, 0), t.side - 1.001)
        i, j = column.astype(np.intp), row.astype(np.intp)
        fx, fy = (column - i)[:, None], (row - j)[:, None]
        at = j * t.side + i
        gain = self._gain_db
        out = gain.take(at, axis=0)
        lower = gain.take(at + 1, axis=0)
        lower -= out
        lower *= fx
        out += lower
        upper = gain.take(at + t.side, axis=0)
        corner = gain.take(at + t.side + 1, axis=0)
        corner -= upper
        corner *= fx
        upper += corner
        upper -= out
        upper *= fy
        out += upper
        return out


class Paths:
    """The path from every cell to every user, looked up anew when a user has moved or is attenuated otherwise.

    Attributes
    ----------
    gain_db, gain
        [P, C] from antenna port to user, walls and bodies included; dB and linear.
    """

    STATE = ("_x_m", "_y_m", "_loss_db")
    _STALE_M = 1.0  # a tenth of a pixel: shadowing does not change within it

    def __init__(self, radio: Radio, x_m: Floats, y_m: Floats, loss_db: Floats) -> None:
        self._radio = radio
        self._x_m, self._y_m, self._loss_db = x_m.copy(), y_m.copy(), loss_db.copy()
        self.refresh()

    def refresh(self) -> None:
        """Look everybody up again: a tilt changed, or a saved state was loaded."""
        self.gain_db = self._radio.gain_db(self._x_m, self._y_m) - self._loss_db[:, None]
        self.gain = np.exp(_LN_PER_DB * self.gain_db)

    def follow(self, x_m: Floats, y_m: Floats, loss_db: Floats) -> None:
        """Look up those who have moved or are attenuated otherwise."""
        moved = np.abs(x_m - self._x_m) + np.abs(y_m - self._y_m) > self._STALE_M
        moved |= loss_db != self._loss_db
        at = moved.nonzero()[0]
        if at.size:
            self._x_m[at], self._y_m[at], self._loss_db[at] = x_m[at], y_m[at], loss_db[at]
            rows = self._radio.gain_db(x_m[at], y_m[at])
            rows -= loss_db[at, None]
            self.gain_db[at] = rows
            self.gain[at] = np.exp(_LN_PER_DB * rows)

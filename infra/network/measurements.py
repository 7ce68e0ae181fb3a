"""Measurement reports: what users see of the cells around them, as they report it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.network.arrays import Floats
from infra.network.connections import Connections
from infra.network.draws import Purpose, entities
from infra.network.layout import Sites
from infra.network.parameters import Parameters
from infra.network.world import World

Codes = NDArray[np.int64]
_MISSING = 0  # code of a value that was not measured
_OFFSET = 500  # code of 0 in units of half a dB (SINR) or one dB (RSRP)


class Batch(NamedTuple):
    """Reports made at one moment, one row each."""

    time_ms: Codes  # [N]
    user: Codes  # [N]
    serving: Codes  # [N]
    x_m: Floats  # [N] NaN where unknown
    y_m: Floats  # [N]
    sinr: Codes  # [N] half dB
    rsrp: Codes  # [N, C] whole dB


class Measurements:
    """Collects reports during a period and writes them as JSON by managed element."""

    def __init__(self, sites: Sites, parameters: Parameters, world: World) -> None:
        self._p = parameters.measurement
        self._sites, self._world = sites, world
        draws = world.draws
        self._known = draws.uniform(Purpose.POSITION, 0, world.who) < self._p.known_position_share
        interval_s = max(1, round(self._p.report_interval_s))
        self._interval_s = interval_s
        self._phase = (draws.uniform(Purpose.REPORT, 0, world.who) * interval_s).astype(np.int64)
        self._pseudonym = [f"u-{word:016x}" for word in draws.bits(Purpose.PSEUDONYM, 0, world.who).tolist()]
        self._batches: list[Batch] = []
        self._rsrp_text = np.array(["null", *(str(i - _OFFSET) for i in range(1, 1001))], dtype=object)
        self._sinr_text = np.array(["null", *(repr((i - _OFFSET) / 2) for i in range(1, 1001))], dtype=object)

    def take(self, connections: Connections, now_ms: int) -> None:
        """Reports of the connected users whose turn it is at this full second."""
        due = (now_ms // 1000 + self._phase) % self._interval_s == 0
        user = np.flatnonzero(due & connections.connected & connections.attached)
        if not user.size:
            return
        serving = connections.serving[user]
        levels = connections.filtered_dbm[user]
        shown = levels.copy()
        rows = np.arange(user.size)
        shown[rows, serving] = np.inf  # the serving cell is always among those reported
        keep = min(self._p.neighbours + 1, shown.shape[1])
        limit = np.partition(shown, -keep, axis=1)[:, -keep]
        reported = (shown >= limit[:, None]) & (levels >= self._p.rsrp_floor_dbm)
        reported[rows, serving] = True
        rsrp = np.where(reported, np.rint(np.clip(levels, -156, -31)).astype(np.int64) + _OFFSET, _MISSING)
        noise = (
            self._world.draws.normal(Purpose.POSITION, now_ms, entities(user[:, None], np.arange(2)[None, :]))
            * self._p.position_sigma_m
        )
        known = self._known[user]
        sinr = np.rint(2 * np.clip(connections.sinr_db[user], -23, 40)).astype(np.int64) + _OFFSET
        self._batches.append(
            Batch(
                np.full(user.size, now_ms, np.int64),
                user,
                serving.astype(np.int64),
                np.where(known, self._world.x_m[user] + noise[:, 0], np.nan),
                np.where(known, self._world.y_m[user] + noise[:, 1], np.nan),
                sinr,
                rsrp,
            )
        )

    def clear(self) -> None:
        """Forget what was collected."""
        self._batches = []

    def write(self, period_end_ms: int) -> Iterator[tuple[str, str]]:
        """Managed element and JSON of its MeasurementReport, for each element with reports; then start anew."""
        if not self._batches:
            return
        everything = Batch._make(np.concatenate(column) for column in zip(*self._batches, strict=True))
        self._batches = []
        names = self._sites.topology.cell_names
        site = self._sites.site_of[everything.serving]
        for e, element in enumerate(self._sites.topology.managed_elements):
            rows = np.flatnonzero(site == e)
            if rows.size:
                yield (
                    element,
                    self._json(Batch._make(column[rows] for column in everything), element, names, period_end_ms),
                )

    def _json(self, b: Batch, element: str, names: tuple[str, ...], period_end_ms: int) -> str:
        seen = np.flatnonzero((b.rsrp != _MISSING).any(axis=0))
        column = np.full(len(names), -1)
        column[seen] = np.arange(seen.size)
        cells = ",".join(f'"{names[c]}"' for c in seen)
        ue = ",".join(f'"{self._pseudonym[u]}"' for u in b.user.tolist())
        return (
            f'{{"network_id":"{self._sites.topology.network_id}","event_id":"mr:{element}:{period_end_ms}",'
            f'"managed_element":"{element}","time_ms":{period_end_ms},"cells":[{cells}],'
            f'"report_ms":{_ints(b.time_ms)},"ue":[{ue}],"x_m":{_metres(b.x_m)},"y_m":{_metres(b.y_m)},'
            f'"serving":{_ints(column[b.serving])},"sinr_db":[{",".join(self._sinr_text[b.sinr])}],'
            f'"rsrp_dbm":[{",".join(self._rsrp_text[b.rsrp[:, seen].ravel()])}]}}'
        )

    def held(self) -> dict[str, NDArray[np.generic]]:
        """What was collected, as columns for a saved state."""
        if not self._batches:
            return {}
        return {n: np.concatenate([getattr(b, n) for b in self._batches]) for n in Batch._fields}

    def hold(self, columns: dict[str, NDArray[np.generic]]) -> None:
        """Continue from saved columns."""
        self._batches = [Batch(**columns)] if columns else []  # type: ignore[arg-type]


def _ints(values: NDArray[np.int64]) -> str:
    return "[" + ",".join(map(str, values.tolist())) + "]"


def _metres(values: Floats) -> str:
    return "[" + ",".join("null" if v != v else f"{v:.1f}" for v in values.tolist()) + "]"

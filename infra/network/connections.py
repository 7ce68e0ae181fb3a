"""Who is connected where: camping, access, A3 handovers, radio link failures and re-establishment.

Every user camps on a cell (idle) or is connected to it. Connected users hand over by event A3 (TS 38.331 5.5.4.4)
with hysteresis, time-to-trigger and the source cell's individual offset towards the neighbour. A connection that
fails is re-established in the strongest cell, and the failure is classified as TS 38.300 15.5.2 does.
"""

from dataclasses import dataclass

import numpy as np

from infra.network.arrays import Flags, Floats, Index, Words
from infra.network.draws import Draws, Purpose
from infra.network.parameters import Parameters
from infra.network.tally import Tally
from infra.network.world import MEASUREMENT_MS

_LONG_AGO_MS = -(10**12)
_RETRY_S = 1.0


@dataclass
class View:
    """The radio of one step, seen by P users of C cells."""

    rsrp_dbm: Floats  # [P, C]
    power_mw: Floats  # [P, C] per resource element at full activity
    activity: Floats  # [C] share of downlink power that is on the air
    total_mw: Floats  # [P] all cells at their activity, with noise
    off: Flags  # [C] out of service
    barred: Flags  # [C] takes nobody new
    shedding: Flags  # [C] gets rid of its users

    def sinr_db(self, user: Index | slice, cell: Index) -> Floats:
        """SINR of users, were they served by these cells."""
        rows = np.arange(len(self.total_mw)) if isinstance(user, slice) else user
        mine = self.power_mw[rows, cell]
        out: Floats = 10 * np.log10(mine / (self.total_mw[rows] - mine * self.activity[cell]))
        return out


class Connections:
    """RRC state of P users."""

    STATE = (
        "serving",
        "attached",
        "connected",
        "filtered_dbm",
        "sinr_db",
        "blocked_s",
        "_timer_s",
        "_wait_s",
        "_idle_s",
        "_bad_s",
        "_source",
        "_moved_ms",
        "_failed_cell",
        "_failed_ms",
    )

    def __init__(self, parameters: Parameters, draws: Draws, who: Words, site_of: Index, rsrp_dbm: Floats) -> None:
        self._p = parameters.handover
        self._draws, self._who, self._site_of = draws, who, site_of
        users, cells = rsrp_dbm.shape
        self._all = np.arange(users)
        step_s = parameters.time.step_s
        self._sample_s = max(step_s, MEASUREMENT_MS / 1000)
        self._forget = 1 - 2.0 ** (-(self._p.filter_k / 4) * self._sample_s / (MEASUREMENT_MS / 1000))
        self._step_s = step_s
        self.filtered_dbm = rsrp_dbm.copy()
        self.serving: Index = rsrp_dbm.argmax(axis=1)
        self.attached = np.ones(users, bool)
        self.connected = np.zeros(users, bool)
        self.sinr_db = np.zeros(users)
        self.blocked_s = np.zeros(users)  # interruption still to come
        self._timer_s = np.zeros((users, cells))
        self._wait_s = np.zeros(users)  # until a lost or refused user tries again
        self._idle_s = np.zeros(users)
        self._bad_s = np.zeros(users)  # out of synchronisation, T310
        self._source: Index = np.full(users, -1, dtype=np.intp)  # where the last handover came from
        self._moved_ms = np.full(users, _LONG_AGO_MS, np.int64)
        self._failed_cell: Index = np.full(users, -1, dtype=np.intp)
        self._failed_ms = np.full(users, _LONG_AGO_MS, np.int64)

    def step(
        self, view: View, noise_db: Floats | None, cio_db: Floats, waiting: Flags, now_ms: int, tally: Tally
    ) -> None:
        """One step: measure, hand over, fail, recover, connect, release.

        Parameters
        ----------
        noise_db
            [P, C] error of this step's measurement; None in a step without one.
        cio_db
            [C, C] cellIndividualOffset, source by target.
        waiting
            [P] who has data to get.
        """
        np.maximum(self._wait_s - self._step_s, 0, out=self._wait_s)
        np.maximum(self.blocked_s - self._step_s, 0, out=self.blocked_s)
        if noise_db is not None:
            # F = (1 - a) F + a M, TS 38.331 5.5.3.2
            change = view.rsrp_dbm + noise_db
            change -= self.filtered_dbm
            change *= self._forget
            self.filtered_dbm += change
            self._hand_over(view, cio_db, now_ms, tally)
        if now_ms % 1000 == 0:
            self._reselect(view)
        self.sinr_db = view.sinr_db(slice(None), self.serving)
        self._lose(view, now_ms)
        self._recover(view, now_ms, tally)
        self._connect(waiting, now_ms, tally)

    def usable(self) -> Flags:
        """[P] who can be scheduled."""
        out: Flags = self.connected & self.attached & (self.blocked_s < self._step_s / 2)
        return out

    def _reselect(self, view: View) -> None:
        """Idle users camp on a clearly stronger cell."""
        idle = (self.attached & ~self.connected).nonzero()[0]
        if idle.size:
            levels = np.where(view.barred, -np.inf, self.filtered_dbm[idle])
            best = levels.argmax(axis=1)
            mine = np.where(view.barred[self.serving[idle]], -999.0, self.filtered_dbm[idle, self.serving[idle]])
            better = levels[np.arange(idle.size), best] > mine + self._p.reselection_hysteresis_db
            self.serving[idle[better]] = best[better]

    def _hand_over(self, view: View, cio_db: Floats, now_ms: int, tally: Tally) -> None:
        p = self._p
        serving = self.serving
        mine = self.filtered_dbm[self._all, serving] + (p.a3_offset_db + p.hysteresis_db)
        if view.shedding.any():
            mine = np.where(view.shedding[serving], p.access_rsrp_dbm, mine)
        excess = cio_db.take(serving, axis=0)
        excess += self.filtered_dbm
        excess -= mine[:, None]
        excess[self._all, serving] = -1.0
        if view.barred.any():
            excess[:, view.barred] = -1.0
        self._timer_s += self._sample_s
        self._timer_s *= excess > 0
        ready = self._timer_s >= p.time_to_trigger_s
        go = (ready.any(axis=1) & self.connected & self.attached).nonzero()[0]
        if go.size:
            target = np.where(ready[go], excess[go], -np.inf).argmax(axis=1)
            self._execute(go, target, view, now_ms, tally)

    def _execute(self, user: Index, target: Index, view: View, now_ms: int, tally: Tally) -> None:
        p = self._p
        source = self.serving[user]
        inter = self._site_of[source] != self._site_of[target]
        tally.add_at("ho_inter_req", source[inter])
        tally.add_at("ho_intra_req", source[~inter])
        lost = _below(view.sinr_db(user, source), p.command_sinr_db, p.fail_width_db)
        failed = _below(view.sinr_db(user, target), p.fail_sinr_db, p.fail_width_db)
        u = self._draws.uniform(Purpose.EXECUTION, 4 * now_ms, self._who[user])
        v = self._draws.uniform(Purpose.EXECUTION, 4 * now_ms + 1, self._who[user])
        unheard = u < lost
        missed = ~unheard & (v < failed)
        good = ~unheard & ~missed
        tally.add_at("ho_inter_succ", source[inter & good])
        tally.add_at("ho_intra_succ", source[~inter & good])
        tally.add_at("ho_inter_fail", source[inter & ~good])
        back = good & (target == self._source[user]) & (now_ms - self._moved_ms[user] <= 1000 * p.ping_pong_s)
        tally.add_at("ping_pong", target[back])
        self._timer_s[user] = 0
        self._bad_s[user[good]] = 0
        self.serving[user[good]] = target[good]
        moved = user[good | missed]
        self._source[moved] = source[good | missed]
        self._moved_ms[moved] = now_ms
        self.blocked_s[user[good]] = p.interruption_s
        self._fail(user[unheard], source[unheard], now_ms)
        self._fail(user[missed], target[missed], now_ms)

    def _fail(self, user: Index, cell: Index, now_ms: int) -> None:
        """The connection is gone; the user looks for another cell."""
        self.attached[user] = False
        self._failed_cell[user] = cell
        self._failed_ms[user] = now_ms
        self._wait_s[user] = self._p.reestablishment_s
        self._bad_s[user] = 0

    def _lose(self, view: View, now_ms: int) -> None:
        p = self._p
        bad = self.sinr_db < np.where(self._bad_s > 0, p.in_sync_sinr_db, p.out_of_sync_sinr_db)
        self._bad_s += self._step_s
        self._bad_s *= bad
        gone = view.off[self.serving] & self.attached
        failing = self.connected & self.attached & (gone | (self._bad_s >= p.t310_s))
        if failing.any():
            user = failing.nonzero()[0]
            self._fail(user, self.serving[user], now_ms)
        if gone.any():
            self.attached[gone] = False

    def _recover(self, view: View, now_ms: int, tally: Tally) -> None:
        """Users without a cell take the strongest that lets them in."""
        user = (~self.attached & (self._wait_s <= 0)).nonzero()[0]
        if not user.size:
            return
        p = self._p
        levels = np.where(view.barred, -np.inf, self.filtered_dbm[user])
        best = levels.argmax(axis=1)
        heard = levels[np.arange(user.size), best] >= p.access_rsrp_dbm
        silent = user[~heard]
        self._wait_s[silent] = _RETRY_S
        self.connected[silent] = False
        user, best = user[heard], best[heard]
        self.attached[user] = True
        self.serving[user] = best
        self._timer_s[user] = 0
        again = self.connected[user]
        user, best = user[again], best[again]
        tally.add_at("reestab_att", best)
        failed, source = self._failed_cell[user], self._source[user]
        recent = (self._failed_ms[user] - self._moved_ms[user]) <= 1000 * p.recent_s
        elsewhere = best != failed
        tally.add_at("too_late", failed[~recent & elsewhere])
        tally.add_at("too_early", source[recent & elsewhere & (best == source)])
        tally.add_at("wrong_cell", source[recent & elsewhere & (best != source)])

    def _connect(self, waiting: Flags, now_ms: int, tally: Tally) -> None:
        p = self._p
        self._idle_s += self._step_s
        self._idle_s *= ~waiting
        self.connected &= self._idle_s < p.inactivity_s
        new = waiting & ~self.connected & self.attached & (self._wait_s <= 0)
        if not new.any():
            return
        user = new.nonzero()[0]
        cell = self.serving[user]
        tally.add_at("estab_att", cell)
        weak = self.filtered_dbm[user, cell] < p.access_rsrp_dbm
        refused = self._draws.uniform(Purpose.EXECUTION, 4 * now_ms + 2, self._who[user]) < _below(
            self.sinr_db[user], p.command_sinr_db, p.fail_width_db
        )
        good = ~weak & ~refused
        tally.add_at("estab_succ", cell[good])
        self.connected[user[good]] = True
        self._timer_s[user[good]] = 0
        self._bad_s[user[good]] = 0
        self._wait_s[user[~good]] = _RETRY_S


def _below(sinr_db: Floats, middle_db: float, width_db: float) -> Floats:
    """Probability of failure, one half at ``middle_db``."""
    out: Floats = 1 / (1 + np.exp(np.clip((sinr_db - middle_db) / width_db, -50, 50)))
    return out

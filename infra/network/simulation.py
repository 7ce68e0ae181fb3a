"""The network serving its world, step by step: who gets what from which cell, at what power.

One step of ``step_ms``:

1. the world moves on (nothing the network does matters to it);
2. what each user hears of each cell at present power and tilt;
3. connections: handovers, failures, access;
4. scheduling: each cell shares its time between the two slices of its service by their policies; packets are served
   from queues of their cell, files, one slice of time after the other, shared equally by those who wait;
5. the load that others will hear as interference, and the power drawn.

Traffic is conserved: offered = served + backlog + dropped, at every step.
"""

import numpy as np

from infra.network import link
from infra.network.arrays import Flags, Floats, Index
from infra.network.configuration import Configuration, Setting
from infra.network.connections import Connections, View
from infra.network.energy import cell_power_w
from infra.network.faults import Faults
from infra.network.layout import Sites
from infra.network.measurements import Measurements
from infra.network.packet_queues import serve
from infra.network.parameters import Parameters
from infra.network.radio import Paths, Radio
from infra.network.scheduler import share
from infra.network.slices import file_share, packet_share
from infra.network.tally import PACKETS, SERVED, Tally
from infra.network.world import World

_SILENT_DBM = -170.0  # per resource element, of a cell off the air
_THERMAL_DBM_PER_HZ = -174.0


class Simulation:
    """A running network of one seed.

    Attributes
    ----------
    now_ms
        Simulated time: the end of the last step.
    backlog_kbit, packet_backlog_kbit
        [P] what users still wait for: of files, of packets.
    offered_kbit, served_kbit, dropped_kbit
        Totals since the start.
    tally
        Sums of the present period.
    """

    STATE = ("backlog_kbit", "packet_backlog_kbit", "_stalled_s", "_load", "_off", "site_energy_ws")
    SCALARS = ("now_ms", "offered_kbit", "served_kbit", "dropped_kbit")

    def __init__(self, sites: Sites, parameters: Parameters, seed: int, start_ms: int) -> None:
        self.p, self.sites, self.seed = parameters, sites, seed
        self.step_ms = round(parameters.time.step_s * 1000)
        self.start_ms = start_ms
        self.now_ms = start_ms - round(1000 * parameters.time.warmup_s) // self.step_ms * self.step_ms
        self.configuration = Configuration(sites, parameters)
        self.faults = Faults(sites)
        self.world = World(sites, parameters, seed, self.now_ms, self.step_ms)
        self.radio = Radio(sites, self.world.terrain, parameters, self.configuration.tilt_tenths)
        users, cells = parameters.layout.users, sites.cells
        self._all = np.arange(users)
        noise_dbm = _THERMAL_DBM_PER_HZ + 10 * np.log10(parameters.layout.scs_khz * 1e3)
        self._noise_mw = 10 ** ((noise_dbm + parameters.propagation.noise_figure_db) / 10)
        self._off = np.zeros(cells, bool)
        self._load = np.zeros(cells)  # what the others hear as interference
        self.paths = Paths(self.radio, self.world.x_m, self.world.y_m, self.world.user_loss_db)
        heard = self._view().rsrp_dbm
        self.connections = Connections(parameters, self.world.draws, self.world.who, sites.site_of, heard)
        self.measurements = Measurements(sites, parameters, self.world)
        self.tally = Tally(cells)
        self.backlog_kbit = np.zeros(users)
        self.packet_backlog_kbit = np.zeros(users)
        self._stalled_s = np.zeros(users)
        self.site_energy_ws = np.zeros(len(sites.x_m))
        self.offered_kbit = self.served_kbit = self.dropped_kbit = 0.0

    def warm_up(self) -> None:
        """Run up to the start time, so that the first period begins with a network in use; counts are dropped."""
        while self.now_ms < self.start_ms:
            self.step()
        self.measurements.clear()
        self.clear_period()

    def clear_period(self) -> None:
        """Begin counting anew."""
        self.tally.clear()
        self.site_energy_ws[:] = 0

    @property
    def off(self) -> Flags:
        """[C] out of service in the last step, by order or fault."""
        return self._off

    def step(self) -> list[Setting]:
        """Advance by one step; returns attributes that changed by themselves."""
        self.now_ms += self.step_ms
        step_s = self.step_ms / 1000
        began_ms = self.now_ms - self.step_ms
        self.world.advance(self.step_ms, self.now_ms, self.faults.surges(began_ms))
        changed = self.configuration.advance(step_s, self._connected_by_cell())
        self._off = self.configuration.locked | self.faults.outage(began_ms)
        noise_db = self.world.noise_db if self.world.measures(self.now_ms) else None
        waiting = self.backlog_kbit > 0
        waiting[self.world.packets.user] = True
        self.connections.step(self._view(), noise_db, self.configuration.cio_db, waiting, self.now_ms, self.tally)
        self._serve(step_s)
        self._account(step_s)
        if self.now_ms % 1000 == 0:
            self.measurements.take(self.connections, self.now_ms)
        return changed

    def _view(self) -> View:
        """What arrives where at present power and load."""
        elements = 12 * self.p.layout.prbs
        sent_dbm = 10 * np.log10(self.configuration.power_mw / elements) + self.world.gain_offset_db
        sent_dbm[self._off] = _SILENT_DBM
        self.paths.follow(self.world.x_m, self.world.y_m, self.world.user_loss_db)
        power = self.paths.gain * 10 ** (sent_dbm / 10)
        idle = self.p.link.idle_activity
        activity = np.where(self._off, 0.0, idle + (1 - idle) * self._load)
        leaving = self.configuration.leaving
        return View(
            rsrp_dbm=self.paths.gain_db + sent_dbm,
            power_mw=power,
            activity=activity,
            total_mw=power @ activity + self._noise_mw,
            off=self._off,
            barred=leaving | self._off,
            shedding=leaving & ~self._off,
        )

    def _serve(self, step_s: float) -> None:
        """Step 4."""
        p, c, world = self.p, self.connections, self.world
        slice_s = step_s / world.slices
        sinr_db = c.sinr_db + world.fading_db  # [K, P]
        rates = link.full_rate_kbps(sinr_db, p)
        usable = c.usable() & ~self._off[c.serving] & (rates > 0)
        packets_s = self._serve_packets(rates, step_s) if world.packets.enabled else None
        parts = None if packets_s is None else file_share(self.configuration.ratios, packets_s / slice_s)
        served_any = np.zeros(len(self._all), bool)
        slices: list[tuple[Index, Floats]] = []
        for k in range(world.slices):
            self._ask(world.offered_kbit[k])
            user = (usable[k] & (self.backlog_kbit > 0)).nonzero()[0]
            if not user.size:
                continue
            cell = c.serving[user]
            count = np.bincount(cell, minlength=self.sites.cells)
            rate = rates[k, user]
            rate *= 1 + p.effects.scheduler_overhead.multiuser_gain * (1 - 1 / count[cell])
            backlog = self.backlog_kbit[user]
            part = None if parts is None else parts[:, k]
            got = share(cell, backlog / rate, slice_s, self.sites.cells, part)
            served = np.minimum(rate * got.service_s, backlog)
            self.backlog_kbit[user] = backlog - served
            served_any[user] = True
            waiting = got.present_s * np.minimum(backlog - served / 2, p.link.window_kbit)
            amounts = np.array(
                [got.service_s, served, got.present_s, waiting, world.fading_db[k, user], sinr_db[k, user]]
            )
            slices.append((cell, amounts))
        self._give_up(served_any, step_s)
        memory = min(1.0, step_s / p.link.load_memory_s)
        used_s = self._count(slices)
        if packets_s is not None:
            used_s = used_s + packets_s.sum(axis=1)
        self._load += memory * (used_s / step_s - self._load)

    def _serve_packets(self, rates: Floats, step_s: float) -> Floats:
        """Serve the queues of packets for a whole step; returns the time that they used in each of its slices, [C, T].

        Parameters
        ----------
        rates
            [T, P] kbit/s with the whole carrier.
        """
        c, cells, tally, packets = self.connections, self.sites.cells, self.tally, self.world.packets
        backlog = self.packet_backlog_kbit
        user = packets.user
        ended = backlog > 0
        ended[user] = False
        if ended.any():
            gone = ended.nonzero()[0]
            self._drop(c.serving[gone], backlog[gone])
            backlog[gone] = 0
        sent = packets.counts * packets.packet_kbit[:, None, None]
        asked = sent.sum(axis=(1, 2))
        self.offered_kbit += float(asked.sum())
        tally.add_at("offered_kbit", c.serving[user], asked)

        rate = rates.mean(axis=0)
        usable = c.usable() & ~self._off[c.serving] & (rate > 0)
        # Who waits for files, and for how much of the step: more than all of it is all of it.
        wanted = self.backlog_kbit + self.world.offered_kbit.sum(axis=0)
        reader = (usable & (wanted > 0)).nonzero()[0]
        reads = c.serving[reader]
        busy = np.minimum(np.bincount(reads, wanted[reader] / rate[reader], cells) / step_s, 1.0)
        now = usable[user]
        sender = user[now]
        cell = c.serving[sender]
        senders, readers = (np.bincount(c, minlength=cells).astype(float) for c in (cell, reads))
        speed = packet_share(self.configuration.ratios, senders, readers, busy)
        got = serve(cell, rate[sender], backlog[sender], sent[now], speed, packets.cycle_s)
        backlog[user] += asked
        backlog[sender] -= got.served_kbit
        np.maximum(backlog, 0, out=backlog)
        self.served_kbit += float(got.served_kbit.sum())
        self._discard(user, packets.packet_kbit)
        used_s = got.used_s.sum(axis=1)
        blocks = link.TRANSPORT_BLOCKS_PER_S * self.p.link.dl_share * used_s
        tally.add("blocks", blocks)
        tally.add("block_errors", blocks * self.p.link.bler_target)
        tally.add_all(PACKETS, used_s, got.cell_kbit, got.burst_s, got.waiting_kbit_s)
        return got.used_s

    def _discard(self, user: Index, packet_kbit: Floats) -> None:
        """Packets that wait for too long are dropped: a queue holds no more than some time's mean traffic."""
        p = self.p.slices.packets
        most = p.discard_s * self.world.packets.mean_kbps * packet_kbit / p.packet_kbit
        over = self.packet_backlog_kbit[user] - most
        late = over > 0
        if late.any():
            self._drop(self.connections.serving[user[late]], over[late])
            self.packet_backlog_kbit[user[late]] -= over[late]

    def _count(self, slices: list[tuple[Index, Floats]]) -> Floats:
        """Tally what the slices served; returns the time in use, [C]."""
        if not slices:
            return np.zeros(self.sites.cells)
        cell = np.concatenate([s[0] for s in slices])
        service_s, served, present_s, waiting, fading_db, sinr_db = np.concatenate([s[1] for s in slices], axis=1)
        self.served_kbit += float(served.sum())
        p = self.p.link
        blocks = link.TRANSPORT_BLOCKS_PER_S * p.dl_share * service_s
        errors = blocks * link.block_error_rate(fading_db, p)
        return self.tally.add_rows(
            SERVED, cell, service_s, served, present_s, waiting, blocks, errors, link.cqi(sinr_db), np.ones(cell.size)
        )

    def _ask(self, offered: Floats) -> None:
        """New demand joins the backlog, unless the user already waits for too much."""
        new = offered.nonzero()[0]
        if not new.size:
            return
        asked, serving = offered[new], self.connections.serving[new]
        self.offered_kbit += float(asked.sum())
        self.tally.add_at("offered_kbit", serving, asked)
        full = self.backlog_kbit[new] > self.p.traffic.backlog_limit_kbit
        if full.any():
            self._drop(serving[full], asked[full])
            new, asked = new[~full], asked[~full]
        self.backlog_kbit[new] += asked

    def _give_up(self, got_any: Flags, step_s: float) -> None:
        """Users who got nothing for too long drop what they wait for."""
        self._stalled_s += step_s
        self._stalled_s *= (self.backlog_kbit > 0) & ~got_any
        tired = self._stalled_s >= self.p.traffic.abandon_s
        if tired.any():
            user = tired.nonzero()[0]
            self._drop(self.connections.serving[user], self.backlog_kbit[user])
            self.backlog_kbit[user] = 0
            self._stalled_s[user] = 0

    def _drop(self, cell: Index, kbit: Floats) -> None:
        if cell.size:
            self.dropped_kbit += float(kbit.sum())
            self.tally.add_at("dropped_kbit", cell, kbit)

    def _connected_by_cell(self) -> Floats:
        c = self.connections
        return np.bincount(c.serving[c.connected & c.attached], minlength=self.sites.cells).astype(float)

    def _account(self, step_s: float) -> None:
        connected = self._connected_by_cell()
        tally, on = self.tally, ~self._off
        tally.add("connected_s", connected * step_s)
        np.maximum(tally.connected_max, connected, out=tally.connected_max)
        tally.add("available_s", on * step_s)
        idle = self.p.link.idle_activity
        activity = np.where(on, idle + (1 - idle) * self._load, 0.0)
        power = self.configuration.power_mw
        tally.add("transmit_mw_s", power * activity * step_s)
        watts = cell_power_w(self._off, power, activity, self.p.energy)
        sites = len(self.site_energy_ws)
        self.site_energy_ws += (self.p.energy.site_base_w + np.bincount(self.sites.site_of, watts, sites)) * step_s

    def set(self, changes: list[Setting]) -> None:
        """Make configuration changes that have no problem; they hold from the next step."""
        self.configuration.apply(changes)
        if self.radio.set_tilts(self.configuration.tilt_tenths):
            self.paths.refresh()

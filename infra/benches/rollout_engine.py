"""The engine's own cases of the roll-out bench, at the sizes and on the users of its peers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import cycle

import numpy as np
import torch

from infra.benches.rollout_drop import INPUTS, NOISE_MW, POWER_MW, drop
from infra.benches.rollout_measure import SECONDS, Case, Measured, Plan, Work, measure
from schemas.counters import EMBB, URLLC
from schemas.topology import NetworkSlice
from twin_core.configuration import Configuration
from twin_core.environment import SOFTNESS_DB, Environment
from twin_core.flow.slices import Ratios, SliceState
from twin_core.layouts import hexagonal
from twin_core.network import Network
from twin_core.physics import Physics
from twin_core.radio.best_server import best_server_sinr
from twin_core.radio.coverage import moved_rsrp
from twin_core.radio.position_gains import PositionGains
from twin_core.settings import TwinSettings

Tensor = torch.Tensor

SETTINGS = TwinSettings()
# A user's demand at which cells of the middle size are about half full.
KBPS_PER_USER = 700.0
# Configurations that are prepared together: what their links hold fits a second-level cache.
TOGETHER = 64
_POWER_DB = 3.0  # by which powers of configurations differ at most

SINR_HELD = "float32, links prepared and attachment held, another power and load of every cell in every step; SINR"
SINR_FOUND = "the same, and who serves whom found anew under every power"
FROM_POSITIONS = (
    "float32, every user elsewhere: TR 38.901 UMa loss with probability of sight, three-dimensional pattern with tilt, "
    "best server, SINR"
)
FULL = (
    "float32, another power in every step: handover borders, links, load coupling to 1e-4 with an on-off strongest "
    "interferer, fairness in full cells, six KPIs of cells and network, two slices under other ratios, power"
)
TILTED = "float64, another tilt of one cell in every step: its gains alone, then RSRP of all cells"


@lru_cache(maxsize=1)
def scene(case: Case) -> tuple[Network, Environment, Configuration, Tensor]:
    """A network seen from the users of the peers' drop, an environment in which they are, and RSRP [P, C]."""
    here = drop(case)
    slices = (NetworkSlice(s_nssai=EMBB, name="eMBB"), NetworkSlice(s_nssai=URLLC, name="URLLC"))
    topology = hexagonal(sites=case.cells // 3).model_copy(update={"slices": slices})
    users = torch.from_numpy(here.users_m[0])
    network = Network.of(topology).at(users[:, 0], users[:, 1])
    sharp = torch.zeros(len(SOFTNESS_DB), dtype=torch.float64)
    sharp[0] = 1.0  # users stand at points: borders between cells are as sharp as the twin knows them
    environment = replace(
        Environment.prior(network, SETTINGS),
        softness_fit=sharp,
        softness_weight=torch.tensor(1e3, dtype=torch.float64),
        users=torch.ones(case.users, dtype=torch.float64),
        kbps_per_user=torch.full((case.users,), KBPS_PER_USER, dtype=torch.float64),
    )
    usual = Configuration.default(network)
    rsrp = Physics.of(network, environment, usual, SETTINGS).rsrp
    return network, environment, usual, rsrp


def varied(case: Case, count: int, seed: int) -> list[Configuration]:
    """Configurations of other powers."""
    network, _, usual, _ = scene(case)
    random = torch.Generator().manual_seed(seed)
    cut = _POWER_DB * torch.rand(count, len(network.cells), generator=random, dtype=torch.float64)
    return [replace(usual, tx_power_dbm=usual.tx_power_dbm - c) for c in cut]


def sinr_step(case: Case, batch: int, device: str = "cpu", seconds: float = SECONDS, *, find: bool = False) -> Measured:
    """SINR of all users under other powers and loads; who serves whom held, or found anew."""
    name = "twinloop SINR step" + (", attachment found" if find else "")
    wide = 8 * TOGETHER if find else 0
    plan = Plan(
        f"{name}, batch {batch}, {device}",
        SINR_FOUND if find else SINR_HELD,
        scenarios=batch,
        peak_bytes=4.0 * case.users * (case.cells * 8 + 4 * batch + wide),
        device=device,
    )

    def prepare() -> Work:
        network, environment, usual, rsrp = scene(case)
        links = Physics.of_many(
            network, environment, [usual], SETTINGS, rsrp=rsrp, dtype=torch.float32, device=device
        ).links
        turns = [torch.rand(2, batch, case.cells).mul_(0.8).add_(0.1).to(device) for _ in range(INPUTS)]
        loads, powers = cycle([t[0] for t in turns]), cycle([t[1] for t in turns])
        held = sum(t.nbytes for t in turns) + links.signal.nbytes + links.interference.gain.nbytes
        if not find:
            return Work(lambda: links.sinr(next(loads), next(powers)), held)
        configurations = [varied(case, batch, i) for i in range(INPUTS)]
        several = cycle(configurations)

        def step() -> None:
            load = next(loads)
            for part, some in _parts(next(several), load):
                found = Physics.of_many(
                    network, environment, part, SETTINGS, rsrp=rsrp, dtype=torch.float32, device=device
                )
                found.links.sinr(some)

        return Work(step, held)

    return measure(plan, prepare, seconds)


def _parts(configurations: Sequence[Configuration], load: Tensor) -> list[tuple[Sequence[Configuration], Tensor]]:
    return [(configurations[k : k + TOGETHER], load[k : k + TOGETHER]) for k in range(0, len(configurations), TOGETHER)]


def from_positions(case: Case, device: str = "cpu", seconds: float = SECONDS) -> Measured:
    """All users moved: gains, attachment and SINR from places alone."""
    plan = Plan(
        f"twinloop from positions, {device}",
        FROM_POSITIONS,
        peak_bytes=4.0 * 8 * case.users * case.cells,
        device=device,
    )

    def prepare() -> Work:
        network, _, usual, _ = scene(case)
        gains = PositionGains.of(network.topology, usual.tilt_deg, usual.azimuth_deg, device)
        places = cycle([torch.from_numpy(u).float().T.contiguous().to(device) for u in drop(case).users_m])
        power = torch.full((case.cells,), POWER_MW, device=device)
        load, noise = torch.ones(case.cells, device=device), torch.full((1,), NOISE_MW, device=device)

        def step() -> None:
            east, north = next(places)
            best_server_sinr(gains.at(east, north), power, load, noise)

        return Work(step, gains.gain.nbytes + gains.turn.nbytes)

    return measure(plan, prepare, seconds)


class Full:
    """The full step: from configurations to the KPIs of cells, network and slices."""

    def __init__(self, case: Case, batch: int, device: str = "cpu") -> None:
        self.network, self.environment, self._usual, self._rsrp = scene(case)
        self._device, self.batch = device, batch
        self._cycle = cycle([varied(case, batch, i) for i in range(INPUTS)])
        cells, slices = len(self.network.cells), len(self.network.slices)
        self._slices = SliceState.prior(cells, slices)
        fitted = self._usual.ratios
        self._fitted = fitted
        self._ratios = Ratios(fitted.dedicated, fitted.least + 0.2, fitted.most)
        self._start = torch.full((cells,), 0.5, dtype=torch.float32, device=device)
        self.iterations: list[int] = []
        self.loads: list[float] = []
        self.converged = True

    def step(self) -> None:
        """All configurations, so many together as fit the cache."""
        for part in (p for p, _ in _parts(next(self._cycle), torch.empty(self.batch, 0))):
            physics = Physics.of_many(
                self.network, self.environment, part, SETTINGS, rsrp=self._rsrp, dtype=torch.float32,
                device=self._device,
            )  # fmt: skip
            shape = (len(part), 1, len(self.environment.users))
            demand, users = (
                t.to(self._device, torch.float32).expand(shape)
                for t in (self.environment.demand_kbps, self.environment.users)
            )
            loads = physics.loads(demand, users, self._start)
            cells, whole = physics.kpis(loads, demand, users)
            blocks = physics.cells.prbs * physics.on_air.to(self._device)
            self._slices.extend(cells, whole, self._ratios, self._fitted, blocks)
            self.iterations.append(loads.iterations)
            self.loads.append(float(loads.load.mean()))
            self.converged &= loads.converged


def full_step(case: Case, batch: int, device: str = "cpu", seconds: float = SECONDS) -> tuple[Measured, Full | None]:
    """The full step, and what its load coupling took."""
    plan = Plan(
        f"twinloop full step, batch {batch}, {device}",
        FULL,
        scenarios=batch,
        peak_bytes=8.0 * case.users * (8 * case.cells + 40 * min(batch, TOGETHER)),
        device=device,
    )
    made: list[Full] = []

    def prepare() -> Work:
        made.append(Full(case, batch, device))
        return Work(made[0].step, 8 * case.users * case.cells)

    measured = measure(plan, prepare, seconds)
    return measured, made[0] if made and not measured.not_run else None


def tilt_step(case: Case, seconds: float = SECONDS) -> Measured:
    """Another tilt of one cell: what a change of gains costs before any SINR."""
    plan = Plan("twinloop tilt of one cell", TILTED, peak_bytes=8.0 * 12 * case.users * case.cells)

    def prepare() -> Work:
        network, _, usual, rsrp = scene(case)
        turns = []
        for i in range(INPUTS):
            tilt = usual.tilt_deg.clone()
            tilt[i] += 1.0 + i
            turns.append(replace(usual, tilt_deg=tilt))
        tilted = cycle(turns)
        return Work(lambda: moved_rsrp(network, rsrp, usual, next(tilted)), rsrp.nbytes)

    return measure(plan, prepare, seconds)


def sparsity_error_db(case: Case, percentile: float = 95.0) -> float:
    """By how much SINR differs when far interferers are taken together, over links and 64 draws of loads."""
    network, environment, usual, rsrp = scene(case)
    links, dense = (
        Physics.of_many(
            network, environment, [usual], replace(SETTINGS, physics=replace(SETTINGS.physics, interferers=reach)),
            rsrp=rsrp,
        ).links
        for reach in (SETTINGS.physics.interferers, case.cells)
    )  # fmt: skip
    load = 0.1 + 0.8 * torch.rand(64, case.cells, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    error = 10 * (links.sinr(load) / dense.sinr(load)).log10().abs()
    return float(np.percentile(error.numpy(), percentile))

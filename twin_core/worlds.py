"""Perturbed worlds that go on from one twin, to be rolled out at once or lived through period by period."""

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakValueDictionary

import torch

from twin_core.configuration import BEAM, Configuration
from twin_core.exceptions import InvalidConfiguration, InvalidScenarios
from twin_core.physics import Physics
from twin_core.radio.coverage import moved_rsrp
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

Tensor = torch.Tensor
# Of cells and of the network.
_Both = tuple[Tensor, Tensor]
_RADIO = ("tx_power_dbm", *BEAM)
_SERVING = ("cio_db", "active")


class Ground:
    """What all worlds that go on from one twin share.

    Parameters
    ----------
    twin
        Network and environment; its own configuration says where users are at home.
    ahead
        [T] how many periods ahead of the twin's latest each period lies.
    device
        Where loads are solved.

    Attributes
    ----------
    demand, users
        [T, P] kbit/s and number expected in each pixel.
    start
        [C] loads to start solutions from.
    correction
        The learned one; None without.
    """

    def __init__(self, twin: Twin, ahead: Tensor, device: torch.device | str = "cpu") -> None:
        self.twin, self.ahead, self.device = twin, ahead, torch.device(device)
        self.dtype = torch.float32 if twin.settings.roll_out_dtype == "float32" else torch.float64
        self._home = self.there(twin.physics.attachment.dense(len(twin.network.cells)).T)
        growth = self.there(twin.growth(ahead))[:, None]
        self.demand = self.there(twin.environment.demand_kbps) * growth
        self.users = self.there(twin.environment.users) * growth
        if (turned := twin.demand_factors(ahead)) is not None:
            self.demand, self.users = self.demand * self.there(turned[0]), self.users * self.there(turned[1])
        self.correction = twin.correction(self.dtype, self.device)
        self.start = self.there(twin.environment.load)

    def there(self, tensor: Tensor) -> Tensor:
        """On the device and in the precision of the solution."""
        return tensor.to(device=self.device, dtype=self.dtype).contiguous()

    def check(self, configuration: Configuration) -> None:
        """Refuse a configuration of another network, or with values that are no numbers.

        Raises
        ------
        InvalidConfiguration
            Naming both sizes, or the lever.
        """
        cells = len(self.twin.network.cells)
        if configuration.cio_db.shape != (cells, cells):
            raise InvalidConfiguration(
                f"the configuration is for {configuration.cio_db.shape[0]} cells, the twin has {cells}; "
                "derive it from the twin's"
            )
        configuration.check_finite()

    def rsrp(self, configuration: Configuration) -> Tensor:
        """[P, C] dBm under a configuration, without perturbation."""
        return moved_rsrp(self.twin.network, self.twin.rsrp_dbm, self.twin.configuration, configuration)

    def on_air(self, configuration: Configuration, up: Tensor) -> Tensor:
        """[..., C] cells that transmit while those of a scenario are up ([..., C])."""
        return configuration.active & self.twin.environment.in_service & up

    def physics(self, configuration: Configuration, rsrp: Tensor, on_air: Tensor) -> Physics:
        """A configuration in a world's radio ([P, C] dBm) with these cells on the air."""
        twin = self.twin
        return Physics.of(
            twin.network,
            twin.environment,
            configuration,
            twin.settings,
            rsrp=rsrp,
            usual_rsrp=twin.rsrp_dbm,
            on_air=on_air,
            dtype=self.dtype,
            device=self.device,
        )

    def traffic(self, scenarios: Scenarios, periods: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """[S, T, P] demand in kbit/s and users, of some of the periods."""
        grid = self.twin.network.seen_from
        by_cell = scenarios.demand_factor[:, periods] * (1 + scenarios.demand_bias[:, None])
        factor = self.there(by_cell) @ self._home
        demand = self.demand[periods] * factor
        users = self.users[periods] * factor
        if bool((share := scenarios.hotspot_share[:, periods]).any()):
            dx = grid.x_m - scenarios.hotspot_x_m[:, None]
            dy = grid.y_m - scenarios.hotspot_y_m[:, None]
            bell = torch.exp(-(dx**2 + dy**2) / (2 * scenarios.hotspot_radius_m[:, None] ** 2))
            bell = bell / bell.sum(dim=1, keepdim=True).clamp_min(1e-12)
            extra = self.there(share[:, :, None] * bell[:, None])
            demand = demand + extra * demand.sum(dim=-1, keepdim=True)
            users = users + extra * users.sum(dim=-1, keepdim=True)
        return demand, users

    def corrected(self, kpis: _Both, physics: Physics, periods: slice) -> _Both:
        """KPIs of cells ([S, T, M, C]) and network ([S, T, M]) with what was learned of their residuals."""
        if self.correction is None:
            return kpis
        return self.correction(*kpis, physics.cells, physics.on_air.to(self.device), self.ahead[periods])

    def sliced(
        self, kpis: tuple[Tensor, Tensor], configuration: Configuration, on_air: Tensor
    ) -> tuple[Tensor, Tensor]:
        """KPIs of cells ([..., M, C]) and network ([..., M]) on the CPU, with those of slices appended."""
        twin = self.twin
        blocks = twin.network.prbs * on_air
        return twin.slices.extend(*kpis, configuration.ratios, twin.configuration.ratios, blocks)

    @cached_property
    def _alive(self) -> WeakValueDictionary[tuple[bytes, ...], Physics]:
        """What some world holds at present, by what it depends on."""
        return WeakValueDictionary()

    def shared_physics(self, configuration: Configuration, offset_db: Tensor, up: Tensor) -> Physics:
        """The same as `physics`, prepared once for all worlds that are alike at the time."""
        on_air = self.on_air(configuration, up)
        levers = [getattr(configuration, name) for name in (*_RADIO, *_SERVING)]
        key = tuple(tensor.numpy().tobytes() for tensor in (*levers, offset_db, on_air))
        physics = self._alive.get(key)
        if physics is None:
            physics = self.physics(configuration, self.rsrp(configuration) - offset_db, on_air)
            self._alive[key] = physics
        return physics


@dataclass(frozen=True, eq=False)
class Period:
    """What came of one period in one world.

    Attributes
    ----------
    kpis
        [M, C] float64; axis M is `kpis_of` the network. Throughput is NaN where a cell carries no traffic.
    network
        [M] float64, the whole network.
    on_air
        [C] bool, which cells transmitted.
    converged
        Whether the load coupling was solved within tolerance.
    """

    kpis: Tensor
    network: Tensor
    on_air: Tensor
    converged: bool


class World:
    """One scenario, lived through one period at a time under whatever configuration each period has.

    Under one configuration it comes to what a roll-out comes to, within the tolerance of the load solution; backlog is
    carried from period to period. Solved on the CPU and by itself, so that no other world changes a bit of it.

    Parameters
    ----------
    ground
        On the CPU.
    scenario
        One, over as many periods as the ground.

    Raises
    ------
    InvalidScenarios
        If it is not one scenario over those periods in this network.

    Examples
    --------
    >>> from twin_core.layouts import hexagonal
    >>> twin = Twin.create(hexagonal(sites=1))
    >>> world = World(Ground(twin, torch.arange(1, 3)), Scenarios.nominal(twin.network, 1, 2))
    >>> world.step(twin.configuration).kpis.shape, world.periods_left
    (torch.Size([6, 3]), 1)
    """

    def __init__(self, ground: Ground, scenario: Scenarios) -> None:
        scenario.check(len(ground.twin.network.cells))
        if len(scenario) != 1 or scenario.horizon != len(ground.ahead):
            raise InvalidScenarios(
                f"a world is one scenario over {len(ground.ahead)} periods, not {len(scenario)} over "
                f"{scenario.horizon}; select one, drawn for that horizon"
            )
        self.scenario = scenario
        self._ground = ground
        self._physics: Physics | None = None
        self._backlog: Tensor | None = None
        self._period = 0

    @property
    def periods_left(self) -> int:
        """How many steps the scenario still has."""
        return self.scenario.horizon - self._period

    def step(self, configuration: Configuration) -> Period:
        """The next period, under this configuration.

        Raises
        ------
        InvalidScenarios
            If the scenario has no more periods.
        InvalidConfiguration
            If the configuration is of another network.
        """
        if not self.periods_left:
            raise InvalidScenarios(f"the scenario has {self.scenario.horizon} periods, all lived through; begin anew")
        ground, now = self._ground, slice(self._period, self._period + 1)
        ground.check(configuration)
        up = self.scenario.cell_up[0, self._period]
        physics = ground.shared_physics(configuration, self.scenario.path_loss_offset_db[0], up)
        demand, users = ground.traffic(self.scenario, now)
        backlog = self._backlog
        if self._physics is not None and backlog is not None and self._physics is not physics:
            backlog = moved_backlog(backlog, self._physics, physics, demand[:, 0])
        loads = physics.loads(demand, users, ground.start, backlog)
        by_cell, whole = ground.corrected(physics.kpis(loads, demand, users), physics, now)
        by_cell, whole = ground.sliced((by_cell[0, 0].double(), whole[0, 0].double()), configuration, physics.on_air)
        self._physics, self._backlog = physics, loads.backlog_kbps[:, -1]
        self._period += 1
        return Period(by_cell, whole, physics.on_air, loads.converged)


def moved_backlog(backlog: Tensor, before: Physics, after: Physics, demand: Tensor) -> Tensor:
    """[S, C] backlog after users were handed to other cells: it goes where the demand ([S, P]) of its cell goes."""
    if not bool(backlog.any()):
        return backlog
    cells = backlog.shape[-1]
    old = before.attachment.dense(cells).to(backlog)
    new = after.attachment.dense(cells).to(backlog)
    flow = torch.einsum("pc,sp,pd->scd", old, demand, new)
    part = flow / flow.sum(dim=-1, keepdim=True).clamp_min(1e-9)
    return torch.einsum("sc,scd->sd", backlog, part)

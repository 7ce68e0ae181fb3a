"""Roll-outs: what each KPI would be under a configuration in many perturbed worlds.

On the CPU every scenario is computed by itself, its periods as one batch that fits the cache: so its result cannot
depend, to the bit, on which scenarios share its batch. On CUDA scenarios with the same radio are batched; there
results agree with the CPU's within about 1e-4 relative, the tolerance of the load solution.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from twin_core.configuration import Configuration
from twin_core.control import Control
from twin_core.exceptions import InvalidConfiguration
from twin_core.kpis import KPIS, THROUGHPUT, USERS, kpi_index, kpis_of
from twin_core.physics import Physics, corrected_rsrp
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin

Tensor = torch.Tensor

__all__ = ["KPIS", "Trajectory", "rollout"]

_CUDA_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Trajectory:
    """KPIs of S scenarios over T periods.

    Attributes
    ----------
    kpis
        [S, T, M, C] float64; axis M is `kpis_of` the network. Throughput is NaN where a cell carries no traffic.
    network
        [S, T, M] float64, the whole network.
    converged
        [S] bool, whether the load coupling was solved within tolerance throughout.
    iterations
        [S] most iterations that a solution took.
    """

    kpis: Tensor
    network: Tensor
    converged: Tensor
    iterations: Tensor

    def mean(self) -> tuple[Tensor, Tensor]:
        """[S, M, C] and [S, M] means over the horizon; throughput weighted by users, NaN where there never was any."""
        return _mean_over_time(self.kpis, -3), _mean_over_time(self.network.unsqueeze(-1), -3).squeeze(-1)


def _mean_over_time(kpis: Tensor, time: int) -> Tensor:
    out = kpis.mean(dim=time)
    if kpis.shape[-2] > len(KPIS):  # a slice may carry nothing in some periods
        out[..., len(KPIS) :, :] = kpis[..., len(KPIS) :, :].nanmean(dim=time)
    m, users = kpi_index(THROUGHPUT), kpis.select(-2, kpi_index(USERS))
    value = kpis.select(-2, m)
    weight = torch.where(value.isnan(), 0.0, users)
    mean = (value.nan_to_num() * weight).sum(dim=-2) / weight.sum(dim=-2)
    return torch.cat([out[..., :m, :], mean.unsqueeze(-2), out[..., m + 1 :, :]], dim=-2)


def rollout(
    twin: Twin,
    control: Configuration | Control,
    scenarios: Scenarios,
    device: torch.device | str = "cpu",
    ahead: Tensor | None = None,
) -> Trajectory:
    """Roll a configuration, or what holds the levers by itself, out over perturbed worlds.

    The roll-out starts after the twin's latest period.

    Parameters
    ----------
    twin
        Network and environment; its own configuration says where users are at home.
    control
        The configuration to try, or a schedule or policy; for a baseline the twin's own configuration.
    scenarios
        Perturbations; the same for baseline and candidate gives paired results.
    device
        "cpu" or "cuda".
    ahead
        [T] how many periods ahead each step lies; 1, 2, …, T by default, or as the control says.

    Raises
    ------
    InvalidScenarios
        If they do not fit the network.
    InvalidConfiguration
        If the configuration is of another network.
    """
    cells = len(twin.network.cells)
    scenarios.check(cells)
    if ahead is None:
        ahead = None if isinstance(control, Configuration) else control.ahead(scenarios.horizon)
    if ahead is None:
        ahead = torch.arange(1, scenarios.horizon + 1)
    run = _RollOut(twin, scenarios, ahead, torch.device(device))
    if not isinstance(control, Configuration):
        return run.controlled(control)
    if control.cio_db.shape != (cells, cells):
        raise InvalidConfiguration(
            f"the configuration is for {control.cio_db.shape[0]} cells, the twin has {cells}; derive it from the twin's"
        )
    return run.held(control)


class _Radio:
    """One configuration in the radio of each scenario, prepared once where scenarios share it."""

    def __init__(self, roll_out: "_RollOut", configuration: Configuration) -> None:
        self._of, self.configuration = roll_out, configuration
        twin = roll_out.twin
        same = configuration is twin.configuration
        self.rsrp = (
            twin.rsrp_dbm if same else corrected_rsrp(twin.network, twin.environment, configuration, twin.settings)
        )
        self._unshifted: dict[bytes, Physics] = {}

    def physics(self, row: int, up: Tensor) -> Physics:
        """Radio of a scenario while these cells are up ([C])."""
        twin = self._of.twin
        offset = self._of.scenarios.path_loss_offset_db[row]
        on_air = self.configuration.active & twin.environment.in_service & up
        key = on_air.numpy().tobytes()
        shifted = bool(offset.any())
        if not shifted and key in self._unshifted:
            return self._unshifted[key]
        physics = Physics.of(
            twin.network,
            twin.environment,
            self.configuration,
            twin.settings,
            rsrp=self.rsrp - offset,
            usual_rsrp=twin.rsrp_dbm,
            on_air=on_air,
            dtype=self._of.dtype,
            device=self._of.device,
        )
        if not shifted:
            self._unshifted[key] = physics
        return physics


class _RollOut:
    """What all scenarios of one roll-out share."""

    def __init__(self, twin: Twin, scenarios: Scenarios, ahead: Tensor, device: torch.device) -> None:
        self.twin, self.scenarios, self.device = twin, scenarios, device
        self.dtype = torch.float32 if twin.settings.roll_out_dtype == "float32" else torch.float64
        self.home = self._there(twin.physics.attachment.dense(len(twin.network.cells)).T)
        self.ahead = ahead
        growth = self._there(twin.growth(ahead))[:, None]
        self.demand = self._there(twin.environment.demand_kbps) * growth
        self.users = self._there(twin.environment.users) * growth
        if (turned := twin.demand_factors(ahead)) is not None:
            self.demand, self.users = self.demand * self._there(turned[0]), self.users * self._there(turned[1])
        self.correction = twin.correction(self.dtype, device)
        self.start = self._there(twin.environment.load)
        s, t, cells = scenarios.demand_factor.shape
        kpis = len(kpis_of(twin.network))
        self._kpis = torch.empty(s, t, kpis, cells, dtype=torch.float64)
        self._network = torch.empty(s, t, kpis, dtype=torch.float64)
        self._converged = torch.ones(s, dtype=torch.bool)
        self._iterations = torch.zeros(s, dtype=torch.long)

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype).contiguous()

    @property
    def _trajectory(self) -> Trajectory:
        return Trajectory(self._kpis, self._network, self._converged, self._iterations)

    def held(self, configuration: Configuration) -> Trajectory:
        """One configuration throughout."""
        radio = _Radio(self, configuration)
        for rows in self._blocks():
            demand, users = self._traffic(rows)
            up = self.scenarios.cell_up[rows[0]]
            before: Physics | None = None
            backlog: Tensor | None = None
            for start, end in _segments(up):
                physics = radio.physics(rows[0], up[start])
                backlog = self._span(rows, start, end, before, physics, demand, users, backlog)[:, -1]
                before = physics
        everything = slice(None)
        self._share(everything, everything, configuration)
        return self._trajectory

    def _share(self, rows: slice, periods: slice, configuration: Configuration) -> None:
        """Slices' KPIs of some scenarios and periods, once those of whole cells are there."""
        twin = self.twin
        if not twin.network.slices:
            return
        up = self.scenarios.cell_up[rows, periods]
        blocks = twin.network.prbs * (configuration.active & twin.environment.in_service & up)
        here = (rows, periods)
        self._kpis[here], self._network[here] = twin.slices.extend(
            self._kpis[here][..., : len(KPIS), :], self._network[here][..., : len(KPIS)],
            configuration.ratios, twin.configuration.ratios, blocks,
        )  # fmt: skip

    def controlled(self, control: Control) -> Trajectory:
        """A control that looks at each period before the next, scenario by scenario.

        What holds is rolled out to the end at once; where the control then changes it, the rest is done again.
        """
        radios: dict[int, _Radio] = {}
        for row in range(len(self.scenarios)):
            course = control.begin()
            demand, users = self._traffic([row])
            up = self.scenarios.cell_up[row]
            before: Physics | None = None
            backlog: Tensor | None = None
            configuration, t = course.configuration(0, None), 0
            while t < self.scenarios.horizon:
                # The radio keeps its configuration, so that an id is never another's.
                if id(configuration) not in radios:
                    radios[id(configuration)] = _Radio(self, configuration)
                end = next(e for s, e in _segments(up) if s <= t < e)
                physics = radios[id(configuration)].physics(row, up[t])
                course_of_backlog = self._span([row], t, end, before, physics, demand, users, backlog)
                self._share(slice(row, row + 1), slice(t, end), configuration)
                start, held = t, configuration
                while t < end and configuration is held:
                    t += 1
                    if t < self.scenarios.horizon:
                        configuration = course.configuration(t, self._kpis[row, t - 1])
                before, backlog = physics, course_of_backlog[:, t - 1 - start]
        return self._trajectory

    def _blocks(self) -> Iterator[list[int]]:
        """Scenarios that may be computed together: each alone on the CPU, those with the same radio on CUDA."""
        if self.device.type == "cpu":
            yield from ([i] for i in range(len(self.scenarios)))
            return
        alike: dict[bytes, list[int]] = {}
        for i in range(len(self.scenarios)):
            key = self.scenarios.path_loss_offset_db[i].numpy().tobytes() + self.scenarios.cell_up[i].numpy().tobytes()
            alike.setdefault(key, []).append(i)
        for rows in alike.values():
            yield from (rows[k : k + _CUDA_BLOCK] for k in range(0, len(rows), _CUDA_BLOCK))

    def _traffic(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """[S, T, P] demand in kbit/s and users."""
        chosen = self.scenarios.select(rows)
        grid = self.twin.network.grid
        factor = self._there(chosen.demand_factor * (1 + chosen.demand_bias[:, None])) @ self.home
        demand = self.demand * factor
        users = self.users * factor
        if bool(chosen.hotspot_share.any()):
            dx = grid.x_m - chosen.hotspot_x_m[:, None]
            dy = grid.y_m - chosen.hotspot_y_m[:, None]
            bell = torch.exp(-(dx**2 + dy**2) / (2 * chosen.hotspot_radius_m[:, None] ** 2))
            bell = bell / bell.sum(dim=1, keepdim=True).clamp_min(1e-12)
            extra = self._there(chosen.hotspot_share[:, :, None] * bell[:, None])
            demand = demand + extra * demand.sum(dim=-1, keepdim=True)
            users = users + extra * users.sum(dim=-1, keepdim=True)
        return demand, users

    def _span(
        self,
        rows: list[int],
        start: int,
        end: int,
        before: Physics | None,
        physics: Physics,
        demand: Tensor,
        users: Tensor,
        backlog: Tensor | None,
    ) -> Tensor:
        """Periods over which nothing changes but demand; the backlog ([S, T, C]) after each."""
        here, there, where = demand[:, start:end], users[:, start:end], torch.tensor(rows)
        if before is not None and backlog is not None and before is not physics:
            backlog = _moved(backlog, before, physics, here[:, 0])
        loads = physics.loads(here, there, self.start, backlog)
        by_cell, whole = physics.kpis(loads, here, there)
        if self.correction is not None:
            on_air = physics.on_air.to(self.device)
            by_cell, whole = self.correction(by_cell, whole, physics.cells, on_air, self.ahead[start:end])
        self._kpis[where, start:end, : len(KPIS)] = by_cell.to("cpu", torch.float64)
        self._network[where, start:end, : len(KPIS)] = whole.to("cpu", torch.float64)
        self._converged[where] &= loads.converged
        self._iterations[where] = self._iterations[where].clamp_min(loads.iterations)
        return loads.backlog_kbps


def _segments(up: Tensor) -> Iterator[tuple[int, int]]:
    """Spans of periods ([T, C]) over which the same cells are up."""
    start = 0
    for t in range(1, len(up) + 1):
        if t == len(up) or not torch.equal(up[t], up[start]):
            yield start, t
            start = t


def _moved(backlog: Tensor, before: Physics, after: Physics, demand: Tensor) -> Tensor:
    """[S, C] backlog after users were handed to other cells: it goes where the demand ([S, P]) of its cell goes."""
    if not bool(backlog.any()):
        return backlog
    cells = backlog.shape[-1]
    old = before.attachment.dense(cells).to(backlog)
    new = after.attachment.dense(cells).to(backlog)
    flow = torch.einsum("pc,sp,pd->scd", old, demand, new)
    part = flow / flow.sum(dim=-1, keepdim=True).clamp_min(1e-9)
    return torch.einsum("sc,scd->sd", backlog, part)

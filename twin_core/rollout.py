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
from twin_core.kpis import KPIS, THROUGHPUT, USERS, kpi_index, kpis_of
from twin_core.physics import Physics
from twin_core.scenarios import Scenarios
from twin_core.twin import Twin
from twin_core.worlds import Ground, moved_backlog

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
    scenarios.check(len(twin.network.cells))
    if ahead is None:
        ahead = None if isinstance(control, Configuration) else control.ahead(scenarios.horizon)
    if ahead is None:
        ahead = torch.arange(1, scenarios.horizon + 1)
    ground = Ground(twin, ahead, device)
    run = _RollOut(ground, scenarios)
    if not isinstance(control, Configuration):
        return run.controlled(control)
    ground.check(control)
    return run.held(control)


class _Radio:
    """One configuration in the radio of each scenario, prepared once where scenarios share it."""

    def __init__(self, ground: Ground, scenarios: Scenarios, configuration: Configuration) -> None:
        self._ground, self._scenarios, self.configuration = ground, scenarios, configuration
        self.rsrp = ground.rsrp(configuration)
        self._unshifted: dict[bytes, Physics] = {}

    def physics(self, row: int, up: Tensor) -> Physics:
        """Radio of a scenario while these cells are up ([C])."""
        offset = self._scenarios.path_loss_offset_db[row]
        on_air = self._ground.on_air(self.configuration, up)
        key = on_air.numpy().tobytes()
        shifted = bool(offset.any())
        if not shifted and key in self._unshifted:
            return self._unshifted[key]
        physics = self._ground.physics(self.configuration, self.rsrp - offset, on_air)
        if not shifted:
            self._unshifted[key] = physics
        return physics


class _RollOut:
    """What all scenarios of one roll-out share."""

    def __init__(self, ground: Ground, scenarios: Scenarios) -> None:
        self.ground, self.scenarios, self.device = ground, scenarios, ground.device
        s, t, cells = scenarios.demand_factor.shape
        kpis = len(kpis_of(ground.twin.network))
        self._kpis = torch.empty(s, t, kpis, cells, dtype=torch.float64)
        self._network = torch.empty(s, t, kpis, dtype=torch.float64)
        self._converged = torch.ones(s, dtype=torch.bool)
        self._iterations = torch.zeros(s, dtype=torch.long)

    @property
    def _trajectory(self) -> Trajectory:
        return Trajectory(self._kpis, self._network, self._converged, self._iterations)

    def held(self, configuration: Configuration) -> Trajectory:
        """One configuration throughout."""
        radio = _Radio(self.ground, self.scenarios, configuration)
        for rows in self._blocks():
            demand, users = self.ground.traffic(self.scenarios.select(rows))
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
        if not self.ground.twin.network.slices:
            return
        here = (rows, periods)
        on_air = self.ground.on_air(configuration, self.scenarios.cell_up[here])
        whole_cells = self._kpis[here][..., : len(KPIS), :], self._network[here][..., : len(KPIS)]
        self._kpis[here], self._network[here] = self.ground.sliced(whole_cells, configuration, on_air)

    def controlled(self, control: Control) -> Trajectory:
        """A control that looks at each period before the next, scenario by scenario.

        What holds is rolled out to the end at once; where the control then changes it, the rest is done again.
        """
        radios: dict[int, _Radio] = {}
        for row in range(len(self.scenarios)):
            course = control.begin()
            demand, users = self.ground.traffic(self.scenarios.select([row]))
            up = self.scenarios.cell_up[row]
            before: Physics | None = None
            backlog: Tensor | None = None
            configuration, t = course.configuration(0, None), 0
            while t < self.scenarios.horizon:
                # The radio keeps its configuration, so that an id is never another's.
                if id(configuration) not in radios:
                    radios[id(configuration)] = _Radio(self.ground, self.scenarios, configuration)
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
            backlog = moved_backlog(backlog, before, physics, here[:, 0])
        loads = physics.loads(here, there, self.ground.start, backlog)
        by_cell, whole = self.ground.corrected(physics.kpis(loads, here, there), physics, slice(start, end))
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

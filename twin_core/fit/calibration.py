"""Assimilation of one period: what it says about radio, users, demand, capacity and power, in that order."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from schemas.counters import CELL_COUNTERS, sliced
from twin_core.configuration import Configuration
from twin_core.environment import Environment
from twin_core.fit.cell_fit import fit_busy, fit_gain, fit_power, load_trust
from twin_core.fit.demand_fit import fit_demand, fit_trend, fit_users
from twin_core.fit.radio_fit import Reports, fit_radio, fit_seen, fit_softness, fit_uplift
from twin_core.flow.load import need_of
from twin_core.flow.power import dynamic_share
from twin_core.flow.slices import COUNTERS as SLICE_COUNTERS
from twin_core.flow.slices import counters_of
from twin_core.flow.traffic import free_share
from twin_core.kpis import KPIS, POWER, PRB, THROUGHPUT, USERS, VOLUME
from twin_core.network import Network
from twin_core.observation import PeriodObservation
from twin_core.physics import Physics
from twin_core.radio.coverage import rsrp_dbm
from twin_core.settings import TwinSettings

Tensor = torch.Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """Counters of a period that can be true, NaN elsewhere.

    Attributes
    ----------
    by_kpi
        KPI to [C]; power per managed element is apart.
    element_power_w
        [E].
    by_slice
        Sub-counter without its slice to [C, K].
    ignored
        How many values were dropped as absurd.
    """

    by_kpi: dict[str, Tensor]
    element_power_w: Tensor
    by_slice: dict[str, Tensor]
    ignored: int

    @classmethod
    def of(cls, observation: PeriodObservation, network: Network) -> "Measured":
        """Drop what lies outside the range of its counter (schemas.counters)."""
        out, ignored = {}, 0
        for kpi in (PRB, THROUGHPUT, VOLUME, USERS, *counters_of(network.slices)):
            values = observation.counter(kpi, len(network.cells))
            low, high = CELL_COUNTERS[kpi].low, CELL_COUNTERS[kpi].high
            absurd = ~np.isnan(values) & ~((values >= low) & (values <= high))
            ignored += int(absurd.sum())
            out[kpi] = torch.from_numpy(np.where(absurd, np.nan, values))
        power = np.asarray(observation.element_power_w, dtype=np.float64)
        power = power if len(power) else np.full(len(network.elements), np.nan)
        absurd = ~np.isnan(power) & ~((power >= 0) & (power <= 1e6))
        return cls(
            out,
            torch.from_numpy(np.where(absurd, np.nan, power)),
            {
                name: torch.stack([out[sliced(name, s)] for s in network.slices], dim=1)
                for name in SLICE_COUNTERS
                if network.slices
            },
            ignored + int(absurd.sum()),
        )


@dataclass(frozen=True, eq=False)
class Assimilated:
    """The environment after a period.

    Attributes
    ----------
    environment
        With everything learned.
    given_demand
        KPI to [C], modelled from the period's own demand with the factors believed before it.
    unlikely
        RSRP values dropped because they are far from all that was measured of their cell.
    """

    environment: Environment
    given_demand: dict[str, Tensor]
    unlikely: int


def assimilate(
    network: Network,
    environment: Environment,
    configuration: Configuration,
    settings: TwinSettings,
    observation: PeriodObservation,
    measured: Measured,
    reports: Reports,
) -> Assimilated:
    """Fit the environment to a period.

    Parameters
    ----------
    network, environment
        Before the period; outages of the period are already in the environment.
    configuration
        In force during the period.
    settings
        Half-lives and physics.
    observation, measured, reports
        What the period told.
    """
    fit, physics = settings.calibration, settings.physics
    on_air = configuration.active & environment.in_service
    plain = rsrp_dbm(network, configuration, torch.zeros((), dtype=torch.float64))
    changed, unlikely = fit_radio(environment, reports, plain, fit)
    now = replace(environment, **changed)
    rsrp = plain + now.correction_db(network, fit.shadow_length_m, fit.shadow_prior_weight)
    now = replace(now, **fit_softness(now, reports, rsrp, configuration.cio_db, on_air, physics))
    seen_load = torch.where(measured.by_kpi[PRB].isnan(), environment.load, measured.by_kpi[PRB] / 100)
    noise = network.thermal_noise_dbm + physics.noise_figure_db
    now = replace(now, **fit_uplift(now, reports, rsrp, configuration.cio_db, on_air, seen_load, noise, physics))
    now = replace(now, **fit_seen(now, reports, network, fit.seen_half_life))

    model = Physics.of(network, now, configuration, settings, rsrp=rsrp, on_air=on_air)
    served = measured.by_kpi[VOLUME] / observation.granularity_s
    now = replace(now, **fit_users(now, model.attachment, len(reports) > 0, measured.by_kpi[USERS], fit))
    changed, demand = fit_demand(now, now.users, model.attachment, served, fit)
    now = replace(now, **changed, **fit_trend(now, served, observation.period_end_ms, fit))

    loads = model.loads(demand[None], now.users[None], environment.load)
    kpis = model.kpis(loads, demand[None], now.users[None])[0][0]
    given = {kpi: kpis[i] for i, kpi in enumerate(KPIS) if kpi in (PRB, THROUGHPUT, POWER)}

    # Capacity is judged under the interference that was there: the measured load where it is known.
    use = measured.by_kpi[PRB] / 100
    load = torch.where(on_air, torch.where(use.isnan(), loads.load[0], use), 0.0)
    on_links = model.links.on_links(demand[None])
    need = need_of(model.links, on_links, load[None])[0]
    capacity = torch.where(need > 0, model.links.per_cell(on_links)[0] / need.clamp_min(1e-12), torch.nan)
    capacity = capacity * model.links.busy.at(load)
    trust = torch.where(on_air, load_trust(use), 0.0)
    delivered = torch.where(use > 0, served / use, torch.nan)
    # A cell that needs less than modelled shows a lower load for that very reason: the mean of both is unbiased.
    now = replace(now, **fit_busy(now, (load + loads.load[0]) / 2, delivered / capacity, trust, fit.busy_half_life))
    total, weight = fit_gain(
        now.capacity_sum,
        now.capacity_weight,
        now.capacity_gain,
        delivered,
        capacity / now.capacity_gain,
        trust,
        fit.capacity_half_life,
    )
    capacity = capacity / now.capacity_gain
    now = replace(now, capacity_sum=total, capacity_weight=weight)
    capacity = capacity * now.capacity_gain
    connected = torch.where(measured.by_kpi[USERS].isnan(), kpis[KPIS.index(USERS)], measured.by_kpi[USERS])
    total, weight = fit_gain(
        now.throughput_sum,
        now.throughput_weight,
        now.throughput_gain,
        measured.by_kpi[THROUGHPUT],
        capacity * free_share(load, connected),
        torch.where(on_air, load_trust(load), 0.0),
        fit.capacity_half_life,
    )
    now = replace(now, throughput_sum=total, throughput_weight=weight)
    share = dynamic_share(configuration.tx_power_dbm, network.rated_dbm)
    now = replace(now, **fit_power(now, network, load, on_air, share, measured.element_power_w, fit))
    now = replace(now, load=load.clamp(0, 1), periods=now.periods + 1)
    return Assimilated(now, given, unlikely)

"""A day of the reference network in a table: ``python -m infra.network.day``.

For whoever changes parameters: are loads, throughputs, handovers, failures and powers those of a network that could
be? One line an hour (all cells), then one line a cell for the busiest hour.
"""

import argparse
import sys

import numpy as np

from infra.network.arrays import Floats
from infra.network.layout import Sites
from infra.network.parameters import Parameters
from infra.network.reporting import counter_values
from infra.network.simulation import Simulation
from schemas.counters import NR_CELL_SLICES_V1

_DAY_MS = 1_768_176_000_000  # a Monday, 00:00 UTC
_HOUR_MS = 3_600_000
_SUMS = ("ho_intra_req", "ho_intra_succ")


def _hour(parameters: Parameters, seed: int, hour: int, periods: int) -> tuple[Floats, Floats, Floats]:
    """Counters [T, C, K], handovers within sites [T, 2], watts [T, E] of the hour's first periods."""
    sites = Sites.build(parameters, "day")
    sim = Simulation(sites, parameters, seed, _DAY_MS + hour * _HOUR_MS)
    sim.warm_up()
    counters, intra, watts = [], [], []
    for _ in range(periods):
        for _ in range(1000 * parameters.time.period_s // sim.step_ms):
            sim.step()
        counters.append(counter_values(sim))
        intra.append([sim.tally[name].sum() for name in _SUMS])
        watts.append(sim.site_energy_ws / parameters.time.period_s)
        sim.measurements.clear()
        sim.clear_period()
    return np.array(counters), np.array(intra), np.array(watts)


def _column(counters: Floats, name: str) -> Floats:
    out: Floats = counters[:, :, NR_CELL_SLICES_V1.cell.index(name)]
    return out


def _row(label: str, counters: Floats, intra: Floats, watts: Floats) -> str:

    def get(name: str) -> Floats:
        return _column(counters, name)

    use, volume = get("RRU.PrbTotDl"), get("DRB.PdcpSduVolumeDL")
    active = get("DRB.MeanActiveUeDl")
    throughput = np.nansum(get("DRB.UEThpDl") * active) / max(active.sum(), 1e-9)
    tried = get("MM.HoExeInterReq").sum() + intra[:, 0].sum()
    good = get("MM.HoExeInterSucc").sum() + intra[:, 1].sum()
    hours = len(counters) / 60
    per_cell = use.mean(axis=0)
    change = np.diff(volume, axis=0).std(axis=0) / np.sqrt(2) / volume.mean(axis=0)
    cells = [
        f"{label:>10}", f"{use.mean():6.1f}", f"{per_cell.min():6.1f}", f"{per_cell.max():6.1f}",
        f"{volume.mean() / 60e3:7.1f}", f"{100 * change.mean():6.1f}", f"{throughput / 1e3:7.1f}",
        f"{get('RRC.ConnMean').mean():6.1f}", f"{get('TL.MeanCqiDl').mean():5.1f}", f"{tried / hours:7.0f}",
        f"{100 * (1 - good / max(tried, 1)):6.1f}", f"{get('TL.HoPingPong').sum() / hours:6.0f}",
        f"{get('RRC.ReEstabAtt').sum() / hours:6.0f}", f"{get('DRB.RlcPacketDropRateDl').mean() / 1e4:6.2f}",
        f"{watts.mean():7.0f}",
    ]  # fmt: skip
    return " ".join(cells)


_HEADER = (
    "           PRB mean    min    max  Mbit/s   CV %  UE Mb/s   conn   CQI"
    "    HO/h  fail %   pp/h  ree/h drop %   W/site"
)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m infra.network.day", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=int, nargs="*", default=list(range(0, 24, 3)))
    parser.add_argument("--periods", type=int, default=10, help="periods of each hour")
    parser.add_argument("--step-s", type=float, default=1.0)
    parser.add_argument("--sites", type=int, default=7)
    parser.add_argument("--users", type=int, default=400)
    given = parser.parse_args()
    parameters = Parameters.load(
        overrides={"time.step_s": given.step_s, "layout.sites": given.sites, "layout.users": given.users}
    )
    out = sys.stdout
    out.write(f"{parameters.name} {parameters.version}, seed {given.seed}, step {given.step_s} s\n{_HEADER}\n")
    busiest: tuple[Floats, Floats, Floats] | None = None
    for hour in given.hours:
        found = _hour(parameters, given.seed, hour, given.periods)
        out.write(_row(f"{hour:02d}:00", *found) + "\n")
        out.flush()
        if busiest is None or _column(found[0], "RRU.PrbTotDl").mean() > _column(busiest[0], "RRU.PrbTotDl").mean():
            busiest = found
    if busiest is not None:
        out.write(f"\nthe busiest of these hours, by cell\n{_HEADER}\n")
        counters, intra, watts = busiest
        for c in range(counters.shape[1]):
            none = np.zeros_like(intra)
            out.write(_row(f"{c // 3 + 1}/{c % 3 + 1}", counters[:, [c]], none, watts[:, [c // 3]]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the inner loop sees of a period: the twin, how it predicted lately, and what agents remember."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.storage.database import Connection
from infra.storage.revisions import PostgresSnapshotStore, latest_revision, load_revision
from infra.storage.strategies import attempts, locked_cells
from infra.storage.timeseries import read_kpis
from loops.agents.agent import NetworkView
from loops.agents.view import view_of
from loops.inner.evidence import Basis, Problem
from loops.inner.trust import basis_of, by_cell, touched
from schemas.ndt import Layer
from schemas.strategies import Strategy
from schemas.twin import TwinUpdate
from twin_core.kpis import POWER, PRB, kpis_of
from twin_core.regions import Shard
from twin_core.twin import Twin

Array = NDArray[np.float64]

# Periods from which the noise of observations is estimated: long enough for a spread, short enough to follow the day.
_RESIDUAL_PERIODS = 20
# Periods over which KPIs are smoothed for agents, and in which a cell must have reported at least once.
_SMOOTH_PERIODS, _SILENT_PERIODS = 5, 3


class Sight(NamedTuple):
    """The twin of a period and the KPIs of the periods before it.

    Parameters
    ----------
    observed, residuals
        KPI to [n, C], oldest first; NaN where missing. Power is shared among a managed element's cells.
    newest_ms
        End of the newest period that the database knows.
    halo
        Cells of the twin that other regions own: nobody here touches them.
    """

    twin: Twin
    region: str
    observed: Mapping[str, Array]
    residuals: Mapping[str, Array]
    newest_ms: int
    halo: frozenset[str] = frozenset()

    def basis(self, strategy: Strategy) -> Basis:
        """What a verdict on a strategy rests on."""
        basis = basis_of(self.twin, self.newest_ms, self.residuals, strategy, self.silent)
        if theirs := sorted(touched(strategy) & self.halo):
            text = f"it changes cells of another region, of which this twin knows too little: {', '.join(theirs)}"
            basis = replace(basis, problems=(*basis.problems, Problem(text, Layer.ALGORITHM)))
        return basis

    @property
    def silent(self) -> list[str]:
        """Cells on the air that have not reported their load lately."""
        twin = self.twin
        on_air = (twin.configuration.active & twin.environment.in_service).tolist()
        told = np.isfinite(self.observed[PRB][-_SILENT_PERIODS:]).sum(axis=0).tolist()
        return [cell for cell, on, heard in zip(twin.network.cells, on_air, told, strict=True) if on and not heard]

    def view(self, connection: Connection) -> NetworkView:
        """What agents see."""
        network_id = self.twin.network.topology.network_id
        return view_of(
            self.twin,
            self.region,
            {kpi: smoothed(values) for kpi, values in self.observed.items()},
            locked_cells(connection, network_id) | self.halo,
            attempts(connection, network_id, self.region, self.twin.period_end_ms),
        )


def sight_of(connection: Connection, twin: Twin, region: str, newest_ms: int, shard: Shard | None = None) -> Sight:
    """Look at the periods up to a twin's own; without a shard all of its cells are the region's own."""
    topology = twin.network.topology
    after_ms = twin.period_end_ms - _RESIDUAL_PERIODS * topology.granularity_s * 1000
    kpis = kpis_of(twin.network)
    rows = read_kpis(connection, topology.network_id, after_ms=after_ms, until_ms=twin.period_end_ms, kpis=kpis)
    at = {end: i for i, end in enumerate(sorted({row[0] for row in rows}))}
    places = {
        kpi: {dn: i for i, dn in enumerate(topology.managed_elements if kpi == POWER else topology.cell_names)}
        for kpi in kpis
    }
    observed = {kpi: np.full((len(at), len(where)), np.nan) for kpi, where in places.items()}
    predicted = {kpi: values.copy() for kpi, values in observed.items()}
    for end, dn, kpi, seen, said in rows:
        if dn in places[kpi]:
            place = at[end], places[kpi][dn]
            observed[kpi][place] = np.nan if seen is None else seen
            predicted[kpi][place] = np.nan if said is None else said
    residuals = {kpi: observed[kpi] - predicted[kpi] for kpi in kpis}
    residuals[POWER] = by_cell(residuals[POWER], twin)
    observed[POWER] = by_cell(observed[POWER], twin)
    return Sight(twin, region, observed, residuals, newest_ms, shard.halo if shard else frozenset())


def smoothed(values: Array) -> Array:
    """[C] mean over the latest periods, NaN where none has a value."""
    recent = values[-_SMOOTH_PERIODS:]
    known = np.isfinite(recent)
    n = known.sum(axis=0)
    return np.where(n > 0, np.where(known, recent, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)


def next_revision(
    connection: Connection, network_id: str, region: str, after_ms: int, *, newest: bool
) -> TwinUpdate | None:
    """The oldest, or the newest, revision whose period ended after a time; None if there is none."""
    row = connection.execute(
        "SELECT min(revision), max(revision) FROM revisions "
        "WHERE network_id = %s AND region = %s AND period_end_ms > %s",
        (network_id, region, after_ms),
    ).fetchone()
    found = row[int(newest)] if row else None
    return None if found is None else load_revision(connection, network_id, region, found)


def revision_at(connection: Connection, network_id: str, region: str, until_ms: int) -> int:
    """The newest revision whose period had ended by a time; 0 if there was none."""
    found = latest_revision(connection, network_id, region, until_ms)
    return found.revision if found else 0


def revision_to_fork(connection: Connection, network_id: str, region: str, revision: int) -> int:
    """The newest revision up to this one whose snapshot is kept; the revision itself where none is."""
    kept = PostgresSnapshotStore(lambda: connection).revisions(f"{network_id}|{region}")
    # What a twin began with (0) has seen nothing of the network.
    return max((r for r in kept if 0 < r <= revision), default=revision)

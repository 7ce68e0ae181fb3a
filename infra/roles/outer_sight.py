"""What the outer loop sees of a period: read from the database, where the twin role has written it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from infra.roles.base import Context
from infra.storage.database import Connection
from infra.storage.plans import hurt_parents
from infra.storage.revisions import PostgresSnapshotStore, latest_revision
from infra.storage.timeseries import read_kpis
from loops.outer.history import KpiHistory, history_from_rows
from loops.outer.inputs import Inputs
from loops.outer.plan import Attribute, Plan
from loops.outer.settings import OuterSettings
from processors.twin_sync import TwinSync
from schemas.names import managed_element_of
from schemas.topology import Topology
from twin_core.regions import regions_of

_LOAD = "RRU.PrbTotDl"
# The network's load of one period is noisy; the verdict's range is one of means.
_LOAD_PERIODS = 3


class Known(NamedTuple):
    """What the network had reported of itself by a revision."""

    configuration: Mapping[Attribute, float | str]
    out_of_service: frozenset[str]


NOTHING = Known({}, frozenset())


class Sight:
    """Reads inputs of the outer loop.

    Parameters
    ----------
    topology
        Of the network.
    policy
        Says how far back KPIs are needed.
    """

    def __init__(self, context: Context, topology: Topology, policy: OuterSettings) -> None:
        self._context, self._topology, self._policy = context, topology, policy
        settings = context.settings.twin
        self._syncs = {
            region: TwinSync(topology, context.serde, settings.governance, settings.core, region)
            for region in regions_of(topology)
        }

    def of_period(self, connection: Connection, period_end_ms: int, plans: list[Plan]) -> Inputs:
        """Inputs at the end of a period.

        The actual configuration is what the network has reported, not what the twin assumes; it is known only for
        periods whose snapshot was kept.
        """
        context = self._context
        latest = {r: latest_revision(connection, context.network_id, r, period_end_ms) for r in self._syncs}
        now = {r: update for r, update in latest.items() if update and update.period_end_ms == period_end_ms}
        current = len(now) == len(self._syncs)
        known = self.known_at(connection, {r: u.revision for r, u in now.items()}) if current else NOTHING
        history = self._history(connection, period_end_ms, plans)
        return Inputs(
            period_end_ms=period_end_ms,
            granularity_ms=self._topology.granularity_s * 1000,
            gate_open=current and all(update.gate_open for update in now.values()),
            load_pct=load_of(history),
            history=history,
            actual=known.configuration,
            out_of_service=known.out_of_service,
            hurt=hurt_parents(connection, context.network_id),
        )

    def known_at(self, connection: Connection, revisions: Mapping[str, int]) -> Known:
        """What the network had reported by these revisions of its regions, each of its own cells.

        Of regions that are not named, or whose snapshot is not kept, nothing is known.
        """
        configuration: dict[Attribute, float | str] = {}
        out_of_service: set[str] = set()
        store = PostgresSnapshotStore(lambda: connection)
        for region, revision in revisions.items():
            if region not in self._syncs:
                continue
            try:
                saved = store.load(f"{self._context.network_id}|{region}", revision)
            except KeyError:
                continue
            sync = self._syncs[region]
            state, elements = sync.load(saved.payload), sync.shard.elements
            entries = state.governance.configuration.items()
            configuration |= {key: entry.value for key, entry in entries if managed_element_of(key[0]) in elements}
            in_service = state.twin.environment.in_service.tolist()
            down = {cell for cell, up in zip(sync.topology.cell_names, in_service, strict=True) if not up}
            out_of_service |= down & sync.shard.owned
        return Known(configuration, frozenset(out_of_service))

    def _history(self, connection: Connection, period_end_ms: int, plans: list[Plan]) -> KpiHistory:
        pushed = [p.first_push_ms for p in plans if p.first_push_ms is not None]
        periods = self._policy.before_periods + 1
        earliest = min([period_end_ms, *pushed]) - periods * self._topology.granularity_s * 1000
        rows = read_kpis(connection, self._context.network_id, after_ms=earliest, until_ms=period_end_ms)
        return history_from_rows((end, kpi, dn, observed) for end, dn, kpi, observed, _ in rows)


def load_of(history: KpiHistory) -> float:
    """PRB use of the network over the last periods, %; NaN if it was not reported."""
    series = history.series.get(_LOAD)
    if series is None:
        return float("nan")
    recent = series.values[-_LOAD_PERIODS:]
    return float(np.nanmean(recent)) if np.isfinite(recent).any() else float("nan")

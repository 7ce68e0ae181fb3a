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
from schemas.topology import Topology

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
        self._sync = TwinSync(topology, context.serde, context.settings.twin.governance, context.settings.twin.core)

    def of_period(self, connection: Connection, period_end_ms: int, plans: list[Plan]) -> Inputs:
        """Inputs at the end of a period.

        The actual configuration is what the network has reported, not what the twin assumes; it is known only for
        periods whose snapshot was kept.
        """
        context = self._context
        revision = latest_revision(connection, context.network_id, context.region, period_end_ms)
        current = revision is not None and revision.period_end_ms == period_end_ms
        known = self.known_at(connection, revision.revision) if current and revision else NOTHING
        history = self._history(connection, period_end_ms, plans)
        return Inputs(
            period_end_ms=period_end_ms,
            granularity_ms=self._topology.granularity_s * 1000,
            gate_open=bool(current and revision and revision.gate_open),
            load_pct=load_of(history),
            history=history,
            actual=known.configuration,
            out_of_service=known.out_of_service,
            hurt=hurt_parents(connection, context.network_id),
        )

    def known_at(self, connection: Connection, revision: int) -> Known:
        """What the network had reported by a revision; nothing if its snapshot is not kept."""
        context = self._context
        try:
            store = PostgresSnapshotStore(lambda: connection)
            saved = store.load(f"{context.network_id}|{context.region}", revision)
        except KeyError:
            return NOTHING
        state = self._sync.load(saved.payload)
        in_service = state.twin.environment.in_service.tolist()
        return Known(
            {key: entry.value for key, entry in state.governance.configuration.items()},
            frozenset(c for c, up in zip(self._topology.cell_names, in_service, strict=True) if not up),
        )

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

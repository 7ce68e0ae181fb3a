"""What the database and Kafka are told about a revision of the twin."""

import numpy as np

from infra.storage.database import Connection
from infra.storage.timeseries import write_kpis
from processors.twin_sync import Revision
from schemas.twin import KpiFidelity, TwinUpdate
from streams.frontier import from_keys, to_records
from twin_core.kpis import POWER, kpis_of
from twin_core.regions import Shard

# Fidelity is never below -1, so that a gate there blocks nothing: the KPI is only reported.
_NO_GATE = -1.0
# The outer loop watches these; the twin does not predict them.
_OBSERVED_ONLY = ("RRC.ReEstabAtt", "MM.HoExeInterFail")


def update_of(revision: Revision, network_id: str, region: str) -> TwinUpdate:
    """The record of a revision, as it stands in its row and on ``twin.updates``."""
    twin = revision.twin
    return TwinUpdate(
        network_id=network_id,
        event_id=f"{region}/{twin.revision}",
        region=region,
        revision=twin.revision,
        period_end_ms=revision.epoch.period_end_ms,
        frontier=to_records(from_keys(twin.frontier)),
        state_hash=twin.state_hash(),
        model_versions=dict(twin.model_versions),
        fidelity=[
            KpiFidelity(kpi=kpi, score=score.score, gate=score.gate if score.gated else _NO_GATE)
            for kpi, score in sorted(twin.fidelity.items())
        ],
        gate_open=twin.gate_open,
        counts=revision.epoch.counts,
    )


def write_kpi_rows(connection: Connection, revision: Revision, network_id: str, shard: Shard, *, new: bool) -> None:
    """Rows of observed KPIs of a region's own cells beside what the twin had predicted of the period.

    One row per cell, and per managed element for what is reported per element (PEE.AvgPower).
    """
    network, seen = revision.twin.network, revision.observation
    cells = [cell for cell in network.cells if cell in shard.owned]
    own = [network.cell_index(cell) for cell in cells]
    kpis = [*(kpi for kpi in kpis_of(network) if kpi != POWER), *_OBSERVED_ONLY]
    unpredicted = np.full(len(network.cells), np.nan)
    write_kpis(
        connection,
        network_id,
        seen.period_end_ms,
        cells,
        kpis,
        observed=np.stack([seen.counter(kpi, len(network.cells))[own] for kpi in kpis], axis=1),
        predicted=np.stack([revision.predicted.get(kpi, unpredicted)[own] for kpi in kpis], axis=1),
        new=new,
    )
    power = np.zeros(len(network.elements))
    np.add.at(power, network.element_of.numpy(), revision.predicted[POWER])
    mine = [e for e, name in enumerate(network.elements) if name in shard.elements]
    write_kpis(
        connection,
        network_id,
        seen.period_end_ms,
        [network.elements[e] for e in mine],
        [POWER],
        observed=seen.element_power_w[mine, None],
        predicted=power[mine, None],
        new=new,
    )

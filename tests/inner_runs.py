"""A rig around the inner loop's role: a toy network whose twin stands in the database as the twin role leaves it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from infra.roles.base import Context
from infra.storage import progress
from infra.storage.database import Connection, Database, connect
from infra.storage.revisions import PostgresSnapshotStore, save_revision
from infra.storage.timeseries import write_kpis
from loops.inner.design import Design
from processors.twin_sync import TwinState, TwinSync
from schemas.ndt import NdtReport
from schemas.strategies import Strategy
from schemas.topology import Topology
from schemas.twin import EventCounts, TwinUpdate
from streams.schema_ids import LocalIds
from streams.serde import Serde
from streams.snapshots import Snapshot
from tests.twin_runs import tell_topology
from tests.unit.toy_network import ToyNetwork
from twin_core.fidelity import KpiScore
from twin_core.kpis import KPIS, POWER
from twin_core.layouts import hexagonal
from twin_core.observation import PeriodObservation
from twin_core.twin import Twin

PERIOD_MS = 60_000
# Few scenarios and a short horizon: what is tested with a rig does not depend on how many.
DESIGN = Design(alpha=0.3, confidence=0.9, looks=(4, 10), horizon_periods=2)
WARM_UP = 3


@lru_cache(maxsize=4)
def story(network_id: str, periods: int) -> tuple[tuple[Twin, PeriodObservation, Twin], ...]:
    """Twin after each period, what was observed in it, and the twin before."""
    torch.set_num_threads(1)
    network = ToyNetwork(topology(network_id), users=90, kbps_per_user=250)
    out, twin = [], Twin.create(topology(network_id))
    for _ in range(periods):
        before, seen = twin, network.step()
        twin = twin.apply(seen, {})
        scores = {k: KpiScore(k, 0.95, s.gate, periods=99, latest=0.95) for k, s in twin.fidelity.items()}
        twin = replace(twin, fidelity=scores)
        out.append((twin, seen, before))
    return tuple(out)


def topology(network_id: str) -> Topology:
    """Nine lightly loaded cells."""
    return hexagonal(sites=3, network_id=network_id)


@dataclass
class Rig:
    """Writes what the twin role would have written, period by period."""

    context: Context
    periods: int = 5

    def __post_init__(self) -> None:
        tell_topology(self.context.database_url, topology(self.context.network_id))
        self._sync = TwinSync(topology(self.context.network_id), Serde(LocalIds()))

    def twin(self, period: int) -> Twin:
        """The twin after a period, counted from 1."""
        return story(self.context.network_id, self.periods)[period - 1][0]

    def step(self, *periods: int) -> int:
        """The twin role finishes these periods; the end of the last."""
        for period in periods:
            with Database(self.context.database_url) as database, database.transaction() as connection:
                self._write(connection, *story(self.context.network_id, self.periods)[period - 1])
        return periods[-1] * PERIOD_MS

    def _write(self, connection: Connection, twin: Twin, seen: PeriodObservation, before: Twin) -> None:
        network_id, cells = self.context.network_id, twin.network.cells
        counts = EventCounts(ingested=0, applied=0, duplicate=0, late=0, dead_lettered=0, in_flight=0)
        save_revision(
            connection,
            TwinUpdate(
                network_id=network_id,
                event_id=f"1/{twin.revision}",
                region="1",
                revision=twin.revision,
                period_end_ms=twin.period_end_ms,
                frontier=[],
                state_hash=twin.state_hash(),
                model_versions=dict(twin.model_versions),
                fidelity=[],
                gate_open=twin.gate_open,
                counts=counts,
            ),
        )
        state = TwinState(twin, self._sync.initial().governance)
        store = PostgresSnapshotStore(lambda: connection)
        store.save(f"{network_id}|1", Snapshot(twin.revision, {}, self._sync.dump(state)))
        kpis = [k for k in KPIS if k != POWER]
        observed = np.stack([seen.counter(k, len(cells)) for k in kpis], axis=1)
        predicted = np.stack([before.predicted[k].numpy() for k in kpis], axis=1)
        write_kpis(connection, network_id, twin.period_end_ms, cells, kpis, observed, predicted)
        elements = twin.network.elements
        said = np.zeros(len(elements))
        np.add.at(said, twin.network.element_of.numpy(), before.predicted[POWER].numpy())
        write_kpis(
            connection, network_id, twin.period_end_ms, elements, [POWER], seen.element_power_w[:, None], said[:, None]
        )
        progress.report(connection, network_id, "twin", twin.period_end_ms)

    # -- looking

    def reports(self) -> list[NdtReport]:
        """All verdicts, in order of strategy."""
        with connect(self.context.database_url) as connection:
            rows = connection.execute(
                "SELECT body FROM verdicts WHERE network_id = %s ORDER BY strategy_id, job_id",
                (self.context.network_id,),
            ).fetchall()
        return [NdtReport.model_validate(row[0]) for row in rows]

    def strategies(self) -> dict[str, tuple[Strategy, str]]:
        """Id to strategy and state."""
        with connect(self.context.database_url) as connection:
            rows = connection.execute(
                "SELECT body, state FROM strategies WHERE network_id = %s", (self.context.network_id,)
            ).fetchall()
        return {s.strategy_id: (s, state) for s, state in ((Strategy.model_validate(b), st) for b, st in rows)}

    def column(self, what: str) -> list[Any]:
        """One column of a table: ``table.column``."""
        table, name = what.split(".")
        with connect(self.context.database_url) as connection:
            return [
                row[0]
                for row in connection.execute(
                    f"SELECT {name} FROM {table} WHERE network_id = %s ORDER BY 1",  # names of ours
                    (self.context.network_id,),
                )
            ]


def switch_off(cells: Sequence[str], min_gain: float = 0.01) -> str:
    """A strategy file that switches cells off, by their short names."""
    return yaml.safe_dump(
        {
            "title": f"Switch off {', '.join(cells)}",
            "by": "anna",
            "objective": {"kpi": "PEE.AvgPower", "direction": "down", "min_gain": min_gain},
            "changes": [{"cell": c, "attribute": "administrativeState", "value": "LOCKED"} for c in cells],
        }
    )


def schedule(folder: Path, **strategies: str) -> Path:
    """A schedule that hands these in: ``p4_name="..."`` in period 4."""
    entries = []
    for name, text in strategies.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        entries.append({"at_period": int(name.split("_")[0][1:]), "file": f"{name}.yaml"})
    path = folder / "schedule.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path


def inner_settings(path: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Settings of the inner loop for a rig."""
    return {"design": DESIGN, "schedule": path, "agents": (), "warm_up_periods": WARM_UP, **changes}

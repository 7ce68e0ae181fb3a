"""A network for tests of the outer loop: 21 cells whose KPIs and configuration a test bends as it likes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loops.outer.history import KpiHistory, Series
from loops.outer.inputs import Inputs
from loops.outer.neighbours import NeighbourGraph, neighbour_graph
from loops.outer.plan import Plan, plan_from
from schemas.names import beam_dn, cell_dn, managed_element_of, relation_dn, sector_carrier_dn
from schemas.ndt import NdtReport, Prediction, Verdict
from schemas.plans import AckStatus, ConfigAck, ConfigCommand
from schemas.strategies import ConfigChange, Direction, Guard, Objective, Strategy
from schemas.topology import CellSite, Topology

NETWORK = "hex"
PERIOD_MS = 60_000
T0 = 1_700_000_040_000
Attribute = tuple[str, str]


def end(period: int) -> int:
    """End of period 1, 2, 3, …"""
    return T0 + period * PERIOD_MS


def hexagonal(rings: int = 1, spacing_m: float = 500.0, network_id: str = NETWORK) -> Topology:
    """Sites on a hexagonal grid, three cells each: 21 cells with one ring, 57 with two."""
    places = [
        (spacing_m * (q + r / 2), spacing_m * math.sqrt(3) / 2 * r)
        for q in range(-rings, rings + 1)
        for r in range(-rings, rings + 1)
        if abs(q + r) <= rings
    ]
    cells = tuple(
        CellSite(
            cell=cell_dn(f"SubNetwork=1,ManagedElement=gnb{i}", sector + 1),
            x_m=x,
            y_m=y,
            height_m=25,
            azimuth_deg=30 + 120 * sector,
            carrier_ghz=3.5,
            prbs=106,
            max_tx_power_mw=40_000,
        )
        for i, (x, y) in enumerate(places)
        for sector in range(3)
    )
    return Topology(network_id=network_id, cells=cells)


TOPOLOGY = hexagonal()
CELLS = TOPOLOGY.cell_names
GRAPH: NeighbourGraph = neighbour_graph(TOPOLOGY)


def change(dn: str, attribute: str, value: float | str) -> ConfigChange:
    """One change, named by what it changes."""
    return ConfigChange(change_id=f"{attribute}@{dn}"[-200:], object=dn, attribute=attribute, value=value)


def power(cell: str, mw: float = 20_000) -> ConfigChange:
    """Less transmit power."""
    return change(sector_carrier_dn(cell), "configuredMaxTxPower", mw)


def lock(cell: str) -> ConfigChange:
    """Switch a cell off."""
    return change(cell, "administrativeState", "LOCKED")


def bias(source: str, target: str, db: float) -> ConfigChange:
    """Handover bias."""
    return change(relation_dn(source, target), "cellIndividualOffset", db)


def distant_cells(count: int = 2) -> list[str]:
    """Cells that are no neighbours of each other."""
    chosen: list[str] = []
    for cell in CELLS:
        if all(cell not in GRAPH.area([c]) for c in chosen):
            chosen.append(cell)
    return chosen[:count]


def strategy(changes: Sequence[ConfigChange], strategy_id: str = "s-1", **fields: Any) -> Strategy:
    """A strategy to save energy."""
    values: dict[str, Any] = {
        "network_id": NETWORK,
        "event_id": strategy_id,
        "strategy_id": strategy_id,
        "agent": "person:test",
        "title": f"Test {strategy_id}",
        "changes": list(changes),
        "objective": Objective(kpi="PEE.AvgPower", direction=Direction.DOWN),
        "proposed_at_ms": end(0),
        "revision": 1,
    }
    return Strategy.model_validate(values | fields)


def report(of: Strategy, *, decided: int = 0, valid: int = 60, **fields: Any) -> NdtReport:
    """A verdict that approves."""
    nan = float("nan")
    values: dict[str, Any] = {
        "network_id": of.network_id,
        "event_id": f"job-{of.strategy_id}/report",
        "job_id": f"job-{of.strategy_id}",
        "strategy_id": of.strategy_id,
        "region": of.region,
        "verdict": Verdict.APPROVED,
        "reason": "no harm in 192 scenarios of each class",
        "p_harm": 0.0,
        "p_harm_low": 0.0,
        "p_harm_high": 0.03,
        "alpha": 0.05,
        "confidence": 0.95,
        "p_benefit": 0.97,
        "scenarios": [],
        "not_covered": [],
        "predictions": [
            Prediction(kpi="DRB.UEThpDl", cell=c, baseline=20_000, predicted=-200, low=-2000, high=1500)
            for c in ("", *CELLS)
        ]
        + [
            Prediction(kpi="DRB.PdcpSduVolumeDL", cell=c, baseline=1e6, predicted=0, low=-1e5, high=1e5)
            for c in ("", *CELLS)
        ],
        "revisions": {of.region: 1},
        "model_versions": {},
        "decided_at_ms": end(decided),
        "valid_until_ms": end(decided + valid),
        "load_low": nan,
        "load_high": nan,
    }
    return NdtReport.model_validate(values | fields)


def plan_for(
    changes: Sequence[ConfigChange], network: "FakeNetwork", *, guards: Sequence[Guard] = (), **fields: Any
) -> Plan:
    """A plan for an approved strategy, not yet admitted."""
    proposed = strategy(changes, **{k: v for k, v in fields.items() if k in Strategy.model_fields})
    verdict = report(proposed, **{k: v for k, v in fields.items() if k not in Strategy.model_fields})
    return plan_from(proposed, verdict, guards, GRAPH, network.actual, end(0))


@dataclass
class FakeNetwork:
    """Answers commands, and reports KPIs with a little noise, seeded.

    Attributes
    ----------
    actual
        Configuration in force.
    harm
        Relative loss of throughput by cell, while the transmit power of ``harmed_by`` is not the initial one.
    """

    topology: Topology = TOPOLOGY
    seed: int = 1
    noise: float = 0.05
    harm: Mapping[str, float] = field(default_factory=dict)
    harmed_by: str = ""
    lose: set[str] = field(default_factory=set)  # managed elements whose commands vanish
    refuse: set[str] = field(default_factory=set)
    mute: set[int] = field(default_factory=set)  # periods without reports
    actual: dict[Attribute, float | str] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)  # command ids, in order
    period: int = 0

    def __post_init__(self) -> None:
        self.graph = GRAPH if self.topology is TOPOLOGY else neighbour_graph(self.topology)
        self._rng = np.random.default_rng(self.seed)
        self._rows: dict[str, list[np.ndarray]] = {}
        self._ends: list[int] = []
        names = self.topology.cell_names
        self._base = self._rng.uniform(0.7, 1.3, len(names))
        for cell in names:
            self.actual[sector_carrier_dn(cell), "configuredMaxTxPower"] = 40_000.0
            self.actual[beam_dn(cell), "digitalTilt"] = 60.0
            self.actual[cell, "administrativeState"] = "UNLOCKED"
            for neighbour in sorted(self.graph.ring([cell])):
                self.actual[relation_dn(cell, neighbour), "cellIndividualOffset"] = 0.0
        self._initial = dict(self.actual)

    def step(self, periods: int = 1) -> None:
        """Let periods pass."""
        names = self.topology.cell_names
        for _ in range(periods):
            self.period += 1
            noise = {k: np.exp(self.noise * self._rng.standard_normal(len(names))) for k in ("thp", "vol", "prb")}
            loss = np.array([1 - self.harm.get(c, 0.0) if self._harmed() else 1.0 for c in names])
            on = np.array([self.actual[c, "administrativeState"] == "UNLOCKED" for c in names])
            values = {
                "DRB.UEThpDl": np.where(on, 20_000 * self._base * noise["thp"] * loss, np.nan),
                "DRB.PdcpSduVolumeDL": np.where(on, 1e6 * self._base * noise["vol"], 0.0),
                "RRU.PrbTotDl": np.where(on, np.minimum(40 * self._base * noise["prb"], 100), np.nan),
                "RRC.ReEstabAtt": self._rng.poisson(0.3, len(names)).astype(float),
                "RRC.ConnMean": np.where(on, 19 * self._base, 0.0),
            }
            if self.period not in self.mute:
                self._ends.append(end(self.period))
                for kpi, row in values.items():
                    self._rows.setdefault(kpi, []).append(row)

    def _harmed(self) -> bool:
        key = (sector_carrier_dn(self.harmed_by or self.topology.cell_names[0]), "configuredMaxTxPower")
        return self.actual[key] != self._initial[key]

    def receive(self, command: ConfigCommand) -> ConfigAck | None:
        """Execute a command; None if it got lost."""
        if command.managed_element in self.lose:
            return None
        status, reason = AckStatus.APPLIED, ""
        if command.managed_element in self.refuse:
            status, reason = AckStatus.REJECTED, "maintenance"
        elif command.command_id in self.applied:
            status = AckStatus.DUPLICATE
        else:
            self.applied.append(command.command_id)
            self.actual |= {(c.object, c.attribute): c.value for c in command.changes}
        return ConfigAck(
            network_id=command.network_id,
            event_id=f"{command.command_id}/{len(self.applied)}",
            command_id=command.command_id,
            managed_element=command.managed_element,
            status=status,
            reason=reason,
            time_ms=end(self.period),
        )

    def history(self) -> KpiHistory:
        """All reports so far."""
        names = self.topology.cell_names
        return KpiHistory(
            np.array(self._ends, dtype=np.int64),
            {k: Series(names, np.stack(rows)) for k, rows in self._rows.items()},
        )

    def inputs(self, **fields: Any) -> Inputs:
        """What the outer loop sees at the end of the present period."""
        values: dict[str, Any] = {
            "period_end_ms": end(self.period),
            "granularity_ms": PERIOD_MS,
            "gate_open": True,
            "load_pct": 40.0,
            "history": self.history(),
            "actual": dict(self.actual),
        }
        return Inputs(**(values | fields))


__all__ = [
    "CELLS", "GRAPH", "NETWORK", "PERIOD_MS", "TOPOLOGY", "FakeNetwork", "bias", "change", "distant_cells", "end",
    "hexagonal", "lock", "managed_element_of", "plan_for", "power", "report", "strategy",
]  # fmt: skip

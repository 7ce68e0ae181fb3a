"""Short runs of the reference network in this process, for tests."""

import json
from typing import Any

from infra.line_protocol.messages import Command, Inject, RawChange, Start
from infra.network.parameters import Parameters
from infra.network.reporting import Outgoing
from infra.network.service import ReferenceNetwork
from schemas.counters import layout
from schemas.names import managed_element_of
from schemas.plans import AckStatus

EVENING_MS = 1_768_244_400_000
PERIOD_S = 20
PERIOD_MS = 1000 * PERIOD_S
CELL = "SubNetwork=1,ManagedElement=gnb{0},GNBDUFunction=1,NRCellDU={1}"


def cell(site: int, sector: int = 1) -> str:
    """Name of a cell."""
    return CELL.format(site, sector)


class Run:
    """A started network with few users and short periods, at steps of one second."""

    def __init__(self, seed: int = 1, start_ms: int = EVENING_MS, **overrides: Any) -> None:
        given = {
            "time.step_s": 1.0,
            "time.period_s": PERIOD_S,
            "time.warmup_s": 5.0,
            "layout.users": 100,
            "propagation.pixel_m": 25.0,
        }
        given |= {name.replace("__", "."): value for name, value in overrides.items()}
        self.network = ReferenceNetwork(Parameters.load(overrides=given), "test")
        list(self.network.start(Start(seed=seed, start_time_ms=start_ms)))

    @property
    def sim(self) -> Any:
        """The simulation inside."""
        return self.network._run[0]

    def step(self) -> list[Outgoing]:
        """One period's lines."""
        return list(self.network.step())

    def events(self, topic: str) -> list[dict[str, Any]]:
        """One period's events of a topic."""
        return events(self.step(), topic)

    def set(self, name: str, dn: str, attribute: str, value: float | str) -> AckStatus | None:
        """A command of one change."""
        change = RawChange(object=dn, attribute=attribute, value=value)
        answer = self.network.command(Command(id=name, managed_element=managed_element_of(dn), changes=[change]))
        if answer is None:
            return None
        self.told = list(answer[2])
        return answer[0]

    def inject(self, fault: str, target: str = "", periods: float = 1, delay_s: float = 0, **parameters: float) -> None:
        """A fault that begins now, or later."""
        self.network.inject(
            Inject(
                id=fault,
                fault=fault,
                target=target,
                delay_s=delay_s,
                duration_s=PERIOD_S * periods,
                parameters=parameters,
            )
        )


def events(lines: list[Outgoing], topic: str) -> list[dict[str, Any]]:
    """Events of a topic among lines."""
    return [json.loads(line.text) for line in lines if line.topic == topic]


def counters(reports: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Counters by cell and name."""
    return {
        c["cell"]: dict(zip(layout(report["layout"]).cell, c["values"], strict=True))
        for report in reports
        for c in report["cells"]
    }

"""What the network reports at the end of a period: PM counters, measurements, configuration; and alarms in between.

Reporting faults act here and only here: the network goes on as it does, its reports lie, repeat or come late.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from infra.network.arrays import Flags, Floats, Index
from infra.network.configuration import Setting
from infra.network.faults import Fault, FaultKind
from infra.network.simulation import Simulation
from infra.network.tally import Tally
from schemas.counters import (
    CELL_COUNTERS,
    EMBB,
    URLLC,
    WRAP_MODULUS,
    Kind,
    Layout,
    common_layout,
    sliced,
)
from schemas.names import managed_element_of

_ABSURD_PERCENT = 640.0
_SHARED = ("used_s", "served_kbit", "burst_s", "waiting_kbit_s")  # sums of files, and with a prefix of packets
_POISON = '{{"type":"event","topic":"telemetry.pm","event":{{"managed_element":"{element}","period_end_ms":{end_ms},"ce'


class Outgoing(NamedTuple):
    """A line to write: an event of a topic, or, without topic, whatever it is."""

    topic: str | None
    text: str


class Reporting:
    """Turns a simulation's sums into events."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._topology = simulation.sites.topology
        cells = simulation.sites.cells
        self._layout = layout_of(simulation)
        names = self._layout.cell
        self._prb_use = names.index("RRU.PrbTotDl")
        self._cumulative = np.array([CELL_COUNTERS[name].kind == Kind.CC for name in names])
        shape = (cells, len(names))
        self._running = np.zeros(shape)  # cumulative counters, modulo 2^32
        self._energy_kwh = np.zeros(len(simulation.sites.x_m))
        self._last = np.full(shape, np.nan)  # what was reported last
        self._before_reset = np.zeros(shape)  # what the period had counted when a reset hit
        self._held: list[tuple[int, Outgoing]] = []  # late events, with the period end at which they go out

    def after_step(self, changed: list[Setting], began_ms: int) -> Iterator[Outgoing]:
        """Alarms and notifications of one step, and faults that act once."""
        sim = self._sim
        for fault in sim.faults.all:
            if fault.kind == FaultKind.CELL_OUTAGE:
                if fault.now(began_ms) and not fault.begun:
                    yield from self._event("telemetry.fm", self._alarm(fault, "CRITICAL", sim.now_ms))
                elif began_ms >= fault.end_ms and fault.begun and not fault.ended:
                    yield from self._event("telemetry.fm", self._alarm(fault, "CLEARED", sim.now_ms))
            elif fault.kind == FaultKind.COUNTER_RESET and fault.now(began_ms) and not fault.begun:
                hit = sim.faults.cells_hit(fault)
                self._running[hit] = 0
                self._before_reset[hit] = self._counted()[hit]
            fault.begun |= began_ms >= fault.start_ms
            fault.ended |= began_ms >= fault.end_ms
        for setting in changed:
            yield from self.change([setting], sim.now_ms, None)

    def change(self, changes: list[Setting], time_ms: int, command_id: str | None) -> Iterator[Outgoing]:
        """A notification that attributes of one managed element changed."""
        element = managed_element_of(changes[0].object)
        cause = command_id or f"self:{changes[0].object}"
        yield from self._event(
            "telemetry.cm", self._configuration(element, "change", changes, time_ms, cause, command_id)
        )

    def end_of_period(self) -> Iterator[Outgoing]:
        """All reports of the period that ends now."""
        sim = self._sim
        end_ms = sim.now_ms
        start_ms = end_ms - 1000 * sim.p.time.period_s
        yield from self._release(end_ms)
        for outgoing in self._reports(end_ms):
            yield from outgoing
        for fault in sim.faults.within(FaultKind.POISON, start_ms, end_ms):
            element = fault.target or self._topology.managed_elements[0]
            for _ in range(int(fault.parameters["lines"])):
                yield Outgoing(None, _POISON.format(element=element, end_ms=end_ms))
        sim.clear_period()
        self._before_reset[:] = 0
        sim.faults.forget_before(start_ms)

    def _reports(self, end_ms: int) -> Iterator[Iterator[Outgoing]]:
        cells, suspect = self._cell_values()
        elements = self._element_values()
        for e, element in enumerate(self._topology.managed_elements):
            here = np.flatnonzero(self._sim.sites.site_of == e)
            yield self._event("telemetry.pm", self._pm(element, here, cells, suspect, elements[e], end_ms), late=True)
        for element, text in self._sim.measurements.write(end_ms):
            yield self._send("telemetry.mr", element, text, late=True)
        for element in self._topology.managed_elements:
            settings = self._sim.configuration.settings(element)
            yield self._event("telemetry.cm", self._configuration(element, "snapshot", settings, end_ms, "", None))

    # -- sending, through the faults that delay and repeat

    def _event(self, topic: str, event: dict[str, Any], late: bool = False) -> Iterator[Outgoing]:
        text = json.dumps(event, separators=(",", ":"), allow_nan=False)
        return self._send(topic, event["managed_element"], text, late)

    def _send(self, topic: str, element: str, text: str, late: bool) -> Iterator[Outgoing]:
        sim, out = self._sim, Outgoing(topic, text)
        # A fault that ends with the period still holds for its reports.
        when = sim.now_ms - 1
        if late:
            for fault in sim.faults.within(FaultKind.LATE_EVENTS, when, when + 1):
                if not fault.target or managed_element_of(fault.target) == element:
                    due = sim.now_ms + int(fault.parameters["periods"]) * 1000 * sim.p.time.period_s
                    self._held.append((due, out))
                    return
        yield out
        if sim.faults.element_hit(FaultKind.DUPLICATE_EVENTS, element, when):
            yield out

    def _release(self, end_ms: int) -> Iterator[Outgoing]:
        for _, out in (h for h in self._held if h[0] <= end_ms):
            yield out
        self._held = [h for h in self._held if h[0] > end_ms]

    # -- values

    def _counted(self) -> Floats:
        """[C, K] counters of the period so far."""
        return counter_values(self._sim)

    def _cell_values(self) -> tuple[Floats, Flags]:
        sim = self._sim
        end_ms = sim.now_ms
        start_ms = end_ms - 1000 * sim.p.time.period_s
        values = self._counted()
        since_reset = values - self._before_reset
        values[:, self._cumulative] = since_reset[:, self._cumulative]
        suspect = (self._before_reset != 0).any(axis=1)
        if sim.p.reporting.collection == "cumulative":
            self._running += np.nan_to_num(since_reset)
            self._running %= WRAP_MODULUS
            values[:, self._cumulative] = self._running[:, self._cumulative]
            suspect[:] = False  # a reset of cumulative counters shows in the values
        for fault in sim.faults.within(FaultKind.STUCK_COUNTERS, start_ms, end_ms):
            hit = sim.faults.cells_hit(fault)
            values[hit] = self._last[hit]
        self._last = values.copy()
        for fault in sim.faults.within(FaultKind.OUT_OF_RANGE, start_ms, end_ms):
            values[sim.faults.cells_hit(fault), self._prb_use] = _ABSURD_PERCENT
        return values, suspect

    def _element_values(self) -> Floats:
        """[E, 2] PEE.AvgPower, PEE.Energy."""
        sim = self._sim
        watts = sim.site_energy_ws / sim.p.time.period_s
        kwh = sim.site_energy_ws / 3.6e6
        if sim.p.reporting.collection == "cumulative":
            self._energy_kwh += kwh
            kwh = self._energy_kwh
        return np.stack([watts, kwh], axis=1)

    # -- events

    def _pm(
        self,
        element: str,
        here: Index,
        cells: Floats,
        suspect: Flags,
        own: Floats,
        end_ms: int,
    ) -> dict[str, Any]:
        names = self._topology.cell_names
        return {
            "network_id": self._topology.network_id,
            "event_id": f"pm:{element}:{end_ms}",
            "managed_element": element,
            "period_end_ms": end_ms,
            "granularity_s": self._sim.p.time.period_s,
            "layout": self._layout.name,
            "collection": self._sim.p.reporting.collection,
            "cells": [{"cell": names[c], "values": _rounded(cells[c]), "suspect": bool(suspect[c])} for c in here],
            "element_values": [round(float(v), 6) for v in own],
        }

    def _alarm(self, fault: Fault, severity: str, time_ms: int) -> dict[str, Any]:
        alarm_id = f"outage:{fault.target}:{fault.start_ms}"
        return {
            "network_id": self._topology.network_id,
            "event_id": f"{alarm_id}:{severity}",
            "managed_element": managed_element_of(fault.target),
            "time_ms": time_ms,
            "alarm_id": alarm_id,
            "object": fault.target,
            "probable_cause": "cell unavailable",
            "severity": severity,
            "text": f"cell off the air: {fault.target}",
        }

    def _configuration(
        self, element: str, kind: str, settings: list[Setting], time_ms: int, cause: str, command_id: str | None
    ) -> dict[str, Any]:
        return {
            "network_id": self._topology.network_id,
            "event_id": f"cm:{kind}:{cause or element}:{time_ms}",
            "managed_element": element,
            "time_ms": time_ms,
            "kind": kind,
            "values": [s._asdict() for s in settings],
            "command_id": command_id,
        }

    # -- saved state

    ARRAYS = ("_running", "_energy_kwh", "_last", "_before_reset")

    def held(self) -> list[list[Any]]:
        """Late events still to go out, for a saved state."""
        return [[due, out.topic, out.text] for due, out in self._held]

    def hold(self, saved: list[list[Any]]) -> None:
        """Continue with saved late events."""
        self._held = [(due, Outgoing(topic, text)) for due, topic, text in saved]


def layout_of(sim: Simulation) -> Layout:
    """The order of the counters of a network with slices, or of one without."""
    return common_layout(sliced=bool(sim.sites.topology.slices))


def counter_values(sim: Simulation) -> Floats:
    """[C, K] PM counters of the period so far, in the order of the layout; NaN where undefined."""
    t: Tally = sim.tally
    period_s = float(sim.p.time.period_s)
    files, packets = (np.stack([t[prefix + name] for name in _SHARED]) for prefix in ("", "packet_"))
    use = (files[0] + packets[0]) / period_s
    in_service = t["available_s"] / period_s
    both = _shared_values(files + packets, sim)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = both | {
            "RRU.PrbTotDl": 100 * np.minimum(use / np.maximum(in_service, 1e-9), 1.0),
            "RRU.PrbAvailDl": sim.p.layout.prbs * in_service,
            "DRB.RlcPacketDropRateDl": 1e6 * t["dropped_kbit"] / (files[1] + packets[1] + t["dropped_kbit"]),
            "RRC.ConnMean": t["connected_s"] / period_s,
            "RRC.ConnMax": sim.tally.connected_max,
            "RRC.ConnEstabAtt": t["estab_att"],
            "RRC.ConnEstabSucc": t["estab_succ"],
            "RRC.ReEstabAtt": t["reestab_att"],
            "MM.HoExeInterReq": t["ho_inter_req"],
            "MM.HoExeInterSucc": t["ho_inter_succ"],
            "MM.HoExeInterFail": t["ho_inter_fail"],
            "HO.IntraSys.TooEarly": t["too_early"],
            "HO.IntraSys.TooLate": t["too_late"],
            "HO.IntraSys.ToWrongCell": t["wrong_cell"],
            "TB.TotNbrDl": np.rint(t["blocks"]),
            "TB.ErrTotNbrDl": np.rint(t["block_errors"]),
            "CARR.MaxTxPwr": np.where(in_service > 0, 100 * np.log10(sim.configuration.power_mw), np.nan),
            "CARR.MeanTxPwr": np.where(
                t["transmit_mw_s"] > 0, 100 * np.log10(t["transmit_mw_s"] / np.maximum(t["available_s"], 1e-9)), np.nan
            ),
            "TL.MeanCqiDl": t["cqi"] / t["cqi_samples"],
            "TL.HoPingPong": t["ping_pong"],
        }
    for s_nssai, sums in ((EMBB, files), (URLLC, packets)):
        values |= {sliced(name, s_nssai): found for name, found in _shared_values(sums, sim).items()}
    return np.stack([values[name] for name in layout_of(sim).cell], axis=1)


def _shared_values(sums: Floats, sim: Simulation) -> dict[str, Floats]:
    """Counters that exist of the cell and of each of its slices, from sums [4, C] of _SHARED."""
    used_s, served_kbit, burst_s, waiting_kbit_s = sums
    period_s = float(sim.p.time.period_s)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "RRU.PrbUsedDl": sim.p.layout.prbs * (used_s / period_s),
            "DRB.UEThpDl": served_kbit / burst_s,
            "DRB.PdcpSduVolumeDL": served_kbit,
            "DRB.MeanActiveUeDl": burst_s / period_s,
            "DRB.RlcSduDelayDl": 1e4 * waiting_kbit_s / served_kbit,
        }


def _rounded(values: Floats) -> list[float | None]:
    return [None if v != v else round(v, 3) for v in values.tolist()]

"""Checks of what a network reports in a period."""

import math
from typing import assert_never

from infra.line_protocol.client import Period
from infra.line_protocol.findings import Findings
from infra.line_protocol.messages import Hello
from infra.line_protocol.reception import Received
from schemas.counters import CELL_COUNTERS, ELEMENT_COUNTERS, common_layout, layout
from schemas.exceptions import UnknownLayout
from schemas.levers import LEVERS, RATIOS
from schemas.names import managed_element_of
from schemas.telemetry import Alarm, ConfigurationReport, MeasurementReport, PmReport

# Without these the twin has nothing to follow.
WANTED = ("RRU.PrbTotDl", "DRB.PdcpSduVolumeDL", "DRB.UEThpDl", "RRC.ConnMean")
# A subscriber's identity is 14 to 16 digits (IMSI, IMEI) or begins with its kind.
_IDENTITY_DIGITS = range(10, 17)
_IDENTITY_PREFIXES = ("imsi-", "nai-", "msisdn-", "gpsi-", "tel:", "imei-")


class PeriodChecks:
    """Checks period after period of one run."""

    def __init__(self, hello: Hello, start_ms: int, findings: Findings) -> None:
        self._hello, self._findings = hello, findings
        self._cells = set(hello.topology.cell_names)
        self._elements = set(hello.topology.managed_elements)
        self._last_ms = start_ms
        self._ids: set[tuple[str, str]] = set()
        self.counters: set[str] = set()  # that had a value at least once

    def check(self, period: Period) -> None:
        """Check one period."""
        f, expected = self._findings, self._last_ms + 1000 * self._hello.period_s
        if period.end_ms != expected:
            f.error(
                "period-order",
                f"the period ended at {period.end_ms}, expected {expected}",
                f"let each step advance by period_s ({self._hello.period_s} s) from start_time_ms",
                about="period_end",
            )
        reported: dict[str, int] = {}
        for line in period.received:
            self._check_line(line, period.end_ms, reported)
        for cell in sorted(self._cells - set(reported)):
            f.error(
                "pm-missing-cell",
                f"no PM report of {cell} in the period that ended at {period.end_ms}",
                "report every cell each period, with null for counters that have no value",
                about=cell,
            )
        for cell in sorted(c for c, n in reported.items() if n > 1):
            f.error(
                "pm-repeated-cell", f"{cell} was reported {reported[cell]} times in one period",
                "report each cell once a period", about=cell,
            )  # fmt: skip
        self._last_ms = period.end_ms

    def _check_line(self, line: Received, end_ms: int, reported: dict[str, int]) -> None:
        f, event = self._findings, line.event
        if event is None:
            f.error(
                "event-invalid",
                f"a line for {line.topic} is no valid event: {line.problem}; it begins {line.raw[:120]!r}",
                "compare it with the schema: `twinloop schemas export` writes them all",
                about=f"{line.topic} {line.problem}",
            )
            return
        if (line.topic, event.event_id) in self._ids:
            f.error(
                "event-id-repeated",
                f"the event_id {event.event_id!r} was used before on {line.topic}",
                "give every event an id of its own, e.g. from kind, managed element and time",
                about=line.topic,
            )
        self._ids.add((line.topic, event.event_id))
        if line.managed_element not in self._elements:
            f.error(
                "unknown-element",
                f"{line.managed_element} on {line.topic} is no managed element of the topology",
                "report under the managed elements of the hello",
                about=line.managed_element,
            )
        match event:
            case PmReport():
                self._check_pm(event, end_ms, reported)
            case MeasurementReport():
                self._check_mr(event, end_ms)
            case Alarm() | ConfigurationReport():
                self._check_time(line.topic, event.time_ms, end_ms)
            case _:
                assert_never(event)  # type: ignore[arg-type]

    def _check_pm(self, report: PmReport, end_ms: int, reported: dict[str, int]) -> None:
        f, hello = self._findings, self._hello
        if report.period_end_ms != end_ms:
            f.error(
                "pm-time", f"a PM report of {report.period_end_ms} came in the period that ended at {end_ms}",
                "set period_end_ms to the end of the period that is being reported", about="pm-time",
            )  # fmt: skip
        if report.granularity_s != hello.period_s:
            f.error(
                "granularity",
                f"granularity_s is {report.granularity_s}, the hello's period_s {hello.period_s}",
                "use one length of period everywhere",
                about="granularity",
            )
        try:
            names = layout(report.layout)
        except UnknownLayout:
            f.error(
                "unknown-layout",
                f"the layout {report.layout!r} is neither in the hello nor one of twinloop's",
                "declare it under layouts in the hello, or use nr-cell-v1",
                about=report.layout,
            )
            return
        for cell in report.cells:
            reported[cell.cell] = reported.get(cell.cell, 0) + 1
            if cell.cell not in self._cells:
                f.error(
                    "unknown-cell", f"{cell.cell} is no cell of the topology", "report the cells of the hello",
                    about=cell.cell,
                )  # fmt: skip
            elif managed_element_of(cell.cell) != report.managed_element:
                f.error(
                    "foreign-cell",
                    f"{cell.cell} is reported under {report.managed_element}",
                    "report a cell under the managed element of its name",
                    about=cell.cell,
                )
            if len(cell.values) != len(names.cell):
                f.error(
                    "pm-length",
                    f"{cell.cell} has {len(cell.values)} counters, layout {names.name} {len(names.cell)}",
                    "send one value, or null, for each counter of the layout",
                    about=cell.cell,
                )
                continue
            self._check_values(names.cell, cell.values)
        if len(report.element_values) == len(names.element):
            self._check_values(names.element, report.element_values)
        elif report.element_values:
            f.error(
                "pm-length",
                f"{report.managed_element} has {len(report.element_values)} counters, "
                f"layout {names.name} {len(names.element)}",
                "send one value, or null, for each counter of the layout",
                about=report.managed_element,
            )

    def _check_values(self, names: tuple[str, ...], values: list[float]) -> None:
        for name, value in zip(names, values, strict=True):
            if math.isnan(value):
                continue
            self.counters.add(name)
            counter = CELL_COUNTERS.get(name) or ELEMENT_COUNTERS[name]
            if not counter.low <= value <= counter.high:
                self._findings.error(
                    "out-of-range",
                    f"{name} is {value:g}, possible are {counter.low:g} to {counter.high:g} {counter.unit}",
                    f"mind the unit: {counter.unit} ({counter.source})",
                    about=name,
                )

    def _check_mr(self, report: MeasurementReport, end_ms: int) -> None:
        f = self._findings
        self._check_time("telemetry.mr", report.time_ms, end_ms)
        for made_ms in report.report_ms:
            if not self._last_ms < made_ms <= end_ms:
                f.error(
                    "mr-time",
                    f"a measurement of {made_ms} came in the period ({self._last_ms}, {end_ms}]",
                    "report measurements in the period in which they were made",
                    about="mr-time",
                )
        for cell in report.cells:
            if cell not in self._cells:
                f.error(
                    "unknown-cell", f"{cell} is no cell of the topology", "measure the cells of the hello", about=cell
                )
        for name in report.ue:
            if name.lower().startswith(_IDENTITY_PREFIXES) or (name.isdigit() and len(name) in _IDENTITY_DIGITS):
                f.error(
                    "identity",
                    "a user's name in a measurement report looks like a subscriber's identity",
                    "send pseudonyms, e.g. a keyed hash",
                    about="identity",
                )

    def _check_time(self, topic: str, time_ms: int, end_ms: int) -> None:
        if not self._last_ms < time_ms <= end_ms:
            self._findings.error(
                "event-time",
                f"an event of {time_ms} on {topic} came in the period ({self._last_ms}, {end_ms}]",
                "an event belongs to the period (start, end] that contains its time; a change by a command made "
                "between two periods has a time after the first one's end",
                about=topic,
            )

    def summary(self) -> None:
        """What never came."""
        f = self._findings
        for name in WANTED:
            if name not in self.counters:
                f.warning(
                    "counter-wanted", f"{name} never had a value", "send it if you can: the twin's fidelity rests on it"
                )
        common = common_layout(sliced=bool(self._hello.topology.slices))
        lacking = [n for n in (*common.cell, *common.element) if n not in self.counters and n not in WANTED]
        if lacking:
            f.info("counters-missing", f"without a value in this run: {', '.join(lacking)}")
        unknown = [lever for lever in self._hello.levers if lever not in LEVERS]
        if unknown:
            f.error(
                "unknown-lever", f"levers that twinloop does not know: {', '.join(unknown)}",
                f"name attributes of TS 28.541 that it does: {', '.join(LEVERS)}",
            )  # fmt: skip
        of_slices = () if self._hello.topology.slices else RATIOS
        missing = [lever for lever in LEVERS if lever not in self._hello.levers and lever not in of_slices]
        if missing:
            f.info("levers-missing", f"levers that this network does not have: {', '.join(missing)}")

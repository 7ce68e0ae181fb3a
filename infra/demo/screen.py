"""What a person sees while the demo runs: a live page on a terminal, lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infra.cli.moments import clock
from infra.demo.plan import DemoPlan
from infra.demo.state import DemoState

_LINE_EVERY = 10
_NEWEST = 10


class Screen:
    """Shows a demo.

    Parameters
    ----------
    console
        Where; a terminal gets a page that is redrawn, anything else a line now and then.
    """

    def __init__(self, console: Console, plan: DemoPlan) -> None:
        self._console, self._plan = console, plan
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._began = time.monotonic()
        self._told: set[tuple[int, str]] = set()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(Text(f"{time.monotonic() - self._began:6.1f} s  {text}"), soft_wrap=True)

    def show(self, state: DemoState, period: int) -> None:
        """The state after a period."""
        if self._live:
            self._live.update(self._page(state, period))
            return
        for item in state.news:
            if item not in self._told:
                self._told.add(item)
                self.say(f"{clock(item[0])[11:16]} {item[1]}")
        if period % _LINE_EVERY == 0 or period == self._plan.periods:
            self.say(f"period {period} of {self._plan.periods}: {self._facts(state)}")

    def _facts(self, state: DemoState) -> str:
        if state.update is None:
            return "no revision yet"
        counts = state.update.counts
        rate = counts.ingested / max(time.monotonic() - self._began, 1e-9)
        gate = "open" if state.update.gate_open else "closed"
        return (
            f"revision {state.update.revision}, gate {gate}, {counts.ingested:,} events ({rate:,.0f}/s), "
            f"verdicts {_counts(state.verdicts)}, plans {_counts(state.plans)}, alerts {state.alerts}"
        )

    def _page(self, state: DemoState, period: int) -> RenderableType:
        parts: list[RenderableType] = [
            Text(f"twinloop demo: {self._plan.name}, seed {self._plan.seed}", style="bold"),
            ProgressBar(total=self._plan.periods, completed=period, width=60),
            Text(f"period {period} of {self._plan.periods}: {self._facts(state)}"),
        ]
        if state.update is not None:
            table = Table("KPI", "fidelity", "gate", box=None, padding=(0, 2))
            for f in state.update.fidelity:
                score = "–" if f.score != f.score else f"{f.score:.2f}"
                table.add_row(
                    f.kpi,
                    score,
                    f"{f.gate:.2f}" if f.gate >= 0 else "–",
                    style="green" if f.score >= f.gate else "yellow",
                )
            roles = Table("role", "finished", box=None, padding=(0, 2))
            for role, at in sorted(state.progress.items()):
                roles.add_row(role, clock(at)[11:16])
            side_by_side = Table.grid(padding=(0, 4))
            side_by_side.add_row(table, roles)
            parts.append(side_by_side)
        parts += [
            Text(f"{clock(at)[11:16]} {line}", overflow="ellipsis", no_wrap=True) for at, line in state.news[-_NEWEST:]
        ]
        return Group(*parts)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name.lower().replace('_', ' ')}" for name, n in sorted(counts.items())) or "none"

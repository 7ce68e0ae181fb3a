"""`twinloop bench NAME`."""

import importlib
import inspect
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.errors import reports_errors, stderr, stdout
from infra.cli.options import Json, print_json

# infra/benches/<name>.py offers run(quick=…) -> BenchResult.
BENCHES: dict[str, str] = {
    "stream": "counters a second, from the wire and from Kafka to twin state, on one core",
    "loop": "telemetry to revision, proposal to verdict, verdict to push",
    "learning": "what learned models save of forecast errors: River off, residual off, both on",
    "anomalies": "anomaly scores: cells with injected faults against a usual day",
    "conflicts": "implicit conflicts found in the twin, against what the live network does",
    "slices": "what the twin says of other slice ratios, against forks of the live network",
    "rollout": "the engine: SINR steps and full steps beside CRRM, mobile-env and bare torch",
    "network": "how much faster than real time the reference network runs",
}


@reports_errors
def bench(
    name: Annotated[str, typer.Argument(help="; ".join(f"{k}: {v}" for k, v in BENCHES.items()))],
    quick: Annotated[bool, typer.Option("--quick", help="Show that it works; measures little.")] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda for the bench of the engine.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Measure, and hold the figures against their goals."""
    if name not in BENCHES:
        raise typer.BadParameter(f"no bench {name!r}; benches are {', '.join(BENCHES)}")
    run = importlib.import_module(f"infra.benches.{name}").run
    offered = inspect.signature(run).parameters
    if device != "cpu" and "device" not in offered:
        raise typer.BadParameter(f"bench {name} runs on the CPU alone; leave --device out")
    options = {"device": device, "tell": stderr.print}
    result = run(quick=quick, **{k: v for k, v in options.items() if k in offered})
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    title = f"{result.name} at {result.commit}: {result.seconds:.1f} s, {result.machine}"
    if result.sides:
        stdout.print(title, style="bold")
        for side in result.sides:
            shown = Table(side.columns[0], title=side.title, title_justify="left")
            for column in side.columns[1:]:
                shown.add_column(column, justify="right" if len(side.columns) > 2 else "left")
            for row in side.rows:
                shown.add_row(*row)
            stdout.print(shown)
    else:
        table = Table("figure", "value", title=title)
        for figure, value in result.figures.items():
            table.add_row(figure, value if isinstance(value, str) else f"{value:,.4g}")
        stdout.print(table)
    if result.goals:
        goals = Table("goal", "measured", "wanted", "met")
        for g in result.goals:
            goals.add_row(g.name, f"{g.value:,.4g}", f"{g.op} {g.goal:,.4g}", "yes" if g.met else "[red]no[/red]")
        stdout.print(goals)

"""`twinloop demo`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.errors import Exit, reports_errors, stderr, stdout
from infra.cli.options import Json


@reports_errors
def demo(
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the live network and the scenarios.")] = None,
    periods: Annotated[int | None, typer.Option(min=3, help="Granularity periods to run.")] = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="Strategies, faults and sizes; TOML.")] = None,
    network_command: Annotated[
        str | None, typer.Option("--network-cmd", help="Executable that speaks the line protocol, with arguments.")
    ] = None,
    kill: Annotated[
        list[str] | None,
        typer.Option(help="PROCESS:PERIOD to SIGKILL on the way, e.g. twin:40 or worker-1:21; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of data, logs and report.")] = Path("var/demo"),
    as_json: Json = False,
) -> None:
    """Run a live network beside its twin in lock-step: strategies verified, pushed, watched, rolled back; then report.

    Starts Kafka, a schema registry and PostgreSQL of its own on free loopback ports, and stops them again. Strategies,
    faults and the seed are inputs; verdicts are computed, and what a seed does not bring is said, not forced. Exit code
    1 if an invariant is broken. The report is written to OUT/report.json.
    """
    from infra.demo.plan import DEFAULT_PLAN, load_plan
    from infra.demo.report_page import report_page
    from infra.demo.run import Kill, run_demo
    from infra.demo.screen import Screen

    chosen = {name: value for name, value in {"seed": seed, "periods": periods}.items() if value is not None}
    plan = load_plan(plan_file or DEFAULT_PLAN).model_copy(update=chosen)
    kills = []
    for text in kill or ():
        name, _, period = text.partition(":")
        if not period.isdigit():
            raise typer.BadParameter(f"--kill {text}: write PROCESS:PERIOD, e.g. twin:40")
        kills.append(Kill(name, int(period)))
    with Screen(stderr, plan) as screen:
        report = run_demo(plan, out, screen, shlex.split(network_command or ""), kills)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        stdout.print(report_page(report))
        stdout.print(f"report: {out / 'report.json'}, logs: {out / 'logs'}", highlight=False)
    raise typer.Exit(Exit.GOOD if report.sound else Exit.ERROR)

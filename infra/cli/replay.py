"""`twinloop replay`: recordings through Kafka, and revisions derived again."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra.cli.errors import Exit, reports_errors, stderr, stdout
from infra.cli.moments import clock, moment
from infra.cli.options import Json, print_json
from infra.datasets import DATASETS


@reports_errors
def replay(
    path: Annotated[Path | None, typer.Argument(help="File or folder of the recording, with --dataset.")] = None,
    dataset: Annotated[str | None, typer.Option(help="; ".join(f"{k}: {v}" for k, v in DATASETS.items()))] = None,
    first: Annotated[str | None, typer.Option("--from", help="Revision or time (ISO 8601) to begin at.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Revision or time to end at.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Derive revisions again and compare their hashes.")] = False,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Folder of results [var/replay/DATASET].")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many periods of the recording.")] = None,
    as_json: Json = False,
) -> None:
    """Replay a recording through Kafka into twin state, or prove that logged revisions can be derived again.

    twinloop replay --dataset tractor recordings/tractor

    twinloop replay --verify --from 1 --to 40

    The first needs running services (`twinloop up`); it prints scores and writes predictions (Parquet) and a plot. The
    second exits with 1 if any state hash or count differs from what was logged.
    """
    if dataset is not None and path is not None and not verify:
        _dataset(dataset, path, out or Path("var/replay") / dataset, limit, as_json)
    elif verify and dataset is None and path is None:
        _verify(moment(first), moment(last), as_json)
    else:
        raise typer.BadParameter("give either --dataset NAME PATH, or --verify with --from and --to")


def _dataset(name: str, path: Path, out: Path, limit: int | None, as_json: bool) -> None:
    from infra.datasets import replay_dataset
    from infra.datasets.report import show
    from infra.roles.base import Context
    from infra.settings import load_settings

    context = Context.of(load_settings())
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=stderr) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        report = replay_dataset(name, path, context.transport, context.serde, out, limit, tell)
    if as_json:
        print_json(report.to_json())
    else:
        show(report, stdout)


def _verify(first: int | None, last: int | None, as_json: bool) -> None:
    from infra.replaying import verify_replay
    from infra.roles.base import Context
    from infra.settings import load_settings

    rows = []
    for row in verify_replay(Context.of(load_settings()), first, last):
        rows.append(row)
        stderr.print(f"revision {row.revision}: {'equal' if row.matches else 'DIFFERS'}", highlight=False)
    different = [row for row in rows if not row.matches]
    if as_json:
        print_json({"revisions": len(rows), "different": [row.revision for row in different]})
    else:
        table = Table("revision", "period end", "logged hash", "derived hash", "counts")
        for row in different or rows[-1:]:
            words = (row.logged_hash[:16], row.derived_hash[:16], "equal" if row.counts_equal else "differ")
            table.add_row(str(row.revision), clock(row.period_end_ms), *words)
        stdout.print(table)
        stdout.print(f"{len(rows) - len(different)} of {len(rows)} revisions are equal", highlight=False)
    raise typer.Exit(Exit.ERROR if different else Exit.GOOD)

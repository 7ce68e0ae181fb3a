"""Progress of a replay on a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from infra.datasets.stream import Progress as Tell

_STAGES = {
    "stream": "periods through the topics into twin state",
    "forecast": "periods forecast",
    "field": "days held out",
}


@contextmanager
def progress_bars(console: Console) -> Iterator[Tell]:
    """A bar for each stage; give what it yields to :func:`infra.datasets.replay_dataset` as ``progress``."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(_STAGES.get(stage, stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell

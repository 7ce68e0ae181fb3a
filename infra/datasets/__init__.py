"""Real recordings as input: read from disk, streamed through Kafka into twin state, predictions scored."""

from pathlib import Path
from typing import TYPE_CHECKING

from infra.datasets.exceptions import UnknownDataset

if TYPE_CHECKING:
    from infra.datasets.report import DatasetReport
    from infra.datasets.stream import Progress
    from streams.serde import Serde
    from streams.transport import Transport

# What each recording is. Its replay is imported when used: pandas, scikit-learn and torch would slow every command.
DATASETS: dict[str, str] = {
    "tractor": "per-UE rows of 5G-like cells every 250 ms: forecasts of load and throughput",
    "cicv5g": "32 drives with a 5G modem at 20 Hz: a map of received power",
}


def replay_dataset(
    name: str,
    path: Path,
    transport: "Transport",
    serde: "Serde",
    out_dir: Path,
    limit: int | None = None,
    progress: "Progress | None" = None,
) -> "DatasetReport":
    """Stream a recording into twin state, predict, score, and write predictions and a plot.

    Parameters
    ----------
    name
        One of ``DATASETS``.
    path
        File or folder of the recording.
    transport, serde
        Where it is streamed through. Topics are created; what other networks write there is left alone.
    out_dir
        Made if missing; files in it of the same names are replaced.
    limit
        Only the first so many granularity periods.
    progress
        Told stage, steps done and steps in all.

    Raises
    ------
    DatasetError
        If the recording cannot be used; each names cause and remedy.
    TransportError
        If the transport fails.
    """
    if name not in DATASETS:
        raise UnknownDataset(f"there is no dataset {name!r}", f"choose one of {', '.join(DATASETS)}")
    from infra.datasets.replays import REPLAYS

    return REPLAYS[name](path, transport, serde, out_dir, limit, progress)

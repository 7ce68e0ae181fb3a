"""Small recordings in the columns of the real ones, and where the real ones are."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

_ROOT = Path(__file__).parents[1]
T0 = 1_700_000_000_000  # a whole second
BIN_MS = 250


def real(dataset: str) -> Path:
    """Folder of a real recording: under TWINLOOP_RECORDINGS, else in ../shared/data beside the checkout."""
    folder = Path(os.environ.get("TWINLOOP_RECORDINGS", _ROOT / "../shared/data")) / dataset
    assert folder.is_dir(), f"no recordings in {folder}; set TWINLOOP_RECORDINGS to the folder that holds {dataset}/"
    return folder


def ue_rows(bins: int = 8, ues: int = 1, trial: str = "Trial1", cond: str = "multi4", first: int = T0) -> pd.DataFrame:
    """Rows of UEs that are granted 1000 PRB in every bin each and receive 1 Mbit/s."""
    rows = [
        {
            "Timestamp": first + (b + 1) * BIN_MS,
            "IMSI": 1_010_123_456_002 + u,
            "dl_buffer_bytes": 0,
            "dl_mbps": 1.0,
            "dl_pkts": 10,
            "dl_err_pct": 20,
            "dl_cqi": 8.0,
            "ul_mbps": 0.5,
            "sum_granted_prbs": 1000,
            "trial": trial,
            "cond": cond,
            "service": None,
        }
        for b in range(bins)
        for u in range(ues)
    ]
    return pd.DataFrame(rows)


def busy_rows(seconds: int, trial: str, first: int, seed: int) -> pd.DataFrame:
    """One UE whose load comes in bursts of about ten seconds."""
    frame = ue_rows(bins=seconds * 4, trial=trial, first=first)
    rng = np.random.default_rng(seed)
    burst = np.repeat(np.cumsum(rng.random(seconds) < 0.2) % 2, 4)
    granted = (burst * rng.uniform(6000, 11_000, len(frame))).astype(int)
    return frame.assign(sum_granted_prbs=granted, dl_mbps=granted / 1000, dl_pkts=burst * 50)


def drive_rows(
    run: str = "loop_n8_run01",
    first: int = T0,
    seconds: float = 60,
    hold_s: float = 5,
    offset_db: float = 0.0,
    cell: str = "5C4225714",
    band: str = "n8",
) -> pd.DataFrame:
    """A drive at 10 m/s through a smooth field; RSRP is measured anew every ``hold_s`` and repeated in between."""
    at = np.arange(0, seconds, 0.05)
    x = 10 * at
    measured = np.floor(at / hold_s) * hold_s
    rsrp = np.round(-70 + 8 * np.sin(measured / 8) + offset_db)
    return pd.DataFrame(
        {
            "pub_ms": first + (1000 * at).astype(int),
            "utm_x": 329_000 + x,
            "utm_y": 3_463_400 + 20 * np.sin(x / 100),
            "speed_mps": 10.0,
            "cell_id": cell,
            "sinr_db": 10.0 + np.floor(at / hold_s) % 2,
            "rsrp_dbm": rsrp,
            "run": run,
            "band": band,
            "road": "loop",
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    """As Parquet."""
    frame.to_parquet(path, index=False)
    return path

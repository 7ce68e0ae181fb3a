"""Where downloaded programs are kept between runs, and how much room a folder has."""

import os
import shutil
from pathlib import Path

import platformdirs

from infra.local.exceptions import NotEnoughDisk


def cache_dir() -> Path:
    """The per-user cache folder: ``TWINLOOP_CACHE``, else the platform's own place."""
    chosen = os.environ.get("TWINLOOP_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else platformdirs.user_cache_path("twinloop")


def require_space(path: Path, needed_bytes: int) -> None:
    """Make sure a folder, or the nearest parent that exists, has room.

    Raises
    ------
    NotEnoughDisk
        If fewer than ``needed_bytes`` are free.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise NotEnoughDisk(path, needed_bytes, free)

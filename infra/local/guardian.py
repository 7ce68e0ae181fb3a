"""Ends services whose owner is gone: ``python -m infra.local.guardian ROOT OWNER_PID OWNER_START SERVICE…``.

A command that owns services ends them itself. When it is killed it cannot; this process outlives it and does.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.local.process import DetachedProcess, ProcessRecord

_DEADLINE_S = 20.0


def main(root: Path, owner: ProcessRecord, names: list[str]) -> None:
    """Wait for the owner's end, then stop the services."""
    process = owner.find()
    if process is not None:
        process.wait()
    if names:
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda name: DetachedProcess(name, root).stop(_DEADLINE_S), names))
    DetachedProcess(f"guardian-{owner.pid}", root).record_path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), ProcessRecord(int(sys.argv[2]), float(sys.argv[3])), sys.argv[4:])

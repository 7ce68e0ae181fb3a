"""A real Alertmanager on loopback, from the Debian package."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from streams.testing import wait_until

_PACKAGE = "prometheus-alertmanager"
_CONFIGURATION = """
route: {receiver: nobody, group_by: [network, subject], group_wait: 0s, group_interval: 1s}
receivers: [{name: nobody}]
"""


def executable() -> str:
    """The installed one."""
    found = shutil.which(_PACKAGE)
    assert found, f"{_PACKAGE} is not installed; run: apt-get install {_PACKAGE}"
    return found


@contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    """Its address, for the length of a block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = folder / "alertmanager.yml"
    configuration.write_text(_CONFIGURATION, encoding="utf-8")
    command = [
        executable(), f"--config.file={configuration}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: _ready(url), 30, "Alertmanager")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False

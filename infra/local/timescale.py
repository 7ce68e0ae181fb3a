"""PostgreSQL with TimescaleDB for the full tests: Debian's own packages in a folder, entered with chroot.

Needs root and a Debian-like host with ``debootstrap``. The folder is made once a user and kept in the cache; each
server has a data folder of its own inside it.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import psycopg
from filelock import FileLock

from infra.local.cache import cache_dir, require_space
from infra.local.exceptions import ArtefactsUnavailable, NoRuntime, ServiceDied
from infra.local.ports import LOOPBACK
from infra.local.service import LocalService

_SUITE = "trixie"
_VERSION = "17"
_PACKAGE = f"postgresql-{_VERSION}-timescaledb"
_PROGRAMS = f"/usr/lib/postgresql/{_VERSION}/bin"
_SPACE_BYTES = 1_500_000_000
_MAKE_DEADLINE_S = 900.0
# The server trusts whoever connects from this machine: it holds test data only, and its superuser is shut in a folder.
_USER = "postgres"


class LocalTimescale(LocalService):
    """PostgreSQL 17 with TimescaleDB (Apache edition)."""

    name: ClassVar[str] = "timescale"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    @property
    def endpoint(self) -> str:
        return f"postgresql://{_USER}@{LOOPBACK}:{self.port}/postgres"

    def prepare(self, tell: Callable[[str], None], cancelled: threading.Event) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        debian = debian_with_timescale(tell)
        data = debian / self._data.relative_to("/")
        if not (data / "PG_VERSION").exists():
            tell("creating the database")
            shutil.rmtree(data, ignore_errors=True)
            data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _run(self._inside(["mkdir", "-p", str(self._data)], as_root=True), "make the data folder")
            _run(self._inside(["chown", _USER, str(self._data)], as_root=True), "make the data folder")
            initdb = [f"{_PROGRAMS}/initdb", "-D", str(self._data), "-U", _USER, "--auth=trust"]
            _run(self._inside([*initdb, "--encoding=UTF8", "--locale=C", "--no-sync"]), "create the database")

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self._ports[0],
            "unix_socket_directories": "",
            "shared_preload_libraries": "timescaledb",
            "timescaledb.telemetry_level": "off",
            # Its workers hold databases open, and a database that is open cannot be copied for a test.
            "timescaledb.max_background_workers": 0,
            "dynamic_shared_memory_type": "mmap",  # the folder has no /dev/shm
            "fsync": "off",  # test data
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return self._inside([f"{_PROGRAMS}/postgres", "-D", str(self._data), *options])

    def probe(self, timeout_s: float) -> None:
        with psycopg.connect(self.endpoint, connect_timeout=max(2, round(timeout_s))) as connection:
            connection.execute("SELECT 1")

    def remove(self) -> None:
        """Delete its data; the programs stay in the cache. Stop it first."""
        shutil.rmtree(_debian() / self._data.relative_to("/"), ignore_errors=True)

    @property
    def _data(self) -> Path:
        """Its data folder as seen from inside."""
        return Path("/srv/twinloop") / hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:16]

    def _inside(self, command: Sequence[str], *, as_root: bool = False) -> list[str]:
        who = [] if as_root else [f"--userspec={_USER}:{_USER}"]
        return ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "chroot", *who, str(_debian()), *command]


def debian_with_timescale(tell: Callable[[str], None]) -> Path:
    """A folder with Debian and TimescaleDB in it, made when it is not in the cache.

    Raises
    ------
    NoRuntime
        Without root or without debootstrap.
    ArtefactsUnavailable
        If Debian's packages cannot be fetched.
    """
    target = _debian()
    if target.is_dir():
        return target
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise NoRuntime(
            "TimescaleDB for tests needs root and debootstrap",
            "apt-get install debootstrap, and run the full tests as root; the other tests need neither",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        if not target.is_dir():
            require_space(target.parent, _SPACE_BYTES)
            tell("installing Debian with TimescaleDB")
            staging = target.with_name(f".{target.name}-new")  # one name: we hold the lock
            _discard(staging)
            log = target.with_name(f"{target.name}.log")
            with log.open("w") as output:
                done = subprocess.run(
                    ["debootstrap", "--variant=minbase", f"--include={_PACKAGE}", _SUITE, staging, _mirror()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=_MAKE_DEADLINE_S,
                    check=False,
                )
            if done.returncode != 0:
                _discard(staging)
                tail = "\n".join(log.read_text().splitlines()[-8:])
                raise ArtefactsUnavailable(
                    f"debootstrap could not install {_PACKAGE} (exit {done.returncode}):\n{tail}",
                    f"read {log}; check that apt-get update works",
                )
            staging.rename(target)
    return target


def _debian() -> Path:
    return cache_dir() / f"debian-{_SUITE}-{_PACKAGE}"


def _mirror() -> str:
    """The repository that this machine's own apt is set up with."""
    wanted = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(wanted, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    mirrors = [line.split("|")[2] for line in listed if line.startswith("Debian|main|")]
    if not mirrors:
        raise ArtefactsUnavailable("apt knows no Debian repository", "run apt-get update, on a Debian machine")
    return min(mirrors, key=len)  # security and backports have longer addresses than the archive itself


def _discard(folder: Path) -> None:
    """Delete a half-made Debian; what debootstrap mounted in it, when it was killed, must go first."""
    for mounted in (folder / "proc", folder / "sys"):
        if os.path.ismount(mounted):
            subprocess.run(["umount", "--recursive", mounted], check=True, timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd="/")
    if done.returncode != 0:
        raise ServiceDied(
            f"TimescaleDB's server could not {what}:\n{(done.stdout + done.stderr).strip()}",
            f"if it stays so, delete {_debian()}: the next run makes it anew",
        )

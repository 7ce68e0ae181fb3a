"""Programs that Maven repositories serve: fetched once a user, pinned by SHA-256, complete or absent.

Which repository serves them is the client's business: jgo reads ``~/.config/jgo.conf`` and the proxy variables.

A set is fetched in this order, so that a folder that exists is a folder that is whole:

1. take the set's lock file (a second process waits and then finds the folder);
2. download into a staging folder beside the target and compare each file's SHA-256 with ``artefacts.json``;
3. unpack archives there;
4. rename the staging folder to its final name, which carries the digest of the pins.
"""

import errno
import hashlib
import json
import logging
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, TypeAdapter
from requests import RequestException

from infra.local.cache import cache_dir, require_space
from infra.local.exceptions import ArtefactsUnavailable, Cancelled, NotEnoughDisk

if TYPE_CHECKING:
    from jgo.maven import Artifact as MavenArtifact

Progress = Callable[[str], None]
_TRIES = 3
_LOCK_DEADLINE_S = 600.0
_PARALLEL_DOWNLOADS = 8  # small files: the round trips cost, not the bytes
_UNPACKED_FACTOR = 3  # archive, its unpacked form, and a reserve


class Artefact(BaseModel):
    """One file of a Maven repository."""

    model_config = ConfigDict(frozen=True)

    group: str
    name: str
    version: str
    classifier: str = ""
    packaging: str = "jar"
    sha256: str
    size_bytes: int

    def __str__(self) -> str:
        parts = [self.group, self.name, self.version, self.classifier, self.packaging]
        return ":".join(p for p in parts if p)


class ArtefactSet(BaseModel):
    """Files that make one program."""

    model_config = ConfigDict(frozen=True)

    version: str
    artefacts: tuple[Artefact, ...]

    @property
    def digest(self) -> str:
        """Short name of exactly these files."""
        return hashlib.sha256("".join(a.sha256 for a in self.artefacts).encode()).hexdigest()[:10]

    @property
    def size_bytes(self) -> int:
        return sum(a.size_bytes for a in self.artefacts)


def pinned(name: str) -> ArtefactSet:
    """The pinned files of ``kafka`` or ``registry`` (written by ``python -m infra.local.pin``)."""
    text = resources.files("infra.local").joinpath("artefacts.json").read_text()
    return TypeAdapter(dict[str, ArtefactSet]).validate_python(json.loads(text))[name]


def fetch(
    name: str, progress: Progress | None = None, cancelled: threading.Event | None = None, cache: Path | None = None
) -> Path:
    """Folder of a program, fetched when it is not in the cache.

    Parameters
    ----------
    name
        ``kafka`` or ``registry``.
    progress
        Told in words how far a download is.
    cancelled
        Set by another thread to give up.

    Raises
    ------
    ArtefactsUnavailable
        If a file cannot be fetched, or is not the pinned one.
    NotEnoughDisk
        If the cache has too little room.
    Cancelled
        If ``cancelled`` was set.
    """
    wanted = pinned(name)
    parent = (cache or cache_dir()) / "artefacts"
    target = parent / f"{name}-{wanted.version}-{wanted.digest}"
    if target.is_dir():
        return target
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(target.name + ".lock"), cancelled or threading.Event(), name):
        if not target.is_dir():
            require_space(parent, _UNPACKED_FACTOR * wanted.size_bytes)
            for left_over in parent.glob(f".{target.name}-*"):  # of a process that was killed: we hold its lock now
                shutil.rmtree(left_over, ignore_errors=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=parent))
            try:
                _Download(name, wanted, staging, progress, cancelled or threading.Event()).run()
                ready = staging / "ready"
                ready.chmod(0o755)
                ready.rename(target)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    free = shutil.disk_usage(parent).free
                    raise NotEnoughDisk(parent, _UNPACKED_FACTOR * wanted.size_bytes, free) from error
                raise
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return target


@contextmanager
def _locked(path: Path, cancelled: threading.Event, name: str) -> Iterator[None]:
    lock = FileLock(path)
    waited_s = 0.0
    while True:
        try:
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            waited_s += 0.5
            if cancelled.is_set():
                raise Cancelled(name) from None
            if waited_s >= _LOCK_DEADLINE_S:
                raise ArtefactsUnavailable(
                    f"another process has been fetching {name} for {_LOCK_DEADLINE_S:.0f} s ({path})",
                    "wait for it, or end it and try again",
                ) from None
    try:
        yield
    finally:
        lock.release()


class _Download:
    """One download of one set into a staging folder."""

    def __init__(
        self, name: str, wanted: ArtefactSet, staging: Path, progress: Progress | None, cancelled: threading.Event
    ) -> None:
        self._name, self._wanted, self._staging, self._cancelled = name, wanted, staging, cancelled
        self._progress = progress or (lambda _: None)
        self._done_bytes = 0
        self._told_mb = -1
        self._lock = threading.Lock()

    def run(self) -> None:
        # Imported here: only a first start needs jgo, and every start pays for imports.
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver

        logging.getLogger("jgo").setLevel(logging.ERROR)  # its warnings repeat what our errors say
        resolver = PythonResolver(progress_callback=self._watch)
        context = MavenContext(resolver=resolver, repo_cache=self._staging / "repository", timeout=60)
        context.remote_repos.update(GlobalSettings.load().repositories)
        (self._staging / "ready").mkdir()

        def one(artefact: Artefact) -> None:
            component = context.project(artefact.group, artefact.name).at_version(artefact.version)
            self._place(artefact, self._get(artefact, component.artifact(artefact.classifier, artefact.packaging)))

        with ThreadPoolExecutor(_PARALLEL_DOWNLOADS, thread_name_prefix="fetch") as pool:
            list(pool.map(one, self._wanted.artefacts))

    def _get(self, artefact: Artefact, remote: "MavenArtifact") -> Path:
        last: Exception | None = None
        for _ in range(_TRIES):
            if self._cancelled.is_set():
                raise Cancelled(self._name)
            try:
                return remote.resolve()
            # jgo raises RuntimeError for «not found»; its own assertion guards a file that a broken try left.
            except (RequestException, RuntimeError, AssertionError) as error:
                last = error
                if remote.cached_path is not None:
                    remote.cached_path.unlink(missing_ok=True)
        raise ArtefactsUnavailable(
            f"{artefact} cannot be fetched after {_TRIES} tries: {last}",
            "check the network and proxy variables; behind a mirror, name it as `central` under [repositories] in "
            "~/.config/jgo.conf; without a network, copy another machine's cache folder and set TWINLOOP_CACHE",
        ) from last

    def _place(self, artefact: Artefact, file: Path) -> None:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != artefact.sha256:
            raise ArtefactsUnavailable(
                f"{artefact} has SHA-256 {digest}, pinned is {artefact.sha256}",
                "fetch it again; if it stays so, the repository or a proxy changes files: do not use it",
            )
        ready = self._staging / "ready"
        if artefact.packaging == "tar.gz":
            with tarfile.open(file) as archive:
                archive.extractall(ready, filter="data")
        else:
            file.rename(ready / file.name)

    @contextmanager
    def _watch(self, _filename: str, _total_bytes: int) -> Iterator[Callable[[int], None]]:
        total_mb = self._wanted.size_bytes // 1_000_000

        def update(count: int) -> None:
            if self._cancelled.is_set():
                raise Cancelled(self._name)
            with self._lock:
                self._done_bytes += count
                done_mb = self._done_bytes // 1_000_000
                if done_mb == self._told_mb:
                    return
                self._told_mb = done_mb
            self._progress(f"fetching {done_mb} of {total_mb} MB")

        yield update

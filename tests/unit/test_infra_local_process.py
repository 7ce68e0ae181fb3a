"""A detached process is found again by its identity and ends when it is told to, or is made to."""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.process import DetachedProcess, ProcessRecord

_DEADLINE_S = 20.0
_SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _SLEEPER
_PARENT = (
    f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {_SLEEPER!r}]); "
    "print(child.pid, flush=True); child.wait()"
)


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _DEADLINE_S
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        tick.wait(0.01)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[DetachedProcess]:
    detached = DetachedProcess("thing", tmp_path)
    yield detached
    detached.kill()


def _spawn(process: DetachedProcess, program: str, says: str = "ready") -> None:
    process.spawn([sys.executable, "-c", program], cwd=process.log_path.parent.parent, ports=(1234, 1235))
    _until(lambda: process.log_path.exists() and says in process.log_path.read_text())


def test_it_lives_in_a_session_of_its_own_and_another_command_finds_it(
    process: DetachedProcess, tmp_path: Path
) -> None:
    _spawn(process, _SLEEPER)
    found = DetachedProcess("thing", tmp_path).find()
    assert found is not None
    assert os.getsid(found.pid) != os.getsid(0)
    record = process.record()
    assert record is not None
    assert record.ports == (1234, 1235)


def test_a_reused_pid_is_not_taken_for_it(process: DetachedProcess) -> None:
    mine = psutil.Process()
    record = ProcessRecord(mine.pid, mine.create_time() - 60.0)
    process.record_path.parent.mkdir()
    process.record_path.write_text(json.dumps(dataclasses.asdict(record)))
    assert process.find() is None
    assert not process.stop(1.0)
    assert not process.record_path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_record_that_was_cut_off_finds_nothing(process: DetachedProcess, text: str) -> None:
    process.record_path.parent.mkdir()
    process.record_path.write_text(text)
    assert process.find() is None


def test_stopping_ends_it_and_forgets_it(process: DetachedProcess) -> None:
    _spawn(process, _SLEEPER)
    assert process.stop(_DEADLINE_S)
    assert process.find() is None
    assert not process.stop(_DEADLINE_S), "there is nothing left to stop"


def test_what_does_not_listen_is_killed_at_the_deadline(process: DetachedProcess) -> None:
    _spawn(process, _STUBBORN)
    assert process.stop(deadline_s=0.1)
    assert process.find() is None


def test_killing_takes_its_children_along_and_leaves_the_record(process: DetachedProcess) -> None:
    _spawn(process, _PARENT, says="\n")
    child = psutil.Process(int(process.log_path.read_text().splitlines()[0]))
    assert process.kill()
    _until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert process.record() is not None
    assert process.find() is None


def test_a_process_of_another_parent_that_died_is_gone(process: DetachedProcess, tmp_path: Path) -> None:
    _spawn(process, _SLEEPER)
    found = process.find()
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    _until(lambda: DetachedProcess("thing", tmp_path).find() is None)


def test_the_previous_log_is_kept_beside_the_new_one(process: DetachedProcess) -> None:
    _spawn(process, "print('first ready', flush=True); " + _SLEEPER)
    process.stop(_DEADLINE_S)
    _spawn(process, _SLEEPER)
    assert "first" not in process.log_tail()
    assert "first" in process.log_path.with_suffix(".log.1").read_text()
    assert process.log_tail(lines=1) == "ready"

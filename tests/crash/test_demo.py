"""The demo as a person starts it, calm and with SIGKILLs on the way, and beside a network written elsewhere."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.testing import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.crash, pytest.mark.timeout(600)]

# Long enough for the fidelity gate to open, a rejection, a push and the hold of its canary.
PERIODS = 27
ROOT = Path(__file__).parents[2]


def demo(out: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the command; exit code, report and what a person saw."""
    run = subprocess.run(
        [sys.executable, "-m", "infra.cli", "demo", "--out", str(out), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=540,
    )  # fmt: skip
    report = out / "report.json"
    return run.returncode, json.loads(report.read_text()) if report.exists() else {}, run.stderr


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    code, report, seen = demo(tmp_path_factory.mktemp("calm"), "--periods", str(PERIODS))
    assert code == 0, seen
    return report


def test_a_calm_demo_keeps_its_invariants(calm: dict[str, Any]) -> None:
    assert [i for i in calm["invariants"] if not i["holds"]] == []
    assert calm["twin"]["revision"] == PERIODS
    assert calm["events"]["dead_lettered"] > 0
    assert {"seed", "duration_s", "network", "strategies", "plans", "alerts", "outcomes"} <= calm.keys()


def test_a_harmful_strategy_is_rejected_and_a_harmless_one_is_pushed(calm: dict[str, Any]) -> None:
    verdicts = {v["title"]: v["verdict"] for v in calm["verdicts"]}
    assert verdicts["Switch the centre of the network off"] == "REJECTED"
    assert "APPROVED" in verdicts.values()
    assert calm["plans"]["open"] + calm["plans"]["completed"] >= 1


def test_killing_twin_and_worker_changes_neither_counts_nor_state_nor_verdicts(
    calm: dict[str, Any], tmp_path: Path
) -> None:
    code, killed, seen = demo(tmp_path, "--periods", str(PERIODS), "--kill", "twin:22", "--kill", "worker-1:23")
    assert code == 0, seen
    assert killed["restarts"] == {"twin": 1, "worker-1": 1}
    for part in ("events", "twin", "strategies", "plans", "verdicts", "outcomes"):
        assert killed[part] == calm[part], part


def test_a_network_that_lacks_counters_and_levers_runs_too(tmp_path: Path) -> None:
    network = f"{sys.executable} {ROOT / 'docs' / 'examples' / 'minimal_network.py'}"
    code, report, seen = demo(tmp_path, "--periods", "4", "--network-cmd", network)
    assert code == 0, seen
    assert report["twin"]["revision"] == 4
    assert not report["twin"]["gate_open"], "without throughput and users nothing is known well enough to act on"
    assert not any(report["plans"].values())


def test_a_network_that_cannot_be_started_ends_the_demo_with_cause_and_remedy(tmp_path: Path) -> None:
    code, report, seen = demo(tmp_path, "--periods", "3", "--network-cmd", "no-such-network")
    assert code == 1
    assert report == {}
    assert "no-such-network" in seen
    assert "Remedy" in seen


def test_a_plan_with_a_typo_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("start = 2026-01-12T21:00:00Z\nperiod = 5\n", encoding="utf-8")
    code, _, seen = demo(tmp_path / "out", "--plan", str(plan))
    assert code == 1
    assert "period" in seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "demo", "--out", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stderr is not None
    for line in run.stderr:
        if "period 10 of" in line or "roles run" in line:
            break
    started = psutil.Process(run.pid).children(recursive=True) + of_folder(tmp_path)
    assert len(started) >= 8, "three services, five role processes and a network"
    run.send_signal(number)
    run.wait(60)
    wait_until(lambda: not any(map(alive, started)), 60, "all to end")
    assert of_folder(tmp_path) == []
    assert run.returncode == (130 if number is signal.SIGINT else -number)


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def of_folder(folder: Path) -> list[psutil.Process]:
    """Processes that were told of a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline()) and alive(process):
                found.append(process)
    return found

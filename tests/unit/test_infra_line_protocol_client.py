"""Driving a network that runs as an executable, and saying clearly what went wrong."""

import io
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from infra.line_protocol.client import LineNetwork
from infra.line_protocol.exceptions import (
    NetworkDied,
    NetworkSilent,
    ProtocolViolation,
    RequestRefused,
    Stopped,
    WrongProtocol,
)
from infra.line_protocol.layouts import Translation
from infra.line_protocol.messages import CounterLayout
from infra.line_protocol.server import serve
from schemas.counters import NR_CELL_SLICES_V1, NR_CELL_V1, common_layout
from schemas.plans import AckStatus
from schemas.telemetry import AttributeValue, PmReport
from tests.line_networks import altered, command, script
from tests.network_runs import EVENING_MS, Run

SITE = "SubNetwork=1,ManagedElement=tiny1"
CARRIER = f"{SITE},GNBDUFunction=1,NRSectorCarrier=1"
STEP = '    write(type="period_end", period_end_ms=now_ms)\n'


def power(value: float) -> list[AttributeValue]:
    return [AttributeValue(object=CARRIER, attribute="configuredMaxTxPower", value=value)]


def test_the_minimal_network_runs_takes_commands_and_stops() -> None:
    with LineNetwork(command(), "mine") as network:
        assert network.hello.network.name == "tiny"
        assert network.start(1, EVENING_MS) == EVENING_MS
        period = network.step()
        assert period.end_ms == EVENING_MS + 60_000
        (report,) = (r.event for r in period.received)
        assert isinstance(report, PmReport)
        assert report.network_id == network.network_id == "mine"
        first = network.command("a", SITE, power(5000))
        assert first is not None
        assert first.status is AckStatus.APPLIED
        again = network.command("a", SITE, power(6000))
        assert again is not None
        assert again.status is AckStatus.DUPLICATE
        assert network.query([CARRIER]) == power(5000)
        with pytest.raises(RequestRefused, match="no fork here"):
            network.fork()
        assert network.close() == 0


def test_a_layout_of_its_own_is_brought_into_the_common_one() -> None:
    with LineNetwork(command()) as network:
        network.start(1, EVENING_MS)
        (line,) = network.step().received
    assert isinstance(line.event, PmReport)
    assert line.event.layout == NR_CELL_V1.name
    values = dict(zip(NR_CELL_V1.cell, line.event.cells[0].values, strict=True))
    assert {n for n, v in values.items() if not math.isnan(v)} == {"RRU.PrbTotDl", "DRB.PdcpSduVolumeDL"}


def test_a_layout_of_its_own_keeps_the_counters_of_its_slices() -> None:
    told = CounterLayout(name="own-v1", cell=["DRB.UEThpDl.2-000001", "RRU.PrbTotDl", "RRU.PrbTotDl.3-000001"])
    translation = Translation([told], common_layout(sliced=True))
    assert translation.left_out == ("RRU.PrbTotDl.3-000001",)
    report: dict[str, Any] = {
        "layout": "own-v1",
        "cells": [{"cell": f"{SITE},NRCellDU=1", "values": [812.0, 40.0, 1.0]}],
    }
    assert translation.apply(report) == ""
    assert report["layout"] == NR_CELL_SLICES_V1.name
    values = dict(zip(NR_CELL_SLICES_V1.cell, report["cells"][0]["values"], strict=True))
    assert {n: v for n, v in values.items() if v is not None} == {"DRB.UEThpDl.2-000001": 812.0, "RRU.PrbTotDl": 40.0}


def test_a_network_that_cannot_be_started_is_named() -> None:
    with pytest.raises(NetworkDied, match="'no-such-program' cannot be started: No such file"):
        LineNetwork("no-such-program --fast")


def test_a_network_that_dies_leaves_its_last_words(tmp_path: Path) -> None:
    dying = altered(tmp_path, STEP, "    sys.exit('the antenna fell off')\n")
    with LineNetwork(dying) as network:
        network.start(1, EVENING_MS)
        with pytest.raises(NetworkDied, match=r"exit code 1.*\n.*the antenna fell off"):
            network.step()


def test_a_silent_network_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with LineNetwork(altered(tmp_path, STEP, ""), silence_s=0.4) as network:
        network.start(1, EVENING_MS)
        with pytest.raises(NetworkSilent, match=r"nothing for 0.4 s"):
            network.step()


def test_a_wait_ends_when_told_to(tmp_path: Path) -> None:
    stop = threading.Event()
    with LineNetwork(altered(tmp_path, STEP, ""), stop=stop) as network:
        network.start(1, EVENING_MS)
        stop.set()
        with pytest.raises(Stopped):
            network.step()


def says(hello: dict[str, str]) -> str:
    return f"print({json.dumps(hello)!r}, flush=True); input()"


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("print('Booting v1.2 ...', flush=True); input()", ProtocolViolation, "no hello: 'Booting"),
        (says({"type": "hello", "protocol": "twinloop-line/9"}), WrongProtocol, "line/9"),
        (says({"type": "hello", "protocol": "twinloop-line/1"}), ProtocolViolation, "topology: Field required"),
        ("", NetworkDied, r"exit code 0; its last words:\n  \(nothing"),
        ("import os; os.kill(os.getpid(), 9)", NetworkDied, "ended by SIGKILL"),
    ],
)
def test_what_does_not_begin_with_hello_is_no_network(
    tmp_path: Path, text: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        LineNetwork(script(tmp_path, text))


def test_lines_that_are_no_events_are_kept_with_their_bytes(tmp_path: Path) -> None:
    damage = (
        '    print(\'{"managed_element":"SubNetwork=1,ManagedElement=tiny1","val\', flush=True)\n'
        '    print("oops", flush=True)\n'
        '    write(type="event", topic="telemetry.fm", event={"managed_element": SITE, "severity": "LOUD"})\n'
        '    write(type="event", topic="telemetry.gossip", event={})\n'
    )
    with LineNetwork(altered(tmp_path, STEP, damage + STEP)) as network:
        network.start(1, EVENING_MS)
        good, cut, oops, loud, gossip = network.step().received
    assert good.event is not None
    assert (cut.topic, cut.managed_element, cut.event) == ("telemetry.pm", SITE, None)
    assert cut.raw.endswith(b'"val')
    assert (oops.raw, oops.managed_element) == (b"oops", "ManagedElement=unknown")
    assert (loud.topic, loud.managed_element) == ("telemetry.fm", SITE)
    assert json.loads(loud.raw)["severity"] == "LOUD"
    assert "event_id: Field required" in loud.problem
    assert "names no topic" in gossip.problem


def test_a_network_that_logs_on_stdout_is_told_so(tmp_path: Path) -> None:
    chatty = altered(tmp_path, STEP, "    for i in range(2000): print('working', i)\n" + STEP)
    with LineNetwork(chatty) as network:
        network.start(1, EVENING_MS)
        with pytest.raises(ProtocolViolation, match="1001 lines that are no JSON"):
            network.step()


def test_a_command_without_answer_is_lost_and_one_that_comes_late_is_kept(tmp_path: Path) -> None:
    mute = altered(tmp_path, "        command(line)\n", "        late = line\n")
    source = Path(mute[-1]).read_text(encoding="utf-8")
    Path(mute[-1]).write_text(source.replace("        step()\n", "        command(late)\n        step()\n"))
    with LineNetwork(mute) as network:
        network.start(1, EVENING_MS)
        assert network.command("a", SITE, power(5000)) is None
        assert network.take_acks() == []
        network.step()
        (late,) = network.take_acks()
        assert (late.id, late.status) == ("a", AckStatus.APPLIED)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('    write(type="juggle")\n', "type 'juggle'"),
        ('    write(type="started", time_ms=1)\n', "wrote started while PeriodEndLine was due"),
        ("    print('[1, 2]', flush=True)\n", "type None"),
    ],
)
def test_answers_that_nobody_asked_for_are_violations(tmp_path: Path, line: str, match: str) -> None:
    with LineNetwork(altered(tmp_path, STEP, line + STEP)) as network:
        network.start(1, EVENING_MS)
        with pytest.raises(ProtocolViolation, match=match):
            network.step()


def test_a_network_that_ignores_stop_is_ended(tmp_path: Path) -> None:
    deaf = script(
        tmp_path,
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        + Path(command()[-1]).read_text(encoding="utf-8").replace("        break\n", "        signal.pause()\n"),
    )
    assert LineNetwork(deaf).close(patience_s=0.3) == 3


def test_the_server_answers_in_order_and_refuses_what_it_cannot() -> None:
    requests = [
        '{"type":"step"}',
        "nonsense",
        json.dumps({"type": "start", "seed": 1, "start_time_ms": EVENING_MS, "options": {"colour": 1}}),
        json.dumps({"type": "query", "id": "q", "objects": []}),
        json.dumps({"type": "inject", "id": "i", "fault": "meteor", "duration_s": 1}),
        '{"type":"stop"}',
        '{"type":"step"}',
    ]
    out = io.StringIO()
    serve(Run().network, requests, out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    step_lines = [line for line in lines if line["type"] == "event"]
    others = [(line["type"], line.get("code")) for line in lines if line["type"] != "event"]
    assert len(step_lines) == 21
    assert others == [
        ("hello", None), ("period_end", None), ("error", "bad_request"), ("error", "refused"),
        ("configuration", None), ("error", "refused"),
    ]  # fmt: skip

"""Logs go to standard error as the settings say; metrics are served on loopback alone."""

import json
import logging
import socket
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import structlog

from infra.exceptions import InfraError
from infra.logging import configure_logging
from infra.metrics import EVENTS, start_exporter
from infra.settings import LogSettings, MetricsSettings


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """Lines on standard error; logging is as before afterwards."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield lambda: capsys.readouterr().err.splitlines()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_a_line_is_one_json_object_with_its_context(said: Callable[[], list[str]]) -> None:
    configure_logging(LogSettings(form="json"), network_id="demo")
    structlog.get_logger().info("revision made", revision=7)
    structlog.get_logger().debug("not said")
    logging.getLogger("somebody").warning("else's %s", "library")
    lines = [json.loads(line) for line in said()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("revision made", "info"),
        ("else's library", "warning"),
    ]
    assert lines[0]["revision"] == 7
    assert all(line["network_id"] == "demo" and line["timestamp"] for line in lines)


def test_an_exception_is_in_its_line(said: Callable[[], list[str]]) -> None:
    configure_logging(LogSettings(form="json"))
    try:
        raise ValueError("impossible")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = said()
    assert "ValueError: impossible" in json.loads(line)["exception"]


def test_what_is_no_terminal_gets_json(said: Callable[[], list[str]]) -> None:
    configure_logging(LogSettings(form="auto"))
    structlog.get_logger().warning("said")
    assert [json.loads(line)["event"] for line in said()] == ["said"]


def test_metrics_are_served_on_loopback() -> None:
    EVENTS.labels("observability-test", "applied").inc(3)
    port = start_exporter(MetricsSettings(port=0))
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    assert 'twinloop_events_total{fate="applied",network="observability-test"} 3.0' in text
    with pytest.raises(InfraError, match="cannot listen"):
        start_exporter(MetricsSettings(port=port))


def test_no_exporter_unless_wanted() -> None:
    assert start_exporter(MetricsSettings()) is None


def test_the_exporter_names_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InfraError, match="TWINLOOP_METRICS__PORT"):
        start_exporter(MetricsSettings(port=taken.getsockname()[1]))

"""Prometheus metrics of all roles, and their exporter on loopback."""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

from infra.exceptions import InfraError
from infra.settings import MetricsSettings

EVENTS = Counter("twinloop_events_total", "Telemetry events by fate", ["network", "fate"])
REVISION = Gauge("twinloop_twin_revision", "Newest revision of a region's twin", ["network", "region"])
FIDELITY = Gauge("twinloop_twin_fidelity", "Fidelity score of a KPI", ["network", "region", "kpi"])
GATE_OPEN = Gauge("twinloop_twin_gate_open", "1 if fidelity lets the outer loop act", ["network", "region"])
REPLAY_MISMATCHES = Counter(
    "twinloop_replay_mismatches_total", "Re-derived revisions whose hash differs from the logged one", ["network"]
)
STEP_SECONDS = Histogram("twinloop_step_seconds", "Time a role takes for a period", ["role"])
VERDICTS = Counter("twinloop_verdicts_total", "Verdicts", ["network", "verdict"])
SHARDS = Counter("twinloop_shards_total", "Shards computed by workers", ["outcome"])
PLANS = Counter("twinloop_plan_transitions_total", "State changes of plans", ["network", "state"])
MODELS_DECIDED = Counter("twinloop_models_total", "Decisions about learned models", ["network", "model", "action"])
ALERTS = Counter("twinloop_alerts_total", "Alerts by channel and outcome", ["channel", "outcome"])
LINES = Counter("twinloop_bridge_lines_total", "Telemetry lines of a live network by kind", ["network", "kind"])
COMMANDS = Counter("twinloop_bridge_commands_total", "Commands by what the network made of them", ["network", "answer"])
RETRIES = Counter("twinloop_retries_total", "A service was away and is tried again", ["role", "service"])


def start_exporter(settings: MetricsSettings) -> int | None:
    """Serve the metrics over HTTP; the port, or None where none is wanted.

    Raises
    ------
    InfraError
        If the port is in use.
    """
    if settings.port is None:
        return None
    try:
        server, _ = start_http_server(settings.port, settings.host)
    except OSError as error:
        raise InfraError(
            f"metrics cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            "choose another port with TWINLOOP_METRICS__PORT, or 0 for any",
        ) from None
    return int(server.server_port)

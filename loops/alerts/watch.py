"""Alerts about the twin itself, from one revision to the next: a fidelity gate that moves, a burst of dead letters."""

from loops.alerts.events import Kind, alert
from schemas.alerts import Alert
from schemas.twin import TwinUpdate

# Single unusable events happen every day; this many in one period are a producer that has changed.
BURST = 5


def from_revisions(before: TwinUpdate | None, now: TwinUpdate, burst: int = BURST) -> list[Alert]:
    """What a new revision gives reason to tell.

    Parameters
    ----------
    before
        The revision before it; None for the first, whose closed gate is how every twin begins.
    burst
        Dead letters of one revision from which on it is a burst.
    """
    found = []
    subject = f"region {now.region}"
    if before is not None and before.gate_open and not now.gate_open:
        low = [f for f in now.fidelity if not f.score >= f.gate]
        scores = ", ".join(f"{f.kpi} {f.score:.2f} (gate {f.gate:.2f})" for f in low)
        summary = f"the twin's fidelity fell below its gate; nothing is pushed: {scores or 'no scores'}"
        found.append(_tell(Kind.GATE_CLOSED, now, subject, summary))
    if now.gate_open and (before is None or not before.gate_open):
        found.append(_tell(Kind.GATE_OPENED, now, subject, "the twin's fidelity is above its gate; the loop may act"))
    refused = now.counts.dead_lettered - (before.counts.dead_lettered if before else 0)
    if refused >= burst:
        summary = f"{refused} events of one period were dead-lettered; `twinloop dlq list` shows why"
        found.append(_tell(Kind.DEAD_LETTER_BURST, now, subject, summary))
    return found


def _tell(kind: Kind, now: TwinUpdate, subject: str, summary: str) -> Alert:
    return alert(kind, now.network_id, subject, now.period_end_ms, summary, {"revision": str(now.revision)})

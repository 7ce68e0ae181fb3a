"""Delivery of an alert to Prometheus Alertmanager, by its v2 API.

Alertmanager keeps conditions, not events: an alert that is posted fires until it is said to be over, or until so long
after. It goes by the wall clock; the event time stands in the annotations. An alert that ends another (a gate that
opens again, a plan that a person has let begin) is posted together with the end of that one, under its labels.

Alerts of one plan share the label ``subject``; ``group_by: [network, subject]`` gives one notification for a change.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from loops.alerts.channel import Attempt, client, post
from loops.alerts.events import Kind, labels_of
from schemas.alerts import Alert
from streams.clock import Clock, SystemClock

# Which conditions an alert of a kind ends, of the same subject.
ENDS: Mapping[Kind, tuple[Kind, ...]] = {
    Kind.GATE_OPENED: (Kind.GATE_CLOSED,),
    Kind.PLAN_COMPLETED: (Kind.APPROVAL_NEEDED, Kind.CHANGE_VERIFIED),
    Kind.PLAN_ROLLED_BACK: (Kind.APPROVAL_NEEDED, Kind.CHANGE_VERIFIED),
    Kind.PLAN_FAILED: (Kind.APPROVAL_NEEDED, Kind.CHANGE_VERIFIED),
    Kind.PLAN_CANCELLED: (Kind.APPROVAL_NEEDED, Kind.CHANGE_VERIFIED),
    Kind.STAGE_PROMOTED: (Kind.APPROVAL_NEEDED,),
}


class Alertmanager:
    """One Alertmanager.

    Parameters
    ----------
    url
        Its address without path, e.g. http://127.0.0.1:9093.
    timeout_s
        Of one attempt.
    lasting_s
        How long an alert fires that nothing ends.
    """

    name = "alertmanager"

    def __init__(self, url: str, timeout_s: float = 5.0, lasting_s: float = 3600.0, clock: Clock | None = None) -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._lasting = timedelta(seconds=lasting_s)
        self._client, self._clock = client(timeout_s), clock or SystemClock()

    def attempt(self, told: Alert) -> Attempt:
        """Post an alert, and the end of what it ends, once."""
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        alerts = [_body(told.labels, told, now, now + self._lasting)]
        alerts += [
            _body(labels_of(ended, told.network_id, told.subject), told, now - timedelta(seconds=1), now)
            for ended in ENDS.get(Kind(told.type), ())
        ]
        return post(self._client, self._url, json.dumps(alerts).encode(), {"Content-Type": "application/json"})

    def close(self) -> None:
        """Close connections."""
        self._client.close()


def _body(labels: Mapping[str, str], told: Alert, starts: datetime, ends: datetime) -> dict[str, Any]:
    """An alert as the API takes it (postableAlert)."""
    return {
        "labels": dict(labels),
        "annotations": {**told.annotations, "event_time": told.time, "event_id": told.event_id, **told.data},
        "startsAt": starts.isoformat(),
        "endsAt": ends.isoformat(),
        "generatorURL": f"twinloop:{told.source}",
    }
